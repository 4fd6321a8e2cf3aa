"""An autoencoder of single frames, with an image decoder or one that has learned to make neighbouring frames agree."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder, posterior_of, start_nearly_certain
from clipmill.models.autoencoders.blocks import MakeNorm, Past, Residual, norm_named
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.autoencoders.trunk import COLOURS, Decoder, Encoder
from clipmill.models.layers.convolution import SpaceConvolution, TimeConvolution
from clipmill.models.layers.resampling import SpaceUpsample
from clipmill.models.layers.temporal import Mixer


@dataclass(frozen=True)
class FrameConfig:
    """latent_channels: C. widths: channels per level, each level at half the size of the one before. depth: residual
    blocks per level.

    attention: within the frame, at the smallest size. temporal_decoder: layers along time in the decoder.
    deterministic: no variance is learned, std is zero. The defaults are the shape of Stable Diffusion's (2112.10752).
    """

    latent_channels: int = 4
    widths: tuple[int, ...] = (128, 256, 512, 512)
    depth: int = 2
    groups: int = 32
    attention: bool = True
    temporal_decoder: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        if not self.widths or min(self.latent_channels, self.depth, self.groups, *self.widths) < 1:
            raise ValueError("sizes are at least 1")


class FrameAutoencoder(VideoAutoencoder):
    """Frames are encoded one by one. With a temporal decoder (Video LDM, 2304.08818, section 3.1.1; Stable Video
    Diffusion, 2311.15127) every residual block of the decoder is followed by one along time, and so is its output; at
    the start these change nothing, bit by bit.
    """

    kind = "frame"

    def __init__(self, config: FrameConfig) -> None:
        super().__init__(config, config.latent_channels, 2 ** (len(config.widths) - 1))
        channels, moments = config.latent_channels, config.latent_channels * (1 if config.deterministic else 2)
        self.encoder = Encoder(
            _FrameParts(config.groups, False), config.widths, config.depth, moments, config.attention
        )
        self.moments = SpaceConvolution(moments, moments, 1)
        start_nearly_certain(self.moments, channels)
        self.latents = SpaceConvolution(channels, channels, 1)
        self.decoder = Decoder(
            _FrameParts(config.groups, config.temporal_decoder), config.widths, config.depth, channels, config.attention
        )
        self.over_time = TimeConvolution(COLOURS, COLOURS).start_at_zero() if config.temporal_decoder else None

    def encode(self, video: torch.Tensor) -> Posterior:
        return posterior_of(self.moments(self.encoder(self.checked(video))), self.config.deterministic)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        frames = self.decoder(self.latents(self.checked_latents(latents)))
        return frames if self.over_time is None else frames + self.over_time(frames)

    @property
    def decodes_in_chunks(self) -> bool:
        return self.over_time is None

    def last_layer(self) -> nn.Parameter:
        return self.decoder.last_layer() if self.over_time is None else self.over_time.get_parameter("weight")

    def temporal_parameter_names(self) -> set[str]:
        """Of the layers along time, which an image autoencoder lacks."""
        blocks = [name for name, module in self.named_modules() if isinstance(module, TemporalResidual)]
        owners = ["over_time", *(f"{block}.{part}" for block in blocks for part in ("time", "mixer"))]
        return {name for name, _ in self.named_parameters() if name.startswith(tuple(f"{owner}." for owner in owners))}

    def freeze_for_decoder(self) -> set[str]:
        """Lets only the layers along time learn, so that encoder and image decoder stay as they are; returns the names
        of their parameters. Raises UserError where there are none.
        """
        names = self.temporal_parameter_names()
        if not names:
            raise UserError(
                "only a temporal decoder can be trained by itself: set autoencoder.options.temporal_decoder=true"
            )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in names)
        return names

    def with_temporal_decoder(self) -> "FrameAutoencoder":
        """The same autoencoder with layers along time in its decoder, which change nothing yet."""
        found = FrameAutoencoder(replace(self.config, temporal_decoder=True))
        found.load_images(self)
        return found

    def load_images(self, image: "FrameAutoencoder") -> None:
        """Takes over all that an autoencoder without temporal decoder has. Raises UserError where it is of another
        shape.
        """
        theirs, mine = image.state_dict(), self.state_dict()
        wanted = set(mine) - self.temporal_parameter_names()
        if set(theirs) != wanted or any(theirs[name].shape != mine[name].shape for name in wanted):
            raise UserError(
                "the image autoencoder is of another shape: its options must be the same but for temporal_decoder"
            )
        self.load_state_dict(theirs, strict=False)


class TemporalResidual(Residual):
    """An image block and, mixed with its result, two convolutions along time of which the last starts at zero: [B, T,
    C, H, W] -> [B, T, D, H, W]. Its image part has the names of an image block.
    """

    def __init__(self, channels: int, out_channels: int, norm: MakeNorm) -> None:
        super().__init__(channels, out_channels, SpaceConvolution, norm)
        self.time = Residual(out_channels, out_channels, TimeConvolution, norm)
        for parameter in self.time.convolution_out.parameters():
            nn.init.zeros_(parameter)
        self.mixer = Mixer("alpha")

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        image = super().forward(x)
        return self.mixer(image, self.time.change(image), None)


class FrameShrink(nn.Module):
    """[B, T, C, H, W] -> [B, T, C, H / 2, W / 2]. Zeros stand beyond the right and lower edges only, as in Stable
    Diffusion's weights.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        return self.convolution(F.pad(x.flatten(0, 1), (0, 1, 0, 1))).unflatten(0, x.shape[:2])


class FrameGrow(SpaceUpsample):
    """[B, T, C, H, W] -> [B, T, C, 2 H, 2 W]."""

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x, 2 * x.shape[3], 2 * x.shape[4])


class _FrameParts:
    def __init__(self, groups: int, temporal: bool) -> None:
        self.norm = norm_named("frame", groups)
        self._temporal = temporal

    def convolution(self, channels: int, out_channels: int) -> nn.Module:
        return SpaceConvolution(channels, out_channels)

    def block(self, channels: int, out_channels: int) -> nn.Module:
        if self._temporal:
            return TemporalResidual(channels, out_channels, self.norm)
        return Residual(channels, out_channels, SpaceConvolution, self.norm)

    def shrink(self, level: int, channels: int) -> nn.Module | None:
        return FrameShrink(channels)

    def grow(self, level: int, channels: int) -> nn.Module | None:
        return FrameGrow(channels)
