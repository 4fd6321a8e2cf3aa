"""The training loss, one number per sample."""

import torch

from clipmill.models.core.loss_weights import LossWeight
from clipmill.models.core.noise_level import NoiseLevel, over
from clipmill.models.core.parametrisation import Parametrisation

# An x-prediction under a v-space loss weighs 1 / sin² phi, without bound near clean data; 1 / 0.05² is where it stops
# by default.
MAX_WEIGHT = 400.0
_TINY = 1e-30


def sample_losses(
    prediction: torch.Tensor,
    x0: torch.Tensor,
    eps: torch.Tensor,
    level: NoiseLevel,
    parametrisation: Parametrisation,
    weight: LossWeight,
    frame_weights: torch.Tensor | None = None,
    max_weight: float = MAX_WEIGHT,
) -> torch.Tensor:
    """float32 [B]: weighted squared error of the prediction, averaged over a sample's frames, channels and pixels.

    prediction, x0, eps: float [B, T, C, H, W]; level of shape [B] or [B, T]; frame_weights: float >= 0 [B, T], with 0
    for frames that are given rather than predicted (a sample without any frame to predict has loss 0). max_weight
    bounds what one squared error of the network's own output may count.
    """
    error = (prediction.float() - parametrisation.target(x0.float(), eps.float(), level)).square()
    return mean_of_frames(
        over(prediction_weights(level, parametrisation, weight, max_weight), error) * error, frame_weights
    )


def mean_of_frames(errors: torch.Tensor, frame_weights: torch.Tensor | None = None) -> torch.Tensor:
    """float [B, T, C, H, W] -> [B], weighted over frames [B, T] as in `sample_losses`."""
    frames = errors.mean(dim=(2, 3, 4))
    if frame_weights is None:
        return frames.mean(dim=1)
    shares = frame_weights.to(frames)
    return (frames * shares).sum(dim=1) / shares.sum(dim=1).clamp_min(_TINY)


def prediction_weights(
    level: NoiseLevel, parametrisation: Parametrisation, weight: LossWeight, max_weight: float = MAX_WEIGHT
) -> torch.Tensor:
    """float64 of the level's shape: what a squared error of the network's own output counts, so that as an error of v
    it counts `weight`.

    Zero where the network's output cannot matter to v (an eps-prediction of pure noise).
    """
    return (weight(level) / parametrisation.gain(level).square().clamp_min(_TINY)).clamp_max(max_weight)
