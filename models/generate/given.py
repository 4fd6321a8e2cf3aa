"""What a video is given of itself, as latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clipmill.models.generate.guided import Known, Small


@dataclass(frozen=True)
class Given:
    """latents: float [B, n, C, h, w], standardised. places: the latent frame of each, -1 is the last; None: they are of
    a whole video that is observed, at fewer pixels or by its structure. small: the whole at fewer pixels, for a model
    that was trained to be given nothing.
    """

    latents: torch.Tensor
    places: Sequence[int] | None
    small: Small | None = None

    def known(self, frames: int) -> Known:
        """In latents of so many frames; of places only."""
        assert self.places is not None
        chosen = [place % frames for place in self.places]
        latents = self.latents.new_zeros(len(self.latents), frames, *self.latents.shape[2:])
        latents[:, chosen] = self.latents
        mask = torch.zeros(frames, dtype=torch.bool)
        mask[chosen] = True
        return Known(latents, mask, self.small)
