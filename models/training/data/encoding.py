"""Windows of pixels to latents, and beside them the latents of what the model is given of those pixels."""

import torch

from clipmill.models.autoencoders.contract import Autoencoder, Posterior
from clipmill.models.autoencoders.pieces import Pieces
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.conditioning.observation import observed
from clipmill.models.pixels import as_floats


class Encoding:
    """An autoencoder, in pieces that fit into memory, and what `frames` gives of the pixels: where that is a video of
    its own, its latents are further channels of every latent, without doubt (std 0).
    """

    def __init__(self, autoencoder: Autoencoder, frames: FramesConfig) -> None:
        self.frames, self._pieces = frames, Pieces(autoencoder)

    @property
    def autoencoder(self) -> Autoencoder:
        """What makes the latents."""
        return self._pieces.autoencoder

    def __call__(self, video: torch.Tensor, images: int = 0) -> Posterior:
        """uint8 [B, T, 3, H, W], the last `images` frames of which are images of their own behind a clip -> float [B,
        t, C, h, w], or of 2 C channels. Images are encoded each by itself, as where they come alone.
        """
        whole = as_floats(video)
        if not images or images == video.shape[1]:
            return self._encoded(whole)
        clip = self._encoded(whole[:, :-images])
        alone = self._encoded(whole[:, -images:].flatten(0, 1)[:, None])
        both = zip(clip, alone, strict=True)
        return Posterior(*(torch.cat([c, a.flatten(0, 1).unflatten(0, (-1, images))], dim=1) for c, a in both))

    def parted(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(latents of the video, of what is given of it or None), each [B, t, C, h, w]."""
        channels = self.autoencoder.latent_channels
        return latents[:, :, :channels], latents[:, :, channels:] if self.frames.needs_pixels else None

    def _encoded(self, video: torch.Tensor) -> Posterior:
        found = self._pieces.encode(video)
        if not self.frames.needs_pixels:
            return found
        seen = self._pieces.encode(observed(self.frames, video)).mean
        return Posterior(torch.cat([found.mean, seen], 2), torch.cat([found.std, torch.zeros_like(seen)], 2))
