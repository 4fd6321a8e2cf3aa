"""Learned perceptual distance of a reconstruction."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from clipmill.curate.errors import UserError, one_line
from clipmill.curate.weights import located, sha256, weights_named
from clipmill.evaluate.frames.frame_pairs import frame_batches
from clipmill.evaluate.metrics import PairMetric

if TYPE_CHECKING:
    import torch

_NETS = ("alex", "vgg", "squeeze")
_BATCH_PX = 256 * 1024


@dataclass(frozen=True)
class LPIPS(PairMetric):
    """Zhang et al. 2018 (arXiv 1801.03924), version 0.1, mean over frames, >= 0, at the videos' own size.

    net: alex is the usual choice for comparisons. backbone: the classifier's weights as torchvision publishes them (a
    file; None: from the folder of weights, or torch's own cache). any_backbone: take a file that is not the published
    one; the number is not LPIPS then.
    """

    title: ClassVar[str] = "LPIPS"
    higher_is_better: ClassVar[bool | None] = False

    net: Literal["alex", "vgg", "squeeze"] = "alex"
    backbone: str | None = None
    any_backbone: bool = False

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        """uint8 [T, H, W, 3] twice -> value. Raises UserError where the shapes differ or the weights are missing."""
        import torch

        network = self._network
        with torch.inference_mode():
            values = [network(a, b, normalize=True).flatten().numpy() for a, b in frame_batches(real, fake, _BATCH_PX)]
        return float(np.concatenate(values).mean())

    @cached_property
    def _network(self) -> "torch.nn.Module":
        """The published linear heads (they come with torchmetrics) on the backbone's weights."""
        import pickle

        import torch
        from torchmetrics.functional.image.lpips import _LPIPS

        path = self._backbone_file()
        network = _LPIPS(net=self.net, pnet_rand=True)
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
            # Slices of torchvision's `features`, under their numbers there.
            mine = {name: f"features.{'.'.join(name.split('.')[-2:])}" for name in network.net.state_dict()}
            if self.net == "squeeze":
                mine = {name: f"features.{name.split('.', 2)[2]}" for name in network.net.state_dict()}
            network.net.load_state_dict({name: found[theirs] for name, theirs in mine.items()})
        except (OSError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise UserError(f"{path} holds no {self.net} backbone: {one_line(error, 160)}") from None
        return network.eval()

    def _backbone_file(self) -> Path:
        if self.net not in _NETS:
            raise UserError(f"LPIPS knows the backbones {', '.join(_NETS)}, not {self.net!r}")
        wanted = weights_named(f"lpips-{self.net}")
        given = None if self.backbone is None else Path(self.backbone)
        path = located(f"LPIPS (torchvision's {wanted.files[0]})", [wanted], given, "lpips.backbone")
        expected = wanted.sha256 or ""
        if not self.any_backbone and not sha256(path).startswith(expected):
            raise UserError(f"{path} is not torchvision's {wanted.files[0]}: its sha256 does not begin with {expected}")
        return path
