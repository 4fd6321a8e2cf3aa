"""Training reads: any condition over a manifest, clips at random from the shards by `pread`, and an order that one
integer resumes.
"""

import atexit
import fcntl
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.data import Dataset, Sampler

from clipmill.curate.common.old_conditions import to_sql
from clipmill.curate.common.sql import frame_where, rows_where
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.tables.manifest import Manifest
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import open_manifest
from clipmill.curate.tables.shard_files import HEADER_BYTES, check_shards, names_clip
from clipmill.curate.video.resize_to_cover import covered

_MAX_OPEN_SHARDS = 32
_COLUMNS = ("clip_id", "shard", "offset", "size")
_WANTED = ("sha256", "captions", "export_n_frames")


class Draw(int):
    """An index into a data set that knows which pass over it this is: an int for any data set, with `.epoch` for those
    that look.
    """

    epoch: int

    def __new__(cls, index: int, epoch: int = 0) -> "Draw":
        """`index` in epoch `epoch`, both from 0."""
        draw = super().__new__(cls, index)
        draw.epoch = epoch
        return draw

    def __reduce__(self) -> tuple[type["Draw"], tuple[int, int]]:
        """Travels to loader workers with its epoch."""
        return Draw, (int(self), self.epoch)


class ResumableSampler(Sampler[int]):
    """An endless shuffled order whose whole state is one integer: how many samples all ranks together have drawn.

    Position p of the global order is place p mod n of the permutation of epoch p // n, which depends on (seed, epoch)
    alone. Rank r of `world` takes positions start + r, start + r + world, ... So a run stopped at `start` goes on with
    exactly the samples that were still to come, with any number of ranks. Yields `Draw`.

    Loader workers fetch ahead, so count what the training loop consumed: `start + steps * batch_size * world`.

    Args:
        n: Samples in the data set.
        seed: Of the permutations.
        start: How many samples all ranks together have drawn before.
        rank: Of this process.
        world: How many processes there are.

    Raises:
        ValueError: An empty data set, impossible ranks.

    Example:
        >>> from itertools import islice
        >>> from clipmill.curate import ResumableSampler
        >>> whole, rest = ResumableSampler(10, seed=0), ResumableSampler(10, seed=0, start=4)
        >>> list(islice(whole, 12))[4:] == list(islice(rest, 8))
        True
    """

    def __init__(self, n: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        """n: samples in the data set. Raises ValueError for an empty data set or impossible ranks."""
        if n < 1 or start < 0 or not 0 <= rank < world:
            raise ValueError(
                f"need n >= 1, start >= 0 and 0 <= rank < world; got n={n}, start={start}, rank={rank}, world={world}"
            )
        self.n, self.seed, self.start, self.rank, self.world = n, seed, start, rank, world

    def __iter__(self) -> Iterator[int]:
        """This rank's draws, without end."""
        epoch, order = -1, np.empty(0, np.int64)
        position = self.start + self.rank
        while True:
            if position // self.n != epoch:
                epoch = position // self.n
                order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            yield Draw(int(order[position % self.n]), epoch)
            position += self.world


def leave_at_once(worker: int) -> None:
    """`worker_init_fn` of a DataLoader with spawned workers: a worker ends as a forked one does, without taking its
    interpreter down.

    Before Python 3.14 that ends the thread which still puts a tensor into shared memory, in the middle of torch's code,
    and the process aborts: "terminate called without an active exception" whenever a loader is left while workers read
    ahead.
    """
    atexit.register(os._exit, 0)


class ClipDataset(Dataset[dict[str, Any]]):
    """Exported clips of a run, map-style. Item `i` (an int or a `Draw`) is a dict:

    clip_id: str. video: uint8 [T, C, H, W] RGB, 0 to 255, upright. fps: float, of the frames returned (a stride divides
    it).
    start_frame: int, where the window begins in the clip. caption: str, "" where the clip has none.

    The window of `n_frames` frames, `stride` apart, and the caption (in proportion to `sample_weight`) are drawn by
    (seed, clip_id, epoch): the same whatever the worker count, the order, or which other clips the condition takes.
    Safe with loader workers, spawned (then with `worker_init_fn=leave_at_once`) or forked: every process opens the
    shards for itself.

    Args:
        run: The run directory, or a `Run`.
        table: Rows of its manifest, in place of all of them.
        stride: Frames from one to the next.
        seed: Of windows and captions.

    Example:
        >>> from clipmill.curate import ClipDataset
        >>> clips = ClipDataset("run", n_frames=8, size=(64, 64))
        >>> tuple(clips[0]["video"].shape)
        (8, 3, 64, 64)
    """

    def __init__(
        self,
        run: Path | str,
        where: str | None = None,
        *,
        table: pa.Table | pd.DataFrame | None = None,
        n_frames: int | None = None,
        stride: int = 1,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        verify: bool = False,
        columns: Sequence[str] = (),
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        query: str | None = None,
    ) -> None:
        """run: the run directory, for its `shards/` and, without `table`, its `manifest.parquet`.

        where: an SQL condition on the manifest's columns, for example "split = 'train' AND motion > 0.1"; a clip for
        which it is null is not taken (see `clipmill.curate.common.sql`).
        n_frames: frames per item; none for the whole clip. Clips too short for it are left out and counted in
        `n_too_short`, clips that are in no shard in `n_not_exported`. size: (height, width) in px that every frame is
        scaled to cover and cropped to in the middle, so that clips of all shapes make one batch; none for each clip's
        own. verify: check the sha256 at every read; without it, sizes and headers of the tars are checked: of every
        shard here, of every clip when it is read.
        columns: columns of the manifest to put into every item under their names, for example scores to condition on.
        transform: applied to the finished item. query: what `where` was called, for pandas; refused.

        Raises UserError where there is no manifest, a column is missing, the condition is wrong, nothing is left, or
        a shard does not hold what the manifest says.
        """
        if query is not None:
            raise UserError(f"ClipDataset takes where=, in SQL, and no query=: write where={to_sql(query)!r}")
        if stride < 1 or (n_frames is not None and n_frames < 1):
            raise UserError(f"n_frames and stride are at least 1, not {n_frames} and {stride}")
        if size is not None and min(size) < 1:
            raise UserError(f"size is (height, width), each at least 1, not {size}")
        self._shards = Path(run) / "shards"
        self.n_frames, self.stride, self.size, self.seed, self._verify, self._transform = (
            n_frames,
            stride,
            size,
            seed,
            verify,
            transform,
        )
        found = _found(open_manifest(RunDir(Path(run))) if table is None else table, where, columns)
        exported = found[found["shard"].notna()]
        self.n_not_exported = len(found) - len(exported)
        rows = exported[_long_enough(exported, self._span)]
        self.n_too_short = len(exported) - len(rows)
        if rows.empty:
            raise UserError(
                f"no clip to read: {len(found)} found, {self.n_not_exported} not exported, {self.n_too_short} too short"
            )
        check_shards(Path(run), rows)
        self._columns = tuple(columns)
        self.table = rows[_needed(rows, self._columns)].reset_index(drop=True)
        self._files = _ShardFiles(self._shards)
        self._files.read(
            str(self.table["shard"].iat[0]), 0, 0
        )  # open from now on, so that no export takes the set away

    @property
    def _span(self) -> int:
        """Frames of a clip that one item covers."""
        return 1 if self.n_frames is None else (self.n_frames - 1) * self.stride + 1

    def __len__(self) -> int:
        """Clips."""
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The item at `index`. Raises IndexError past the end, DecodeError where the shard does not hold what the
        manifest says.
        """
        if not 0 <= index < len(self.table):
            raise IndexError(f"index {int(index)} of {len(self.table)} clips")
        row = self.table.iloc[int(index)]
        data = self.read(int(index))
        rng = np.random.default_rng([self.seed, getattr(index, "epoch", 0), *_words(row["clip_id"])])
        caption = pick_caption(row.get("captions"), rng)
        video, fps, start = decode_window(data, self.n_frames, self.stride, rng)
        video = video if self.size is None else covered(video, *self.size)
        item = {"clip_id": row["clip_id"], "video": video, "fps": fps, "start_frame": start, "caption": caption}
        item |= {name: row[name] for name in self._columns}
        return item if self._transform is None else self._transform(item)

    def read(self, index: int) -> bytes:
        """The bytes of a clip's video file. Raises DecodeError where they are not there, or (with `verify`) are
        others.
        """
        row = self.table.iloc[index]
        offset, size = int(row["offset"]), int(row["size"])
        found = self._files.read(row["shard"], offset - HEADER_BYTES, HEADER_BYTES + size)
        header, data = found[:HEADER_BYTES], found[HEADER_BYTES:]
        whole = len(data) == size and names_clip(header, row["clip_id"], size)
        if not whole or (self._verify and hashlib.sha256(data).hexdigest() != row["sha256"]):
            raise DecodeError(
                f"{row['shard']} does not hold clip {row['clip_id']} as the manifest says: `curate export"
                f" {self._shards.parent}` writes the shards again"
            )
        return data


class _ShardFiles:
    """Open shards of this process, the least recently read closed first. Never crosses to another process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, int] = OrderedDict()
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_open": OrderedDict(), "_pid": -1}

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """Raises DecodeError where the shard cannot be opened."""
        if (
            self._pid != os.getpid()
        ):  # a fork shares file numbers, and closing them here would be harmless, but losing count would not
            self._open, self._pid = OrderedDict(), os.getpid()
        if shard not in self._open:
            try:
                self._open[shard] = os.open(self._folder / shard, os.O_RDONLY)
                with suppress(OSError):  # where there are no such locks, an open file stays readable all the same
                    fcntl.flock(self._open[shard], fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                raise DecodeError(f"cannot open {self._folder / shard}: {error.strerror}") from error
            if len(self._open) > _MAX_OPEN_SHARDS:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(shard)
        return os.pread(self._open[shard], size, offset)

    def __del__(self) -> None:
        if self._pid == os.getpid():
            for descriptor in self._open.values():
                os.close(descriptor)


def _found(table: Manifest | pa.Table | pd.DataFrame, where: str | None, columns: Sequence[str]) -> pd.DataFrame:
    """The rows, of a manifest only the columns that are needed."""
    names = list(table.columns) if isinstance(table, pd.DataFrame) else table.column_names
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise UserError(f"the manifest has no column {missing[0]!r}: run `curate export` first")
    if isinstance(table, pd.DataFrame):
        return frame_where(table, where)
    wanted = [name for name in names if name in {*_COLUMNS, *_WANTED, *columns}]
    if isinstance(table, Manifest):
        return _frame(table.read(wanted, where))
    return _frame((table if where is None else rows_where(table, where)).select(wanted))


def _frame(rows: pa.Table) -> pd.DataFrame:
    """In pandas; lists stay in Arrow and become Python's when one is looked at: a list for each of a million clips
    takes gigabytes.
    """
    made: pd.DataFrame = rows.to_pandas(
        types_mapper=lambda kind: pd.ArrowDtype(kind) if pa.types.is_nested(kind) else None
    )
    return made


def _needed(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """What a worker has to carry: not the whole manifest."""
    unknown = [name for name in columns if name not in table]
    if unknown:
        raise UserError(f"the manifest has no column {unknown[0]!r}")
    return [name for name in dict.fromkeys([*_COLUMNS, "sha256", "captions", *columns]) if name in table]


def _long_enough(table: pd.DataFrame, frames: int) -> pd.Series:
    if "export_n_frames" not in table:
        return pd.Series(True, index=table.index)
    return table["export_n_frames"] >= frames


def _words(clip_id: str) -> list[int]:
    """The id as numbers for a seed."""
    return [int(word) for word in np.frombuffer(hashlib.sha256(clip_id.encode()).digest()[:16], "<u4")]


def pick_caption(captions: Any, rng: np.random.Generator) -> str:
    """One text of `captions` (list of schema.CAPTION, or null), by `sample_weight`, among those with status ok; ""
    where there is none.
    """
    given = captions if isinstance(captions, list | np.ndarray) else []  # pandas has None or NaN for a missing list
    usable = [c for c in given if c["text"] and c.get("status", "ok") in ("ok", None)]
    weights = np.array([1.0 if c.get("sample_weight") is None else c["sample_weight"] for c in usable], float)
    if not usable or not weights.sum() > 0:
        return ""
    return str(usable[rng.choice(len(usable), p=weights / weights.sum())]["text"])


def decode_window(
    data: bytes, n_frames: int | None, stride: int, rng: np.random.Generator
) -> tuple[torch.Tensor, float, int]:
    """(uint8 [T, C, H, W] RGB, frames per second, first frame) of a window of a video file in memory, its place drawn
    by `rng`.

    Only the frames from the keyframe before the window to its end are decoded. Raises DecodeError where the file has
    too few frames or does not decode.
    """
    import av

    from clipmill.curate.video.open_av import open_av

    try:
        with open_av(data) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
            shown = sorted(p.pts for p in packets if p.pts is not None)
            span = len(shown) if n_frames is None else (n_frames - 1) * stride + 1
            if not 0 < span <= len(shown):
                raise DecodeError(f"a clip of {len(shown)} frames has no window of {span}")
            start = int(rng.integers(len(shown) - span + 1))
            wanted = shown[start : start + span : stride]
            video = torch.from_numpy(_decode(stream, packets, wanted))
            return video, float(stream.average_rate or 0) / stride, start
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise DecodeError(f"a clip of a shard does not decode: {error}") from error


def _decode(stream: Any, packets: Sequence[Any], wanted: Sequence[int]) -> np.ndarray:
    """uint8 [T, 3, H, W] of the frames at the PTS `wanted`, upright."""
    from av.video.reformatter import VideoReformatter

    from clipmill.curate.video.orientation import orientation_of
    from clipmill.curate.video.picture import upright

    first = max((i for i, p in enumerate(packets) if p.is_keyframe and p.pts <= wanted[0]), default=0)
    place, scaler = (
        {pts: i for i, pts in enumerate(wanted)},
        VideoReformatter(),
    )  # one scaler: setting it up costs more than a frame
    video: np.ndarray | None = None
    for packet in [*packets[first:], None]:
        for frame in stream.codec_context.decode(packet):
            if frame.pts not in place:
                continue
            picture = scaler.reformat(frame, format="rgb24", threads=1).to_ndarray()
            picture = upright(picture, *orientation_of(frame)).transpose(2, 0, 1)
            video = np.empty((len(wanted), *picture.shape), np.uint8) if video is None else video
            video[place.pop(frame.pts)] = picture
        if video is not None and not place:
            return video
    raise DecodeError(f"{len(place)} of {len(wanted)} frames of a clip do not decode")
