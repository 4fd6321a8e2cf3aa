"""I3D trained on Kinetics-400: the features that FVD is defined on (Unterthiner et al., arXiv 1812.01717)."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from clipmill.evaluate.features import FeatureNetwork
from clipmill.evaluate.networks import i3d_weights

if TYPE_CHECKING:
    import torch


class I3D(FeatureNetwork):
    """400 logits, averaged over time. It exists only where every tensor of the weights is proven by its checksum
    (`clipmill.evaluate.networks.i3d_weights`), so a distance on these features may be called FVD. bn_eps: 1e-3 in the
    original graph, 1e-5 in VideoGPT and its descendants.
    input_range: 1 in the original graph, 0.5 in VideoGPT's own code.
    """

    side_px: ClassVar[int] = 224
    min_frames: ClassVar[int] = 9
    dim: ClassVar[int] = 400
    label = "I3D"

    def __init__(
        self, device: str = "cpu", weights: Path | None = None, bn_eps: float = 1e-3, input_range: float = 1.0
    ) -> None:
        """Load, prove and arrange the network. Raises UserError where the weights are missing, unreadable or of another
        network.
        """
        from clipmill.evaluate.networks.i3d import I3DNetwork

        self._network = I3DNetwork(i3d_weights.load(weights), bn_eps).to(device)
        self._bn_eps, self._input_range = bn_eps, input_range

    @classmethod
    def check(cls, weights: Path | None) -> None:
        """Raises UserError where no file of weights is found."""
        i3d_weights.weights_file(weights)

    @property
    def frechet_name(self) -> str:
        """FVD: the weights are proven."""
        return "FVD"

    @property
    def kernel_name(self) -> str:
        """KVD: the weights are proven."""
        return "KVD"

    @property
    def identity(self) -> str:
        """The proven checkpoint, a checksum of its 230 checksums, and the epsilon and range with which it is
        computed.
        """
        checksum = i3d_weights.table_checksum(i3d_weights.published_table())
        return f"i3d rgb_scratch crc32c:{checksum} bn_eps={self._bn_eps:g} input_range={self._input_range:g}"

    def __call__(self, videos: "torch.Tensor") -> "torch.Tensor":
        """float32 [B, T, 3, 224, 224] in [-1, 1], T >= 9 -> float32 [B, 400]. Raises UserError for shorter clips and
        other shapes.
        """
        from clipmill.evaluate.networks.i3d import features

        return features(self._network, videos, self._input_range)
