"""Videos made longer at their beginning: each window ends with the first frames of what is there, which stay."""

from dataclasses import dataclass
from itertools import count

import torch

from clipmill.models.conditioning.contract import Conditions
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.given import Given
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import Grid


@dataclass(frozen=True)
class Back:
    """frames: to be made before. window: of what the model makes. context: latent frames that a window is shown of what
    comes after it; overlap: the frames of these.
    """

    frames: int
    window: Grid
    context: int
    overlap: int

    def made(
        self, generator: Generator, conditions: Conditions, noise: SampleNoise, z: torch.Tensor, head: torch.Tensor
    ) -> torch.Tensor:
        """z: float [B, t, C, h, w], latents of the first window that is there; head: its frames, uint8 [B, T, 3, H, W]
        -> uint8 [B, frames, 3, H, W].
        """
        latent_grid = generator.autoencoder.latent_grid(self.window)
        parts, there = list[torch.Tensor](), 0
        for number in count(1):
            if there >= self.frames:
                break
            # Where latents are the same wherever a window begins, they are what the next is given, bit by bit.
            alike = latent_grid[0] == self.window[0] or generator.autoencoder.given_as_latents
            shown = z[:, : self.context] if alike else self._ending(generator, head)
            given = Given(shown, range(-self.context, 0))
            z = generator.latents(latent_grid, conditions, noise.of_part(f"window -{number}"), given)
            z = given.known(latent_grid[0]).put_into(z)
            parts.insert(0, generator.decoded(z)[:, : -self.overlap])
            head, there = torch.cat([parts[0], head], dim=1)[:, : self.overlap], there + parts[0].shape[1]
        return torch.cat(parts, dim=1)[:, -self.frames :]

    def _ending(self, generator: Generator, head: torch.Tensor) -> torch.Tensor:
        """Latents of a video's last frames. Those of a causal autoencoder know what came before, which is still to be
        made: they are taken as if the first of them had stood still.
        """
        frames = head[:, : self.overlap]
        if not generator.autoencoder.first_frame_alone:
            return generator.encoded(frames)
        return generator.encoded(torch.cat([frames[:, :1], frames], dim=1))[:, 1:]
