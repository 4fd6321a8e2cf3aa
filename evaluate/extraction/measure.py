"""From videos to vectors: decoding and resizing in threads while the network works, results stored as they come, memory
bounded.
"""

import hashlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipmill.curate.common.log import Tell, say
from clipmill.curate.errors import DecodeError, UserError, one_line
from clipmill.evaluate.extraction.clips import Clip, ClipFacts, candidates, decoded_together, read_clip
from clipmill.evaluate.extraction.processes import gathered_skips, my_share
from clipmill.evaluate.extraction.store import FeatureStore, Stored
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.evaluate.sets import Skip, Video, VideoSet, natural_key

__all__ = [
    "Asked",
    "Clip",
    "Measured",
    "Measurement",
    "Settings",
    "candidates",
    "measure",
    "measure_together",
    "read_clip",
]

# What a kill may lose: so many clips, and the work of so long.
_STORE_EVERY = 256
_STORE_EVERY_S = 20.0
# Under this name several processes tell each other what concerns every clip.
_OF_ALL = ""


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
    """What a thread makes of one clip. item: for `Measurement.combine`. facts: of the frames it was made of."""

    item: np.ndarray
    facts: ClipFacts


@dataclass(frozen=True)
class Measurement:
    """What to measure of clips. load: one decoded clip, uint8 [T, H, W, 3], its rate (NaN where none is known) and its
    video -> item, in a thread. combine: items of a batch -> one vector each, in the main thread. fingerprint: of
    everything that decides the vectors. infinite: whether an infinite number is a value (NaN never is one).
    """

    load: Callable[[np.ndarray, float, Video], np.ndarray]
    combine: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    fingerprint: str
    infinite: bool = False


