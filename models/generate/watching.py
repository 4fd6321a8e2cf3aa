"""A network as samplers ask it, where a call leaves something for what comes next."""

from dataclasses import replace

import torch

from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import Estimate
from clipmill.models.core.samplers.learned_variance import halves
from clipmill.models.network import Network


class Watching:
    """The network; of one sampling, from its first step to its last. Each call is shown the estimate of the one before
    (self-conditioning, 2208.04202), where the network reads that, and what it says of the variance is kept.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._estimate: torch.Tensor | None = None
        self._gamma: torch.Tensor | None = None

    @property
    def conditioner(self) -> Conditioner:
        """The network's."""
        return self._network.conditioner

    def __call__(self, z: torch.Tensor, noise_level: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """z: float [n B, T, C, H, W], all samples under one condition after another; -> prediction like z."""
        if self._network.reads_estimate and self._estimate is not None:
            shown = self._estimate.repeat(len(z) // len(self._estimate), 1, 1, 1, 1)
            conditions = replace(conditions, estimate=shown)
        found = self._network(z, noise_level, conditions)
        if not self._network.learns_variance:
            return found
        prediction, self._gamma = halves(found)
        return prediction

    def watched(self, denoise: Denoiser) -> Denoiser:
        """The same estimates, with guidance in them; each is shown to the next call."""

        def remembering(z: torch.Tensor, level: NoiseLevel) -> Estimate:
            estimate = denoise(z, level)
            self._estimate = estimate.x0.detach()
            if self._gamma is not None:
                self._gamma = self._gamma[: len(z)]  # of the first condition, which no guidance has left out
            return estimate

        return remembering

    def gamma(self) -> torch.Tensor:
        """float32 like z, of the last estimate; see `ancestral`."""
        assert self._gamma is not None
        return self._gamma
