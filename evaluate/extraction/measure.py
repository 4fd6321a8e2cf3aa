"""From videos to vectors: decoding and resizing in threads while the network works, results stored as they come, memory
bounded.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipmill.curate.common.log import Tell, say
from clipmill.curate.errors import DecodeError, one_line
from clipmill.evaluate.extraction.processes import gathered_skips, my_share
from clipmill.evaluate.extraction.store import FeatureStore, Stored
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.evaluate.frames.window import choose_frames
from clipmill.evaluate.sets import Skip, Video, VideoSet, natural_key

_STORE_EVERY = 256


@dataclass(frozen=True)
class Settings:
    """How to work, none of which changes a number. device: auto, cpu or cuda. batch: clips per forward pass. workers:
    decoding threads.
    cache: folder for features, None to remember nothing. tell: gets progress.
    """

    device: str = "auto"
    batch: int = 8
    workers: int = 2
    cache: Path | None = None
    tell: Tell = say


@dataclass(frozen=True)
class Loaded:
    """What a thread makes of one clip. item: for `Measurement.combine`."""

    item: np.ndarray
    height_px: int
    width_px: int


@dataclass(frozen=True)
class Measurement:
    """What to measure of clips. load: one decoded clip, uint8 [T, H, W, 3], its rate (NaN where none is known) and its
    video -> item, in a thread. combine: items of a batch -> one vector each, in the main thread. fingerprint: of
    everything that decides the vectors.
    """

    load: Callable[[np.ndarray, float, Video], np.ndarray]
    combine: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    fingerprint: str


@dataclass(frozen=True)
class Clip:
    """One clip of a video: the `number`-th that the protocol takes of it."""

    video: Video
    number: int

    @property
    def key(self) -> str:
        """Of its content, for the store."""
        return f"{self.video.key}#{self.number}"

    @property
    def clip_id(self) -> str:
        """Its name."""
        return self.video.video_id if self.number == 0 else f"{self.video.video_id}#{self.number}"


@dataclass
class Measured:
    """values: float32 [N, ...] of the clips, in natural order of their names. sizes_px: (height, width) -> number of
    clips.
    skipped: what gave nothing.
    """

    clip_ids: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    sizes_px: dict[tuple[int, int], int] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)

    @property
    def ids_hash(self) -> str:
        """Of the ordered clips, by content."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()[:12]


