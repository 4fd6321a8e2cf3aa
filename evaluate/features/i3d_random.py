"""I3D with seeded random variables: needs no file, for tests and demonstrations. Distances on its features are not
FVD.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from clipmill.curate.errors import UserError
from clipmill.evaluate.features import FeatureNetwork
from clipmill.evaluate.networks.i3d import BN_EPS, DIM, MIN_FRAMES, SIDE_PX, I3DNetwork, features
from clipmill.evaluate.networks.i3d_weights import published_table


class I3DRandom(FeatureNetwork):
    """The network of `i3d` with random variables. It sees blur and noise; to the order of frames it is nearly blind."""

    side_px: ClassVar[int] = SIDE_PX
    min_frames: ClassVar[int] = MIN_FRAMES
    dim: ClassVar[int] = DIM
    label = "random I3D"

    def __init__(
        self,
        device: str = "cpu",
        weights: Path | None = None,
        bn_eps: float = BN_EPS,
        input_range: float = 1.0,
        seed: int = 0,
    ) -> None:
        """seed: of the variables. Raises UserError where a weight file is given: it would not be used."""
        if weights is not None:
            raise UserError(
                "i3d-random draws its own variables and takes no weights; for a weight file choose the features i3d"
            )
        self._network = I3DNetwork(seeded_variables(seed), bn_eps).to(device)
        self._bn_eps, self._input_range, self._seed = bn_eps, input_range, seed

    @property
    def identity(self) -> str:
        """Seed, epsilon and range: the variables follow from the seed."""
        return f"i3d-random seed={self._seed} bn_eps={self._bn_eps:g} input_range={self._input_range:g}"

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, 224, 224] in [-1, 1], T >= 9 -> float32 [B, 400]. Raises UserError for shorter clips and
        other shapes.
        """
        return features(self._network, videos, self._input_range)


def seeded_variables(seed: int) -> dict[str, np.ndarray]:
    """The variables of the reference values: one legacy numpy generator, drawn in the order of the sorted names;
    float32.

    Kernels: normal with variance 2 / fan-in. moving_variance: uniform in [0.5, 1.5). The rest: normal with deviation
    0.1.
    """
    generator = np.random.RandomState(seed)
    return {
        name: _drawn(generator, name, known.shape).astype(np.float32)
        for name, known in sorted(published_table().items())
    }


def _drawn(generator: np.random.RandomState, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("/w"):
        return generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    if name.endswith("moving_variance"):
        return generator.uniform(0.5, 1.5, shape)
    return generator.standard_normal(shape) * 0.1
