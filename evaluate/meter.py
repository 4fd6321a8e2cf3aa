"""Fréchet and kernel distances as torchmetrics objects, for training loops: `update` with videos, `compute` the
number.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.checks import not_finite
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.mmd import polynomial_mmd
from clipmill.evaluate.features import FeatureNetwork, network_class
from clipmill.evaluate.frames.protocol import Protocol, load

Network = Callable[[torch.Tensor], torch.Tensor]


class _VideoFeatureMetric(Metric):
    """Keeps the features of real and fake videos, on all processes."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    real_features: list[torch.Tensor]
    fake_features: list[torch.Tensor]

    def __init__(
        self,
        features: str | Network | None = None,
        protocol: str | Protocol = "clipmill",
        weights: Path | None = None,
        network_device: str = "cpu",
        side_px: int | None = None,
        reset_real_features: bool = True,
        **metric_options: Any,
    ) -> None:
        """features: the name of a feature network (None: the protocol's), or any function of float32 videos [B, T, 3,
        S, S] in [-1, 1] to features [B, D]. weights, network_device: of a network given by name; `.to` moves the
        features that are kept, not this network. side_px: the picture size S that a function takes; None: videos stay
        as large as they are. reset_real_features: whether `reset`
        forgets the real videos too. metric_options: of torchmetrics.Metric. Raises UserError for unknown names and
        missing weights.
        """
        super().__init__(**metric_options)
        self.protocol = load(protocol) if isinstance(protocol, str) else protocol
        self.feature_name: str | None = None
        self.network = (
            self._named(features, weights, network_device)
            if features is None or isinstance(features, str)
            else features
        )
        self.side_px = self.network.side_px if isinstance(self.network, FeatureNetwork) else side_px
        self.reset_real_features = reset_real_features
        self.clip_frames: int | None = None
        self.add_state("real_features", default=[], dist_reduce_fx="cat")
        self.add_state("fake_features", default=[], dist_reduce_fx="cat")

    @property
    def frechet_name(self) -> str:
        """How a Fréchet distance on these features is called."""
        return (
            self.network.frechet_name
            if isinstance(self.network, FeatureNetwork)
            else f"Fréchet distance ({FeatureNetwork.label})"
        )

    def update(self, videos: torch.Tensor, real: bool) -> None:
        """Add uint8 videos [B, T, 3, H, W], RGB, prepared as the protocol says. Raises UserError for another type or
        shape, and where features are not finite.

        The frames are the protocol's own already: which of them to take (stride, rate, place) is for the caller to do.
        """
        if videos.dtype != torch.uint8 or videos.ndim != 5 or videos.shape[2] != 3:
            raise UserError(
                f"videos are uint8 [B, T, 3, H, W], not {str(videos.dtype).removeprefix('torch.')} {list(videos.shape)}"
            )
        if self.clip_frames not in (None, videos.shape[1]):
            raise UserError(
                f"videos of {videos.shape[1]} frames after videos of {self.clip_frames}: their features do not compare"
            )
        with torch.no_grad():
            features = self.network(self._prepared(videos)).detach().float()
        if features.ndim != 2 or len(features) != len(videos):
            raise UserError(f"features of {len(videos)} videos are [{len(videos)}, D], not {list(features.shape)}")
        if not bool(features.isfinite().all()):
            raise UserError(f"features {not_finite(features.cpu().numpy())}")
        self.clip_frames = videos.shape[1]
        (self.real_features if real else self.fake_features).append(features.to(self.device))

    def reset(self) -> None:
        """Forget all videos, or the fake ones alone (see `reset_real_features`)."""
        # torchmetrics empties the list itself.
        kept = self.real_features[:]
        super().reset()
        self.clip_frames = self.clip_frames if kept and not self.reset_real_features else None
        if not self.reset_real_features:
            self.real_features = kept

    def add_real_statistics(self, path: Path | str) -> None:
        """Add the real videos of a file that `evaluate stats` wrote. Raises UserError where it was made in another way
        than this meter would, and for a meter whose network has no name.
        """
        from clipmill.evaluate.extraction import reference_stats
        from clipmill.evaluate.measurements import feature_facts

        if not isinstance(self.network, FeatureNetwork) or self.feature_name is None:
            raise UserError("statistics are of a named feature network: name it, as `features`")
        measured, facts = reference_stats.load(Path(path))
        reference_stats.check_same(Path(path), facts, feature_facts(self.feature_name, self.network, self.protocol))
        if self.clip_frames not in (None, self.protocol.clip_frames):
            raise UserError(f"statistics of {self.protocol.clip_frames} frames beside videos of {self.clip_frames}")
        self.clip_frames = self.protocol.clip_frames
        self.real_features.append(torch.from_numpy(measured.values.copy()).to(self.device))

    def _named(self, name: str | None, weights: Path | None, device: str) -> FeatureNetwork:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"network_device {device}: torch finds no CUDA device here; `curate doctor` says more")
        name = self.feature_name = name or self.protocol.features
        options = self.protocol.network_options if name == self.protocol.features else {}
        network = network_class(name)(device=device, weights=weights, **options)
        if network.per_frame:
            raise UserError(f"{name} sees single frames, not videos")
        return network

    def _prepared(self, videos: torch.Tensor) -> torch.Tensor:
        from clipmill.evaluate.frames.resize import preprocess

        if self.side_px is None:
            return videos.float() / 127.5 - 1
        frames = videos.permute(0, 1, 3, 4, 2).cpu().numpy()
        return torch.stack([preprocess(clip, self.protocol, self.side_px) for clip in frames]).to(videos.device)

    def _sets(self) -> tuple[Any, Any]:
        """float32 arrays [N, D], [M, D]."""
        if len(self.real_features) == 0 or len(self.fake_features) == 0:
            raise UserError("no number without real and fake videos: call update with both first")
        return dim_zero_cat(self.real_features).cpu().numpy(), dim_zero_cat(self.fake_features).cpu().numpy()