@dataclass
class Measured:
    """values: float32 [N, ...] of the clips, in natural order of their names. sizes_px: (height, width) -> number of
    clips. facts: of the frames of each clip, in the order of `clip_ids`; empty where they are not known. groups: for
    each clip, what it shares with those it is not independent of: its source video, its content. skipped: what gave
    nothing. videos: of each clip; empty where they come from statistics.
    """

    clip_ids: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    values: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    sizes_px: dict[tuple[int, int], int] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    facts: list[ClipFacts] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)

    @property
    def ids_hash(self) -> str:
        """Of the ordered clips, by content."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Asked:
    """One thing to measure of `wanted` clips of a set (0: all), as a protocol takes them."""

    videos: VideoSet
    wanted: int
    protocol: Protocol
    what: Measurement


@dataclass
class _Going:
    """One measurement under way. clips: all candidates, in the protocol's order. at: how many of them it has asked for.
    fresh: measured in this round; unwritten: those of them that the store does not have yet; written_s: when it last
    got some. problem: what concerns every clip.
    """

    asked: Asked
    store: FeatureStore
    clips: Sequence[Clip]
    skipped: list[Skip]
    found: dict[Clip, Stored] = field(default_factory=dict)
    fresh: dict[str, Stored] = field(default_factory=dict)
    unwritten: dict[str, Stored] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    at: int = 0
    problem: UserError | None = None
    written_s: float = field(default_factory=time.monotonic)

    @property
    def what(self) -> Measurement:
        """What is measured."""
        return self.asked.what

    def next_clips(self) -> Sequence[Clip]:
        """Those to try next: as many as are still missing."""
        wanted = self.asked.wanted
        if self.problem is not None or (wanted and len(self.found) >= wanted):
            return ()
        taken = self.clips[self.at : self.at + wanted - len(self.found)] if wanted else self.clips[self.at :]
        self.at += len(taken)
        return taken

    def take(self, clip: Clip, result: "Stored | str | UserError") -> None:
        """What came of a clip; written to the store now and then."""
        if isinstance(result, UserError):
            self.problem = self.problem or result
        elif isinstance(result, str):
            self.failures[clip.stored_as] = result
        else:
            self.fresh[clip.stored_as] = self.unwritten[clip.stored_as] = result
            if len(self.unwritten) >= _STORE_EVERY or time.monotonic() - self.written_s > _STORE_EVERY_S:
                self.write()

    def write(self) -> None:
        """To the store, so that an interrupted measurement goes on from here."""
        self.store.write(self.unwritten)
        self.unwritten, self.written_s = {}, time.monotonic()

    def finish(self, group: Sequence[Clip], known: Mapping[str, Stored]) -> None:
        """Bring together what all processes found of a group of clips."""
        if self.problem is not None:
            self.failures[_OF_ALL] = str(self.problem)
        failures = gathered_skips(self.failures)
        if _OF_ALL in failures:
            self.problem = self.problem or UserError(failures[_OF_ALL])
            return
        have = {**known, **self.fresh}
        have |= self.store.read(k for c in group if (k := c.stored_as) not in have and k not in failures)
        self.found |= {c: have[c.stored_as] for c in group if c.stored_as in have}
        self.skipped += [
            Skip(c.clip_id, failures.get(c.stored_as, "not measured")) for c in group if c.stored_as not in have
        ]
        self.fresh, self.failures = {}, {}


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
    found = measure_together([Asked(videos, wanted, protocol, what)], settings, tick)[0]
    if isinstance(found, UserError):
        raise found
    return found


def measure_together(
    asked: Sequence[Asked], settings: Settings, tick: Callable[[str], None] = lambda _: None
) -> list[Measured | UserError]:
    """As `measure`, several things, of one set or of sets that share videos: each clip is decoded once for all that
    still lack it, also where their protocols take other frames of it. A measurement whose mistake concerns every clip
    gives its UserError, and the others go on.

    tick is told of every clip, once for each measurement.
    """
    all_going = [_going(one, settings) for one in asked]
    while any(groups := [going.next_clips() for going in all_going]):
        _measure_round(list(zip(all_going, groups, strict=True)), settings, tick)
    return [going.problem or _in_order(going) for going in all_going]


def _going(asked: Asked, settings: Settings) -> _Going:
    store = FeatureStore(settings.cache, asked.what.fingerprint, settings.tell)
    return _Going(asked, store, candidates(asked.videos.videos, asked.protocol), list(asked.videos.skipped))


def _measure_round(
    asked: Sequence[tuple[_Going, Sequence[Clip]]], settings: Settings, tick: Callable[[str], None]
) -> None:
    """What each measurement asks for, from its store where that knows it, else from one decode."""
    known: list[dict[str, Stored]] = []
    work: dict[str, list[tuple[Clip, _Going]]] = {}
    for going, group in asked:
        stored = going.store.read(c.stored_as for c in group)
        for clip in {c.stored_as: c for c in reversed(group) if c.stored_as not in stored}.values():
            work.setdefault(clip.key, []).append((clip, going))
        for clip in group:
            if clip.stored_as in stored:
                tick(clip.clip_id)
        known.append(stored)
    order = {c.key: k for k, c in enumerate(c for _, group in asked for c in group)}
    mine = my_share(sorted(work.values(), key=lambda parts: order[parts[0][0].key]), lambda parts: parts[0][0].key)
    try:
        for going, clip, result in _computed(mine, settings):
            tick(clip.clip_id)
            going.take(clip, result)
    finally:
        for going, _ in asked:
            going.write()
    for (going, group), stored in zip(asked, known, strict=True):
        if group:
            going.finish(group, stored)


Part = tuple[Clip, _Going]
Work = Sequence[Part]
"""The measurements that lack one clip, each with the clip as its set names it."""
Result = Stored | str | UserError


def _computed(work: Sequence[Work], settings: Settings) -> Iterator[tuple[_Going, Clip, Result]]:
    """Every clip with its vector, for each measurement that lacks it, or with the reason why there is none."""
    batches: dict[int, list[tuple[Clip, Loaded]]] = defaultdict(list)
    everyone: dict[int, _Going] = {id(going): going for parts in work for _, going in parts}
    for clip, going, loaded in _loaded(work, settings):
        if not isinstance(loaded, Loaded):
            yield going, clip, loaded
            continue
        batch = batches[id(going)]
        batch.append((clip, loaded))
        # Items of one shape only: clips of networks without a fixed size may differ.
        same = batch[0][1].item.shape == loaded.item.shape
        if len(batch) == settings.batch or not same:
            ready = batch if same else batch[:-1]
            yield from _combined(going, ready)
            batches[id(going)] = batch[len(ready) :]
    for key, batch in batches.items():
        yield from _combined(everyone[key], batch)


def _combined(going: _Going, batch: Sequence[tuple[Clip, Loaded]]) -> Iterator[tuple[_Going, Clip, Result]]:
    if not batch or going.problem is not None:
        return
    try:
        vectors = going.what.combine([loaded.item for _, loaded in batch])
    except UserError as error:
        yield going, batch[0][0], error
        return
    for (clip, loaded), vector in zip(batch, vectors, strict=True):
        values = np.asarray(vector, np.float32)
        problem = _not_a_value(values, going.what.infinite)
        yield going, clip, problem or Stored(values, loaded.facts)


def _not_a_value(values: np.ndarray, infinite: bool) -> str:
    """Why a vector cannot be used; empty where it can."""
    if np.isnan(values).any():
        return "the result is not a finite number: NaN"
    return "" if infinite or np.isfinite(values).all() else "the result is not a finite number: infinite"


def _loaded(work: Sequence[Work], settings: Settings) -> Iterator[tuple[Clip, _Going, Loaded | str | UserError]]:
    """Clips in order, loaded by threads that stay two batches ahead and no more."""
    ahead = 2 * settings.batch + settings.workers
    waiting = iter(work)
    running: deque[Future[list[tuple[Clip, _Going, Loaded | str | UserError]]]] = deque()
    with ThreadPoolExecutor(settings.workers) as pool:
        try:
            while True:
                while len(running) < ahead and (one := next(waiting, None)) is not None:
                    running.append(pool.submit(_load, one))
                if not running:
                    return
                yield from running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _load(parts: Work) -> list[tuple[Clip, _Going, Loaded | str | UserError]]:
    """One decode, and what each measurement makes of it."""
    asking = [(clip, going) for clip, going in parts if going.problem is None]
    pictures = decoded_together([(clip, going.asked.protocol) for clip, going in asking])
    found: list[tuple[Clip, _Going, Loaded | str | UserError]] = []
    for clip, going in asking:
        seen = pictures[going.asked.protocol]
        if not isinstance(seen, tuple):
            found.append((clip, going, _reason(seen)))
            continue
        try:
            item = going.what.load(seen[0], seen[1].fps, clip.video)
            found.append((clip, going, Loaded(item, seen[1])))
        except (DecodeError, UserError, OSError) as error:
            found.append((clip, going, _reason(error)))
    return found


def _reason(error: DecodeError | UserError | OSError) -> str | UserError:
    """Of one clip; a UserError concerns all of them."""
    return error if isinstance(error, UserError) else one_line(error) if isinstance(error, OSError) else str(error)


def _in_order(going: _Going) -> Measured:
    found, repeat_to = going.found, going.asked.wanted if going.asked.protocol.missing == "repeat" else 0
    clips = sorted(found, key=lambda c: (natural_key(c.video.video_id), c.number))
    if clips and len(clips) < repeat_to:
        clips = (clips * -(-repeat_to // len(clips)))[:repeat_to]
    out = Measured([c.clip_id for c in clips], [c.key for c in clips], skipped=going.skipped)
    if clips:
        out.values = np.stack([found[c].values for c in clips])
    out.facts, out.groups, out.videos = [found[c].facts for c in clips], _groups(clips), [c.video for c in clips]
    for stored in found.values():
        size = stored.facts.height_px, stored.facts.width_px
        out.sizes_px[size] = out.sizes_px.get(size, 0) + 1
    return out


def _groups(clips: Sequence[Clip]) -> list[str]:
    """For each clip the name of those it is not independent of: clips of one source video, copies, and copies of
    either.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for clip in clips:
        content, source = root(f"content {clip.video.key}"), root(f"source {clip.video.group or clip.video.key}")
        parent[content] = source
    return [root(f"content {clip.video.key}") for clip in clips]
