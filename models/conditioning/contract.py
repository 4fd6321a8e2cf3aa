"""What a batch is conditioned on before any learned layer has seen it."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class Conditions:
    """None is the absence of a condition for the whole batch; single samples drop theirs as told.

    tokens: float [B, N, D], text; token_mask: bool [B, N], False for padding, all False for a sample without text.
    classes: int64 [B], 0 for none, k + 1 for class k. micro: float32 [B, M], numbers about the clip, standardised to
    order one; micro_known: bool [B, M].
    frames: float [B, T, F, h, w], latents of what is given of the video and their mask, zeros where nothing is.
    reference: float [B, D], embedding of a picture, zeros for none. independent: bool [B, T], frames that are images of
    their own. estimate: float [B, T, C, h, w], the network's own of the call before, for self-conditioning; zeros for
    none.
    """

    tokens: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None
    classes: torch.Tensor | None = None
    micro: torch.Tensor | None = None
    micro_known: torch.Tensor | None = None
    frames: torch.Tensor | None = None
    reference: torch.Tensor | None = None
    independent: torch.Tensor | None = None
    estimate: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Conditions":
        """The same with `function` applied to every tensor there is: to move, to choose samples, to repeat."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return Conditions(**{name: None if tensor is None else function(tensor) for name, tensor in found.items()})