class FrechetVideoDistance(_VideoFeatureMetric):
    """The Fréchet distance of all videos seen, ddof and dtype as the protocol has them; FVD only on proven I3D features
    (`frechet_name`).

    Args:
        features: Name of a feature network (None: the protocol's), or a function of float32 videos [B, T, 3, S, S] in
            [-1, 1] to features [B, D].
        protocol: A protocol's name, or the protocol.
        weights: A local file of the feature network.
        network_device: Where a network given by name runs, whatever `.to` does with the features that are kept.
        side_px: The picture size S that a function takes; None: videos stay as large as they are.
        reset_real_features: Whether `reset` forgets the real videos, too.
        **metric_options: Of `torchmetrics.Metric`.

    Raises:
        UserError: Unknown names, missing weights, a device that is not here; from `update`: videos that are not uint8
            [B, T, 3, H, W], and videos of another length than before.

    Example:
        >>> import torch
        >>> from clipmill.evaluate import FrechetVideoDistance
        >>> videos = torch.randint(0, 256, (4, 16, 3, 64, 64), dtype=torch.uint8)
        >>> meter = FrechetVideoDistance("mini")
        >>> meter.update(videos, real=True)
        >>> meter.update(videos, real=False)
        >>> round(float(meter.compute()), 3) == 0
        True
    """

    def compute(self) -> torch.Tensor:
        """float64 scalar. Raises UserError below two videos on a side."""
        real, fake = self._sets()
        value = frechet_distance(real, fake, self.protocol.ddof, self.protocol.dtype)
        return torch.tensor(value, dtype=torch.float64)


class KernelVideoDistance(_VideoFeatureMetric):
    """The unbiased squared MMD of all videos seen, with a cubic kernel (KVD on I3D features).

    Args:
        features: Name of a feature network, or a function, as of `FrechetVideoDistance`.
        protocol: A protocol's name, or the protocol; and so on.

    Example:
        >>> import torch
        >>> from clipmill.evaluate import KernelVideoDistance
        >>> videos = torch.randint(0, 256, (4, 16, 3, 64, 64), dtype=torch.uint8)
        >>> meter = KernelVideoDistance("mini")
        >>> meter.update(videos, real=True)
        >>> meter.update(videos.flip(-1), real=False)
        >>> meter.compute().shape
        torch.Size([])
    """

    def compute(self) -> torch.Tensor:
        """float64 scalar. Raises UserError below two videos on a side."""
        return torch.tensor(polynomial_mmd(*self._sets()), dtype=torch.float64)
