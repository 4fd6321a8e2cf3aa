"""Inception-v3 for frames: torchvision's module with a local weight file, in the variant that the file was made for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError, one_line
from clipmill.curate.weights import located, sha256, weights_named

TORCHVISION_CLASSES, FID_CLASSES = 1000, 1008
_FRAMES_AT_ONCE = 32
_POOLED = ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7b", "Mixed_7c")


class InceptionFrames:
    """Inception-v3 on single frames. variant: torchvision (1000 classes), or fid: the graph of 2015 on which the FID is
    defined, with 1008 outputs and other pooling (averages that leave out the padding, and a maximum in the last block).
    sha256: of the weight file.
    """

    def __init__(self, device: str, weights: Path | None) -> None:
        """weights: a state dict of either variant, recognised by its number of classes; None: looked for in the cache
        folder. Raises UserError where there is none, or where it holds another network.
        """
        wanted = [weights_named(name) for name in ("inception-fid", "inception-torchvision")]
        path = located("Inception-v3", wanted, weights)
        state = _read(path)
        self.classes = int(state["fc.bias"].shape[0])
        self.variant = "fid" if self.classes == FID_CLASSES else "torchvision"
        self.sha256 = sha256(path)
        self._network = _built(state, self.variant, path).to(device)
        self._device = device

    @property
    def proven(self) -> bool:
        """Whether the file is the published one, by its checksum."""
        return self.sha256.startswith(weights_named(f"inception-{self.variant}").sha256 or "-")

    @property
    def identity(self) -> str:
        """Variant and checksum."""
        return f"Inception-v3 {self.variant}, sha256 {self.sha256}"

    def pooled(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, 299, 299] in [-1, 1] -> float32 [B, T, 2048], before the last layer."""
        if videos.ndim != 5 or tuple(videos.shape[2:]) != (3, 299, 299):
            raise UserError(f"Inception-v3 takes videos [B, T, 3, 299, 299], not {list(videos.shape)}")
        frames = videos.to(self._device).flatten(0, 1)
        return torch.cat([self._network(part) for part in frames.split(_FRAMES_AT_ONCE)]).unflatten(0, videos.shape[:2])

    def logits(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, 299, 299] in [-1, 1] -> float32 [B, T, classes], not normalised; of the 2015 graph without
        the bias of its last layer, as the Inception Score is computed on it.
        """
        last = self._network.get_submodule("last")
        bias = None if self.variant == "fid" else last.bias
        return F.linear(self.pooled(videos), last.weight, bias)  # type: ignore[arg-type]


def _read(path: Path) -> dict[str, torch.Tensor]:
    import pickle

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"{path} is no readable file of weights: {one_line(error, 160)}") from None
    if (
        not isinstance(state, Mapping)
        or "fc.bias" not in state
        or state["fc.bias"].shape[0] not in (TORCHVISION_CLASSES, FID_CLASSES)
    ):
        raise UserError(f"{path} holds no Inception-v3 with {TORCHVISION_CLASSES} or {FID_CLASSES} classes")
    return {k: v for k, v in state.items() if not k.startswith("AuxLogits.")}


def _built(state: dict[str, torch.Tensor], variant: str, path: Path) -> nn.Module:
    """Torchvision's network without its last layer, which is kept beside it as `last`."""
    from torchvision.models import inception_v3

    classes = state["fc.bias"].shape[0]
    network = inception_v3(
        weights=None, init_weights=False, aux_logits=False, transform_input=False, num_classes=classes
    )
    problem = network.load_state_dict(state, strict=False)
    # Counters of training batches, which older files lack, decide nothing.
    missing = [k for k in problem.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or problem.unexpected_keys:
        raise UserError(
            f"{path} holds another network than Inception-v3: {[*missing, *problem.unexpected_keys][0]} does not fit"
        )
    network.last = network.fc
    network.fc = nn.Identity()  # type: ignore[assignment]
    if variant == "fid":
        _pool_as_in_2015(network)
    return network.eval().requires_grad_(False)


def _pool_as_in_2015(network: nn.Module) -> None:
    """Make the pooled branch of every block, which comes last in its output, again with the pooling of the graph of
    2015.
    """
    for name in _POOLED:
        pool = _maximum if name == "Mixed_7c" else _mean_of_inside
        network.get_submodule(name).register_forward_hook(_with_pooling(pool))


def _maximum(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _mean_of_inside(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _with_pooling(pool: Any) -> Any:
    def hook(block: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        branch = block.get_submodule("branch_pool")(pool(inputs[0]))
        return torch.cat([output[:, : output.shape[1] - branch.shape[1]], branch], 1)

    return hook