def measure(
    videos: VideoSet,
    wanted: int,
    protocol: Protocol,
    what: Measurement,
    settings: Settings,
    tick: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Measure `wanted` clips of a set (0: all). Clips that fail are skipped, listed, and replaced by the next ones
    where there are more.

    tick is told of every clip. Raises UserError for mistakes that concern every clip.
    """
    store = FeatureStore(settings.cache, what.fingerprint)
    found: dict[Clip, Stored] = {}
    skipped: list[Skip] = list(videos.skipped)
    waiting = deque(candidates(videos.videos, protocol))
    while waiting and (wanted == 0 or len(found) < wanted):
        count = len(waiting) if wanted == 0 else wanted - len(found)
        group = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        failed = _measure_group(group, found, protocol, what, settings, store, tick)
        skipped += failed
    return _in_order(found, skipped, wanted if protocol.missing == "repeat" else 0)


def candidates(videos: Sequence[Video], protocol: Protocol) -> list[Clip]:
    """The clips of a set in the order in which the protocol takes them."""

    def place(video: Video) -> str:
        return hashlib.sha256(f"{protocol.seed}:{video.key}".encode()).hexdigest()

    ordered = list(videos) if protocol.choose == "first" else sorted(videos, key=place)
    return [Clip(video, k) for k in range(protocol.clips_per_video) for video in ordered]


def _measure_group(
    group: Sequence[Clip],
    found: dict[Clip, Stored],
    protocol: Protocol,
    what: Measurement,
    settings: Settings,
    store: FeatureStore,
    tick: Callable[[str], None],
) -> list[Skip]:
    """Fill `found` for a group of clips, from the store where it knows them. Returns the failures."""
    known = store.read(c.key for c in group)
    missing = list({c.key: c for c in group if c.key not in known}.values())
    for clip in group:
        if clip.key in known:
            tick(clip.clip_id)
    failures: dict[str, str] = {}
    fresh: dict[str, Stored] = {}
    try:
        for clip, result in _computed(my_share(missing, lambda c: c.key), protocol, what, settings):
            tick(clip.clip_id)
            if isinstance(result, Stored):
                fresh[clip.key] = known[clip.key] = result
            else:
                failures[clip.key] = result
            if len(fresh) >= _STORE_EVERY:
                store.write(fresh)
                fresh = {}
    finally:
        store.write(fresh)
    failures = gathered_skips(failures)
    known |= store.read(c.key for c in group if c.key not in known and c.key not in failures)
    found |= {c: known[c.key] for c in group if c.key in known}
    return [Skip(c.clip_id, failures.get(c.key, "not measured")) for c in group if c.key not in known]


def _computed(
    clips: Sequence[Clip], protocol: Protocol, what: Measurement, settings: Settings
) -> Iterator[tuple[Clip, Stored | str]]:
    """Every clip with its vector, or with the reason why there is none."""
    batch: list[tuple[Clip, Loaded]] = []
    for clip, loaded in _loaded(clips, protocol, what, settings):
        if isinstance(loaded, str):
            yield clip, loaded
            continue
        batch.append((clip, loaded))
        # Items of one shape only: clips of networks without a fixed size may differ.
        if len(batch) == settings.batch or batch[0][1].item.shape != loaded.item.shape:
            ready = batch if batch[0][1].item.shape == loaded.item.shape else batch[:-1]
            yield from _combined(ready, what)
            batch = batch[len(ready) :]
    yield from _combined(batch, what)


def _combined(batch: Sequence[tuple[Clip, Loaded]], what: Measurement) -> Iterator[tuple[Clip, Stored | str]]:
    if not batch:
        return
    vectors = what.combine([loaded.item for _, loaded in batch])
    for (clip, loaded), vector in zip(batch, vectors, strict=True):
        values = np.asarray(vector, np.float32)
        yield (
            clip,
            Stored(values, loaded.height_px, loaded.width_px)
            if np.isfinite(values).all()
            else "the result is not a finite number",
        )


def _loaded(
    clips: Sequence[Clip], protocol: Protocol, what: Measurement, settings: Settings
) -> Iterator[tuple[Clip, Loaded | str]]:
    """Clips in order, loaded by threads that stay two batches ahead and no more."""
    ahead = 2 * settings.batch + settings.workers
    waiting = iter(clips)
    running: deque[tuple[Clip, Future[Loaded | str]]] = deque()
    with ThreadPoolExecutor(settings.workers) as pool:
        try:
            while True:
                while len(running) < ahead and (clip := next(waiting, None)) is not None:
                    running.append((clip, pool.submit(_load, clip, protocol, what)))
                if not running:
                    return
                clip, future = running.popleft()
                yield clip, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _load(clip: Clip, protocol: Protocol, what: Measurement) -> Loaded | str:
    try:
        pixels, fps = read_clip(clip, protocol)
        return Loaded(what.load(pixels, fps, clip.video), *pixels.shape[1:3])
    except DecodeError as error:
        return str(error)
    except OSError as error:
        return one_line(error)


def read_clip(clip: Clip, protocol: Protocol) -> tuple[np.ndarray, float]:
    """(uint8 [T, H, W, 3], frames per second or NaN) of a clip. Raises DecodeError where it is too short or does not
    decode.
    """
    with clip.video.open() as frames:
        times_s = frames.times_s()
        index = choose_frames(times_s, protocol, clip.video.key, clip.number)
        pixels = frames.read(index)
    return pixels, clip_fps(times_s[index], protocol)


def clip_fps(times_s: np.ndarray, protocol: Protocol) -> float:
    """Frames per second of the frames taken; NaN where no times are known."""
    if protocol.fps is not None:
        return protocol.fps / protocol.stride
    length_s = float(times_s[-1] - times_s[0])
    return (len(times_s) - 1) / length_s if length_s > 0 else float("nan")


def _in_order(found: dict[Clip, Stored], skipped: list[Skip], repeat_to: int) -> Measured:
    clips = sorted(found, key=lambda c: (natural_key(c.video.video_id), c.number))
    if clips and len(clips) < repeat_to:
        clips = (clips * -(-repeat_to // len(clips)))[:repeat_to]
    out = Measured([c.clip_id for c in clips], [c.key for c in clips], skipped=skipped)
    if clips:
        out.values = np.stack([found[c].values for c in clips])
    for clip in found.values():
        size = clip.height_px, clip.width_px
        out.sizes_px[size] = out.sizes_px.get(size, 0) + 1
    return out
