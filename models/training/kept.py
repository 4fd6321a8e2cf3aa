"""How much of the videos the latents keep: what they throw away no model can learn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.pieces import Pieces
from clipmill.models.autoencoders.pixels import Pixels

ENOUGH = 0.8
WINDOWS = 16


@dataclass(frozen=True)
class Kept:
    """Shares of what windows have, 1 where the latents give back every bit, below 0 where their error is larger than
    what there was. energy: of the squared distance from the windows' mean colour. change: of the squared differences
    of neighbouring frames; None where there are none. windows: how many.
    """

    energy: float
    change: float | None
    windows: int


@dataclass(frozen=True)
class Keeping:
    """What an autoencoder keeps of windows that are trained on and of others, None where there are none. remedy: what
    keeps more.
    """

    training: Kept | None
    held_out: Kept | None
    remedy: str

    def facts(self) -> dict[str, float]:
        """For the run card and the log."""
        named = {"training": self.training, "held_out": self.held_out}
        shares = {f"{n}_energy": one.energy for n, one in named.items() if one}
        changes = {f"{n}_change": one.change for n, one in named.items() if one and one.change is not None}
        return shares | changes

    def lines(self) -> list[str]:
        """For the reader: what is kept, and a warning where it is less than 80 % of the change over time."""
        named = [(one, name) for one, name in ((self.training, "training"), (self.held_out, "held-out")) if one]
        lines = [f"  latents keep {'; '.join(_words(one, name) for one, name in named)}"] if named else []
        worst = min(((one.change, name) for one, name in named if one.change is not None), default=(1.0, ""))
        if worst[0] < ENOUGH:
            share = _percent(worst[0]) if worst[0] > 0 else "nothing"
            kept = f"the latents keep {share} of the change over time of {worst[1]} windows"
            lines.append(f"warning: {kept}; the rest cannot be learned: {self.remedy}")
        return lines


def keeping_of(
    autoencoder: VideoAutoencoder, training: Sequence[torch.Tensor], held_out: Sequence[torch.Tensor]
) -> Keeping:
    """training, held_out: windows, float [1, T, 3, H, W] in [-1, 1] each, of any sizes."""
    found = kept_of(autoencoder, training), kept_of(autoencoder, held_out)
    return Keeping(*found, _remedy(autoencoder, found[0]))


@torch.no_grad()
def kept_of(autoencoder: VideoAutoencoder, videos: Sequence[torch.Tensor]) -> Kept | None:
    """videos: as above. None where there is none."""
    if not videos:
        return None
    pieces, device = Pieces(autoencoder), autoencoder.latent_mean.device
    colours = torch.stack([video.double().mean(dim=(0, 1, 3, 4)) for video in videos])
    there, lost = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for video in videos:
        again = pieces.decode(pieces.encode(video.to(device)).mean, lambda part: part.cpu())
        there += _energies(video.double() - colours.mean(dim=0)[:, None, None])
        lost += _energies(again.double() - video.double())
    energy, change = (1 - lost / there).tolist()
    return Kept(energy if there[0] > 0 else 1.0, change if there[1] > 0 else None, len(videos))


def _energies(video: torch.Tensor) -> torch.Tensor:
    """float64 [2]: sum of squares, and of those of the differences of neighbouring frames."""
    return torch.stack([video.square().sum(), video.diff(dim=1).square().sum()])


def _remedy(autoencoder: VideoAutoencoder, training: Kept | None) -> str:
    if not isinstance(autoencoder, Pixels):
        return "train the autoencoder longer, or one with more latent_channels or smaller factors"
    if training and training.change is not None and training.change >= ENOUGH:
        side = f"autoencoder.options.space_factor, now {autoencoder.space_factor}"
        return f"components of so few clips fit no others; take more clips, or smaller blocks ({side})"
    more = f"raise autoencoder.options.components, now {autoencoder.config.components}"
    return f"{more}, or autoencoder.options.time_factor, now {autoencoder.time_factor}"


def _words(kept: Kept, name: str) -> str:
    change = "" if kept.change is None else f" and {_percent(kept.change)} of the change over time"
    return f"{_percent(kept.energy)} of the energy{change} of {kept.windows} {name} windows"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
