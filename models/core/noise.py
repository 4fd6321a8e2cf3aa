"""Random numbers that belong to a sample, not to a process: a function of (seed, global sample index, purpose, draw)
and nothing else.

Neither batch size nor the number of processes, nor what was drawn before, changes them. They are made on the CPU, so no
device changes them either. Philox (Salmon et al. 2011) is counter-based: each key has a stream of its own, without the
collisions of hashed 32-bit seeds.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from clipmill.curate.errors import UserError

# step of a sampler -> standard normal like z.
StepNoise = Callable[[int], torch.Tensor]

_WORD = 2**64
_VIDEO_AXES = 4


@dataclass(frozen=True)
class SampleNoise:
    """The random numbers of a batch. sample_indices: for training the number of the sample since the start (epochs go
    on counting), for sampling the number of the video. Raises UserError for a seed or an index that is not in 0 ...
    2**64 - 1. part: of the sample that they are for, a window of it or a stage; "" for all of it. alike: of a video all
    frames have the same.
    """

    seed: int
    sample_indices: Sequence[int]
    part: str = ""
    alike: bool = False

    def __post_init__(self) -> None:
        wrong = [number for number in (self.seed, *self.sample_indices) if not 0 <= number < _WORD]
        if wrong:
            raise UserError(f"seeds and sample numbers are whole numbers from 0 to 2**64 - 1, not {wrong[0]}")

    def of_part(self, name: str) -> "SampleNoise":
        """Other numbers for the same samples, for a part of them."""
        return replace(self, part=f"{self.part}{name}, ")

    def normal(self, shape: Sequence[int], purpose: str, draw: int = 0) -> torch.Tensor:
        """float32 [B, *shape], standard normal. A shape of four axes is a video's, frames first."""
        if self.alike and len(shape) == _VIDEO_AXES and shape[0] > 1:
            return self.normal((1, *shape[1:]), purpose, draw).expand(-1, shape[0], -1, -1, -1)
        out = np.empty((len(self.sample_indices), *shape), np.float32)
        for row, index in zip(out, self.sample_indices, strict=True):
            self._stream(index, purpose, draw).standard_normal(out=row, dtype=np.float32)
        return torch.from_numpy(out)

    def uniform(self, purpose: str, draw: int = 0) -> torch.Tensor:
        """float64 [B] strictly between 0 and 1."""
        return torch.tensor([self._uniform(index, purpose, draw) for index in self.sample_indices], dtype=torch.float64)

    def stratified(self, purpose: str, block: int, draw: int = 0) -> torch.Tensor:
        """float64 [B] in [0, 1), uniform, and evenly spread over every `block` samples that follow one another from a
        multiple of it: one in each of `block` equal intervals (Kingma et al. 2021, Variational Diffusion Models, with
        blocks in place of batches).
        """
        if block < 1:
            raise UserError(f"numbers are spread over one sample or more, not {block}")
        values = [
            (self._uniform(i // block, f"{purpose}, blocks", draw) + i % block / block) % 1.0
            for i in self.sample_indices
        ]
        return torch.tensor(values, dtype=torch.float64)

    def steps(self, shape: Sequence[int], purpose: str, device: torch.device | str = "cpu") -> StepNoise:
        """The noise of a sampler's steps, float32 [B, *shape] each; draw 0 is left to the noise that it starts from."""
        return lambda step: self.normal(shape, purpose, step + 1).to(device)

    def _uniform(self, index: int, purpose: str, draw: int) -> float:
        # Half a grid step up: the numbers of `random` are multiples of 2**-53 from 0.
        return float(self._stream(index, purpose, draw).random()) * (1 - 2.0**-53) + 2.0**-54

    def _stream(self, index: int, purpose: str, draw: int) -> np.random.Generator:
        key = np.array([self.seed, index], np.uint64)
        counter = np.array([0, 0, draw, _number(self.part + purpose)], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _number(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
