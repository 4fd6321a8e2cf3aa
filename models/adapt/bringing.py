"""An old network's weights brought into a new one: what came, what is new, what of the old has no place."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.adapt.branches import QueryLinear, branches_of, is_branch, plain_tensors
from clipmill.models.adapt.inputs import Segments, known_columns, latent_segments, vector_segments
from clipmill.models.adapt.places import places_of
from clipmill.models.backbones.unet_layers import SpaceTransformer
from clipmill.models.checkpoints.tensors import put
from clipmill.models.config import ModelConfig

# Settings that change what weights of the same shape mean, or every shape.
_SAME = {
    "dit": (
        *("width", "head_dim", "mlp_ratio", "patch", "space_positions", "noise_scale"),
        *("told", "modulation_rank", "long_skips"),
    ),
    "unet": ("width", "multipliers", "depth", "head_dim", "groups", "noise_scale"),
}
_READS_TEXT = {"cross", "cross_norm", "tokens_in"}


@dataclass
class Brought:
    """Names of tensors, of the new network but for `missing`. came: name -> its name in the old network. partly: of
    these, those of which a part is new, such as a layer with more inputs. new: as initialised. reshaped: of these,
    those that the old network has in another shape. missing: of the old network, and in the new one nowhere.
    """

    came: dict[str, str] = field(default_factory=dict)
    partly: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        return asdict(self)

    @property
    def unlearned(self) -> set[str]:
        """What nothing has trained yet: all that is new, and what is so in part. Branches begin as nothing, and are
        not among it.
        """
        return {name for name in (*self.new, *self.partly) if not is_branch(name)}


@dataclass(frozen=True)
class Side:
    """A network with `backbone` and `conditioner`, and the config it was made from."""

    network: nn.Module
    config: ModelConfig

    @property
    def options(self) -> Any:
        """Of the backbone, all of them."""
        return self.network.get_submodule("backbone").config

    @property
    def latent_segments(self) -> Segments:
        """What the first layer reads."""
        options = self.options
        return latent_segments(self.config, options.in_channels, options.frame_channels)

    def read_by(self, convolution: torch.Tensor) -> Segments:
        """What a first convolution reads, weights [D, C, ...]: a U-Net's own, or its control's."""
        channels = self.options.in_channels
        return latent_segments(self.config, channels, convolution.shape[1] - channels)

    @property
    def text(self) -> tuple[str, str, str]:
        """What makes the tokens that the network reads."""
        text, picture = self.config.conditioning.text, self.config.conditioning.reference
        if picture.in_tokens:
            return picture.encoder, picture.network, "picture"
        return text.encoder, text.model, text.pretrained


def bring(old: Side, new: Side, what: str) -> Brought:
    """Copies into the new network what the old one has at the same place; what is new beside it starts as nothing where
    it would otherwise add something of its own. what: the old one, for messages. Raises UserError where the weights
    mean something else.
    """
    _check_same(old, new, what)
    values, there, found = plain_tensors(old.network), places_of(old.network), Brought()
    for place, name in places_of(new.network).items():
        # A control begins as a copy of what it steers.
        copied = place.replace("backbone.control.", "backbone.")
        source = there.get(place, there.get(copied)) if _means_the_same(place, old, new) else None
        target = new.network.get_parameter(name)
        made = None if source is None else _fitted(copied, target.detach(), values[source], old, new)
        if source is None or made is None:
            found.new.append(name)
            found.reshaped += [] if source is None else [name]
            continue
        put(target, made[0])
        found.came[name] = source
        found.partly += [] if made[1] else [name]
    if not any(name.startswith("backbone.") for name in found.came):
        raise UserError(f"train.init: no tensor of {what} fits this network: take a checkpoint of the same backbone")
    found.missing = sorted(set(values) - set(found.came.values()))
    _begin(new.network, found)
    return found


def _check_same(old: Side, new: Side, what: str) -> None:
    kinds = old.config.backbone.kind, new.config.backbone.kind
    if kinds[0] != kinds[1]:
        raise UserError(
            f"train.init: {what} has the backbone {kinds[0]!r}, this model {kinds[1]!r}: take a checkpoint of the same"
            " backbone"
        )
    for name in _SAME[kinds[0]]:
        before, now = (_plain(getattr(side.options, name)) for side in (old, new))
        if before != now:
            raise UserError(
                f"train.init: {what} has another {name} than this model, {before} and {now}: set"
                f" backbone.options.{name}={before}"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _means_the_same(place: str, old: Side, new: Side) -> bool:
    """False for a branch, and for what reads text where another encoder makes it."""
    return not is_branch(place) and (old.text == new.text or not _READS_TEXT & set(place.split(".")))


def _fitted(
    place: str, target: torch.Tensor, value: torch.Tensor, old: Side, new: Side
) -> tuple[torch.Tensor, bool] | None:
    """The old tensor in the new one's shape, and whether it is so as a whole; None where it does not fit."""
    if place == "conditioner.classes.weight":
        return _classes(target, value, old, new)
    if place == "backbone.patches_in.weight":
        wanted, there = new.latent_segments, old.latent_segments
        shaped, source = (
            tensor.unflatten(1, (-1, sum(width for _, width in some)))
            for tensor, some in ((target, wanted), (value, there))
        )
        made = known_columns((wanted, shaped), (there, source), 2)
        return None if made is None else (made[0].flatten(1), made[1])
    if place == "backbone.convolution_in.weight":
        wanted, there = (side.read_by(tensor) for side, tensor in ((new, target), (old, value)))
        return known_columns((wanted, target), (there, value), 1)
    if place == "backbone.embedding.vector_in.weight":
        wanted, there = (vector_segments(s.config, t.shape[1]) for s, t in ((new, target), (old, value)))
        return known_columns((wanted, target), (there, value), 1)
    if place.endswith("positions.table") and target.shape[1] == value.shape[1]:  # places in time, one a row
        rows = min(len(target), len(value))
        return torch.cat([value[:rows], target[rows:]]), len(target) <= rows
    return (value, True) if value.shape == target.shape else None


def _classes(target: torch.Tensor, value: torch.Tensor, old: Side, new: Side) -> tuple[torch.Tensor, bool] | None:
    """Rows by the names of their classes, row 0 for none."""
    if target.shape[1] != value.shape[1]:
        return None
    before, now = (side.config.conditioning.classes.names for side in (old, new))
    made = target.clone()
    made[0] = value[0]
    for row, name in enumerate(now, 1):
        if name in before:
            made[row] = value[before.index(name) + 1]
    return made, set(now) <= set(before)


@torch.no_grad()
def _begin(network: nn.Module, found: Brought) -> None:
    """What is new in a residual, and no gate keeps shut, is nothing at first; branches begin at what came."""
    new = set(found.new)
    outputs = {"backbone.embedding.vector_out.weight"}
    for path, module in network.named_modules():
        if isinstance(module, SpaceTransformer):
            outputs |= {f"{path}.{part}.output.{kind}" for part in _PARTS for kind in ("weight", "bias")}
    for name in outputs & new:
        network.get_parameter(name).zero_()
    for layer in branches_of(network).values():
        if isinstance(layer, QueryLinear):
            layer.begin()


_PARTS = ("attention", "cross", "feed_forward")
