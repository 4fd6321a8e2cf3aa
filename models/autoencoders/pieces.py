"""Encoding and decoding in pieces that fit into memory: fewer videos at a time, then fewer frames."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder, Posterior

Part = TypeVar("Part")
Finish = Callable[[torch.Tensor], torch.Tensor]


class Pieces:
    """An autoencoder that does in halves what does not fit, and begins with that size the next time. In one piece the
    result is the autoencoder's own, bit by bit; in several it is but for rounding.
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder
        self._fits: dict[tuple[str, torch.Size], int] = {}

    def encode(self, video: torch.Tensor) -> Posterior:
        """See `Autoencoder.encode`. Raises UserError where not even the frames of one latent fit."""
        parts = self._done("encode", video, self._encoded)
        return Posterior(torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts]))

    def decode(self, latents: torch.Tensor, finish: Finish = lambda video: video) -> torch.Tensor:
        """See `Autoencoder.decode`. finish: done with every piece of the video, such as bringing it to the CPU. Raises
        UserError likewise.
        """
        return torch.cat(self._done("decode", latents, lambda part, size: self._decoded(part, size, finish)))

    def _done(self, what: str, whole: torch.Tensor, work: Callable[[torch.Tensor, int], Part]) -> list[Part]:
        """work: of some videos, so many latents of each at a time, 0 for all. The sizes: B videos, half as many ... 1
        video, half its latents ... 1.
        """
        first = self._fits.get((what, whole.shape), 0)
        for number, (videos, latents) in enumerate(islice(self._sizes(what, whole), first, None), first):
            try:
                found = [work(part, latents) for part in whole.split(videos)]
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self._fits[what, whole.shape] = number
                return found
            # Behind the handler, whose traceback holds what had been made.
            if whole.device.type == "cuda":
                torch.cuda.empty_cache()
        raise UserError(_too_large(what, whole))

    def _sizes(self, what: str, whole: torch.Tensor) -> Iterator[tuple[int, int]]:
        batch, frames = whole.shape[:2]
        yield from ((videos, 0) for videos in _halves(batch))
        if what == "encode" or self.autoencoder.decodes_in_chunks:
            latents = frames if what == "decode" else self.autoencoder.latent_grid((frames, *whole.shape[3:]))[0]
            yield from ((1, count) for count in _halves(latents)[1:])

    def _encoded(self, video: torch.Tensor, latents: int) -> Posterior:
        if not latents:
            return self.autoencoder.encode(video)
        parts = list(self.autoencoder.encode_chunks(self.autoencoder.frames_in_chunks(video, latents)))
        return Posterior(torch.cat([part.mean for part in parts], 1), torch.cat([part.std for part in parts], 1))

    def _decoded(self, latents: torch.Tensor, size: int, finish: Finish) -> torch.Tensor:
        if not size:
            return finish(self.autoencoder.decode(latents))
        chunks = latents.split(size, dim=1)
        return torch.cat([finish(part) for part in self.autoencoder.decode_chunks(chunks)], dim=1)


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, or of the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _halves(count: int) -> list[int]:
    """count, half of it, rounded up, and so on to 1."""
    found = [count]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found


def _too_large(what: str, whole: torch.Tensor) -> str:
    side = "x".join(map(str, whole.shape[3:]))
    unit = "px" if what == "encode" else "latents"
    return (
        f"out of memory: this device cannot {what} one video of {side} {unit}, a piece at a time; take smaller"
        " data.sizes (--size when sampling), or a device with more memory"
    )
