"""Autoencoder training: the two players of `clipmill.models.autoencoders.losses.objective`, as the loop knows
objectives.
"""

from collections.abc import Iterable

import torch
from torch import nn

from clipmill.curate.common.settings import build
from clipmill.models.autoencoder_for import first_autoencoder
from clipmill.models.autoencoders.losses.objective import DISCRIMINATOR, AutoencoderLossConfig, AutoencoderObjective
from clipmill.models.backbones.contract import TRAINING_TO_FORWARD_FLOPS
from clipmill.models.config import ModelConfig
from clipmill.models.core.noise import SampleNoise
from clipmill.models.layers.plan import Grid
from clipmill.models.pixels import as_floats
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.base import Losses, Objective
from clipmill.models.training.objectives.reconstruction_flops import reconstruction_flops


class ReconstructionObjective(Objective):
    """Videos in, videos out. The noise of the latents follows (train.seed, number of the sample)."""

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        """Raises UserError for settings that cannot be trained."""
        super().__init__()
        loss = build(AutoencoderLossConfig, config.autoencoder_loss, "autoencoder_loss")
        autoencoder = first_autoencoder(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.train.seed)
            self.both = AutoencoderObjective(autoencoder, loss)
        self.autoencoder, self.device, self._seed = autoencoder, device, config.train.seed
        self._flops: dict[Grid, int] = {}

    @property
    def perceptual_name(self) -> str:
        return self.both.perceptual_name

    def players(self, step: int) -> tuple[str, ...]:
        return self.both.players(step)

    def all_players(self) -> tuple[str, ...]:
        """Also those who have not begun."""
        last = self.both.config.discriminator_start
        return self.both.players(last)

    def parameters_of(self, player: str) -> Iterable[tuple[str, nn.Parameter]]:
        return self.both.parameters_of(player)

    def forward(self, player: str, batch: VideoBatch, step: int) -> Losses:
        """Losses of one player. batch: with video uint8 [B, T, 3, H, W], not cached latents."""
        video, noise = self._video(batch), SampleNoise(self._seed, batch.indices)
        if player == DISCRIMINATOR:
            return Losses(*self.both.discriminator_losses(video, self.both.reconstruct(video, noise), step))
        return Losses(*self.both.generator_losses(video, noise, step))

    @torch.no_grad()
    def validation(self, batch: VideoBatch, bins: int) -> torch.Tensor:
        """One figure, in every bin: there are no noise levels."""
        return self.both.validation_losses(self._video(batch)).double().cpu()[:, None].expand(-1, bins)

    def blocks(self) -> list[nn.Module]:
        return []

    def flops(self, grid: Grid) -> int:
        """Of the autoencoder; perceptual loss and discriminator come on top."""
        if grid not in self._flops:
            self._flops[grid] = TRAINING_TO_FORWARD_FLOPS * reconstruction_flops(self.autoencoder, grid)
        return self._flops[grid]

    def tokens(self, grid: Grid) -> int:
        frames, height, width = self.autoencoder.latent_grid(grid)
        return frames * height * width

    def _video(self, batch: VideoBatch) -> torch.Tensor:
        assert batch.video is not None
        return as_floats(batch.video.to(self.device, non_blocking=True))
