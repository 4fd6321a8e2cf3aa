"""What a pass through an autoencoder costs."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.by_name import new_autoencoder, options_of
from clipmill.models.layers.plan import Grid


@torch.no_grad()
def reconstruction_flops(autoencoder: VideoAutoencoder, grid: Grid) -> int:
    """Floating point operations, a multiply-add being two, of encoding and decoding one video of (frames, height px,
    width px): counted on tensors without content, so nothing is computed. Ask once per size. Raises UserError for sizes
    that it cannot take.
    """
    autoencoder.latent_grid(grid)
    with torch.device("meta"):
        twin = new_autoencoder(autoencoder.kind, options_of(autoencoder))
        video = torch.empty(1, grid[0], 3, *grid[1:])
    with FlopCounterMode(display=False) as counter:
        twin.decode(twin.encode(video).mean)
    return int(counter.get_total_flops())
