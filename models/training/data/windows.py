"""One window of one exported clip, read, decoded and brought to its bucket's size: the only place where training
touches pixels.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from clipmill.curate.dataset import ClipDataset, decode_window, pick_caption
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.video.resize_to_cover import covered
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.core.keyed import keyed_rng
from clipmill.models.settings.training import DataConfig
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.buckets import Bucket

_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Window:
    """video: uint8 [T + K, 3, H, W] RGB, the last K single frames of other clips (`data.images_per_clip`); or, encoded
    before, latents: float [t, C, h, w]. row: of its clip in the table; number: which of the clip's windows. failed:
    clips that did not decode and in whose place this one came, with the reason each.
    """

    row: int
    video: torch.Tensor | None
    latents: Posterior | None
    clip_id: str
    number: int
    caption: str
    fps: float
    failed: tuple[tuple[str, str], ...] = field(default=())


class Windows(Dataset[Window]):
    """Item `draw` is a window, the same whatever process reads it: place and mirroring follow (seed, clip id, window
    number), the caption (seed, clip id, epoch). A clip that does not decode is replaced by the next one of its bucket
    and named.
    """

    def __init__(
        self, run: Path, table: pd.DataFrame, buckets: Sequence[Bucket], config: DataConfig, seed: int
    ) -> None:
        self.buckets, self.config, self.seed = tuple(buckets), config, seed
        # What is kept under the hash of a clip's file must have been made of that file.
        verify = config.cache == "latents" and "sha256" in table
        self.clips = ClipDataset(run, table=table, seed=seed, verify=verify)
        self.places = [{row: place for place, row in enumerate(bucket.rows)} for bucket in self.buckets]
        self._whole = _WholeClips()
        self._lengths = [] if config.max_stride is None else [int(n) for n in table["export_n_frames"]]
        if len(self.clips) != len(table):
            raise UserError("the manifest has clips without a shard: run `curate export`")

    def number(self, draw: Draw) -> int:
        """Which of the clip's windows a draw means."""
        return draw.epoch if self.config.windows is None else draw.epoch % self.config.windows

    def __getitem__(self, draw: Draw) -> Window:
        """Raises UserError where no clip of the bucket decodes."""
        rows = self.buckets[draw.bucket].rows
        failed: list[tuple[str, str]] = []
        first = self.places[draw.bucket][draw.row]
        for place in range(first, first + len(rows)):
            row = rows[place % len(rows)]
            try:
                return self._read(draw, row, tuple(failed))
            except DecodeError as error:
                failed.append((self.clip_id(row), str(error)))
        raise UserError(f"no clip of the bucket {self.buckets[draw.bucket]} decodes: {failed[0][1]}")

    def clip_id(self, row: int) -> str:
        """Of a row of the table."""
        return str(self.clips.table["clip_id"].iat[row])

    def content(self, row: int) -> str:
        """32 hex digits of the SHA-256 of a clip's file, as the manifest says or, where it does not, as it is. Raises
        DecodeError where it cannot be read.
        """
        stated = self.clips.table["sha256"].iat[row] if "sha256" in self.clips.table else None
        return str(stated or hashlib.sha256(self.clips.read(row)).hexdigest())[:32]

    def _read(self, draw: Draw, row: int, failed: tuple[tuple[str, str], ...]) -> Window:
        bucket, clip_id, number = self.buckets[draw.bucket], self.clip_id(row), self.number(draw)
        rng = keyed_rng(self.seed, "window", clip_id, number)
        pictures, fps = self._window(row, bucket, rng)
        if self.config.flip and rng.random() < 0.5:
            pictures = pictures.flip(3)
        pictures = cropped(pictures, bucket, rng)
        if self.config.images_per_clip and not bucket.images:
            pictures = torch.cat([pictures, *self._images(draw, bucket)])
        caption = self.caption(row, draw.epoch)
        return Window(row, pictures, None, clip_id, number, caption, fps, failed)

    def _window(self, row: int, bucket: Bucket, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
        """uint8 [T, 3, H, W] and its frames per second. Where a clip has several windows it is decoded once for all of
        them.
        """
        stride = 1 if bucket.images else self._stride(row, bucket, rng)
        if self.config.windows is None:
            video, fps, _ = decode_window(self.clips.read(row), bucket.frames, stride, rng)
            return covered(video, bucket.height_px, bucket.width_px), fps
        pictures, fps = self._whole.clip(row, (bucket.height_px, bucket.width_px), self.clips)
        span = (bucket.frames - 1) * stride + 1
        if span > len(pictures):
            raise DecodeError(f"a clip of {len(pictures)} frames has no window of {span}")
        start = int(rng.integers(len(pictures) - span + 1))
        return pictures[start : start + span : stride], fps / stride

    def _stride(self, row: int, bucket: Bucket, rng: np.random.Generator) -> int:
        """Nothing is drawn where all windows have the same."""
        least, most = self.config.stride, self.config.max_stride
        if most is None or bucket.frames == 1:
            return least
        fits = (self._lengths[row] - 1) // (bucket.frames - 1)
        return int(rng.integers(least, max(least, min(most, fits)) + 1))

    def caption(self, row: int, epoch: int) -> str:
        """One of the clip's captions, by weight; "" where it has none."""
        captions = self.clips.table["captions"].iat[row] if "captions" in self.clips.table else None
        return pick_caption(captions, keyed_rng(self.seed, "caption", self.clip_id(row), epoch))

    def _images(self, draw: Draw, bucket: Bucket) -> list[torch.Tensor]:
        """Single frames of other clips, uint8 [1, 3, H, W] each, chosen by the sample's number."""
        rng = keyed_rng(self.seed, "images", "", draw.index)
        rows = rng.integers(len(self.clips), size=self.config.images_per_clip)
        frames = [decode_window(self.clips.read(int(row)), 1, 1, rng)[0] for row in rows]
        return [cropped(covered(frame, bucket.height_px, bucket.width_px), bucket, rng) for frame in frames]


def cropped(video: torch.Tensor, bucket: Bucket, rng: np.random.Generator) -> torch.Tensor:
    """The bucket's crop of uint8 [T, 3, H, W], at one place, drawn evenly, in all frames; the whole, and nothing is
    drawn, where it has none.
    """
    if bucket.crop is None:
        return video
    sides = zip(video.shape[2:], bucket.crop, strict=True)
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in sides)
    return video[:, :, top : top + bucket.crop[0], left : left + bucket.crop[1]]


class _WholeClips:
    """Decoded clips at their bucket's size, the least recently used forgotten first. Never crosses to another
    process.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, tuple[int, int]], tuple[torch.Tensor, float]] = OrderedDict()
        self._bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return vars(_WholeClips())

    def clip(self, row: int, size_px: tuple[int, int], clips: ClipDataset) -> tuple[torch.Tensor, float]:
        """uint8 [all frames, 3, H, W] and frames per second. Raises DecodeError."""
        key = (row, size_px)
        if key not in self._kept:
            video, fps, _ = decode_window(clips.read(row), None, 1, np.random.default_rng(0))
            self._kept[key] = (covered(video, *size_px), fps)
            self._bytes += self._kept[key][0].numel()
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][0].numel()
        self._kept.move_to_end(key)
        return self._kept[key]
