"""Leaving conditions out, sample by sample; absent and left out are the same."""

from dataclasses import dataclass, fields, replace

import torch

from clipmill.models.conditioning.contract import Conditions


@dataclass(frozen=True)
class Hidden:
    """Which samples lose which condition: bool [B] each, and numbers bool [B, M]; None where nothing is lost."""

    text: torch.Tensor | None = None
    classes: torch.Tensor | None = None
    numbers: torch.Tensor | None = None
    frames: torch.Tensor | None = None
    reference: torch.Tensor | None = None


def hidden(conditions: Conditions, flags: Hidden) -> Conditions:
    """Zeros and masks in the place of what is hidden; conditions that are absent stay so."""
    made = replace(conditions, token_mask=mask_of(conditions))
    made = _without(made, ("tokens", "token_mask"), flags.text)
    made = _without(made, ("classes",), flags.classes)
    made = _without(made, ("micro", "micro_known"), flags.numbers)
    made = _without(made, ("frames",), flags.frames)
    return _without(made, ("reference",), flags.reference)


def without_motion(conditions: Conditions, flags: torch.Tensor, frames: int) -> Conditions:
    """Every frame of the samples that flags, bool [B], name as an image of its own (GenTron, 2312.04557, section
    3.4).
    """
    alone, before = flags[:, None].expand(-1, frames), conditions.independent
    return replace(conditions, independent=alone.clone() if before is None else before | alone.to(before.device))


def mask_of(conditions: Conditions) -> torch.Tensor | None:
    """bool [B, N] wherever there are tokens: no mask stands for tokens throughout."""
    if conditions.token_mask is not None or conditions.tokens is None:
        return conditions.token_mask
    return torch.ones(conditions.tokens.shape[:2], dtype=torch.bool, device=conditions.tokens.device)


def batch_of(conditions: Conditions) -> int | None:
    """Number of samples; None where there is no condition to tell it."""
    found = (getattr(conditions, field.name) for field in fields(conditions))
    return next((len(tensor) for tensor in found if tensor is not None), None)


def joined(*many: Conditions) -> Conditions:
    """Batches one after another, as `clipmill.models.core.denoiser.branches_in_one_call` asks for them; what one of
    them lacks is filled with the absence of that condition.
    """
    parts = [replace(conditions, token_mask=mask_of(conditions)) for conditions in many]
    sizes = [size for size in map(batch_of, parts) if size is not None]
    return Conditions(
        **{
            field.name: _joined([getattr(part, field.name) for part in parts], parts, sizes)
            for field in fields(Conditions)
        }
    )


def _joined(tensors: list[torch.Tensor | None], parts: list[Conditions], sizes: list[int]) -> torch.Tensor | None:
    model = next((tensor for tensor in tensors if tensor is not None), None)
    if model is None:
        return None
    filled = []
    for tensor, part in zip(tensors, parts, strict=True):
        # A part without any condition is as large as the first that has one: the branches of guidance are equally
        # large.
        size = batch_of(part) or sizes[0]
        filled.append(model.new_zeros((size, *model.shape[1:])) if tensor is None else tensor)
    return torch.cat(filled)


def _without(conditions: Conditions, names: tuple[str, ...], flags: torch.Tensor | None) -> Conditions:
    if flags is None:
        return conditions
    found = {name: getattr(conditions, name) for name in names}
    return replace(conditions, **{name: _zeroed(tensor, flags) for name, tensor in found.items() if tensor is not None})


def _zeroed(tensor: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    flags = flags.to(tensor.device)
    return tensor.masked_fill(flags.reshape(*flags.shape, *(1,) * (tensor.ndim - flags.ndim)), 0)
