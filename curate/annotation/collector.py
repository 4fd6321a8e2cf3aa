"""What the one decode keeps for the annotators: sampled pictures (spilled to a temporary file) and native
measurements.
"""

import tempfile
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clipmill.curate.contract.annotator import Annotator, FrameRequest
from clipmill.curate.errors import AnnotatorError, DecodeError, one_line
from clipmill.curate.settings.decode import FramesConfig
from clipmill.curate.video.picture import encode_jpeg
from clipmill.curate.video.reader import Frame
from clipmill.curate.video.signals import THUMB_SHAPE

_IN_MEMORY_BYTES = 32 << 20


class Spool:
    """Blobs appended to a file that lives in memory while small and on disk beyond 32 MiB, so that memory stays
    bounded.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(folder))  # noqa: SIM115
        self._end = 0

    def append(self, data: bytes | memoryview) -> tuple[int, int]:
        """Returns (offset, size)."""
        self._file.seek(self._end)
        self._file.write(data)
        where = self._end, len(data)
        self._end += len(data)
        return where

    def read(self, offset: int, size: int) -> bytes:
        """The blob at the (offset, size) that `append` returned."""
        self._file.seek(offset)
        return self._file.read(size)

    def close(self) -> None:
        """Frees the memory or deletes the file; nothing can be appended or read any more."""
        self._file.close()


class Thumbs:
    """The RGB thumb uint8 [27, 48, 3] of every frame, for the cut network; `read(start, stop)` -> [n, 27, 48, 3]."""

    def __init__(self, folder: Path) -> None:
        self._spool, self._size = Spool(folder), int(np.prod(THUMB_SHAPE))

    def push(self, rgb: np.ndarray) -> None:
        """rgb: uint8 [27, 48, 3], of the next frame."""
        self._spool.append(rgb.tobytes())

    def read(self, start: int, stop: int) -> np.ndarray:
        """uint8 [stop - start, 27, 48, 3] RGB, read-only: frames [start, stop), counted from the first one pushed."""
        data = self._spool.read(start * self._size, (stop - start) * self._size)
        return np.frombuffer(data, np.uint8).reshape(-1, *THUMB_SHAPE)

    def close(self) -> None:
        """Frees the memory or deletes the file; nothing can be pushed or read any more."""
        self._spool.close()


@dataclass
class Samples:
    """Samples on the grid k / fps of the video's time: the first frame with t >= k / fps is taken.

    problem: why `take` failed, once it did; it is not asked again, and who wants its samples gets an AnnotatorError.
    """

    fps: float
    take: Callable[[Frame], np.ndarray | bytes]
    spool: Spool
    index: list[int] = field(default_factory=list)
    t_s: list[float] = field(default_factory=list)
    where: list[tuple[int, int]] = field(default_factory=list)
    shapes: list[tuple[tuple[int, ...], np.dtype] | None] = field(default_factory=list)
    due_s: float = 0.0
    problem: str | None = None

    def push(self, index: int, t_s: float, frame: Frame) -> None:
        """Offers the next frame, which is taken where a sample is due. index: its number from 0; t_s: seconds from the
        first frame. Raises OSError, of a full disk say, and DecodeError; any other error of `take` becomes `problem`.
        """
        if t_s + 1e-6 < self.due_s or self.problem is not None:
            return
        self.due_s = (int(t_s * self.fps + 1e-6) + 1) / self.fps
        try:
            item = self.take(frame)
        except Exception as error:
            if isinstance(error, OSError | DecodeError):
                raise
            self.problem = f"{type(error).__name__}: {one_line(error)}"
            return
        self.index.append(index)
        self.t_s.append(t_s)
        self.shapes.append(None if isinstance(item, bytes) else (item.shape, item.dtype))
        self.where.append(self.spool.append(item if isinstance(item, bytes) else item.tobytes()))

    def inside(self, start: int, stop: int) -> range:
        """Positions of the samples whose frame index lies in [start, stop). Raises AnnotatorError where sampling
        failed.
        """
        if self.problem is not None:
            raise AnnotatorError(self.problem)
        # Not numpy's search, which would copy the list for every clip.
        return range(bisect_left(self.index, start), bisect_left(self.index, stop))

    def blob(self, position: int) -> bytes:
        """The bytes that `take` returned for the sample at a position of `inside`; of an array its values in C
        order.
        """
        return self.spool.read(*self.where[position])

    def array(self, position: int) -> np.ndarray:
        """The array that `take` returned for the sample at a position of `inside`, read-only; not for a `take` that
        gives bytes.
        """
        shape = self.shapes[position]
        assert shape is not None, "a blob is not an array"
        return np.frombuffer(self.blob(position), shape[1]).reshape(shape[0])


class Collector:
    """All samples of one decode: the union of what the annotators ask for, each distinct request once."""

    def __init__(self, annotators: Sequence[Annotator], frames: FramesConfig | None, folder: Path) -> None:
        self._spool = Spool(folder)
        self._by_request: dict[FrameRequest, Samples] = {}
        self._observed: dict[type[Annotator], Samples] = {}
        self.jpegs: Samples | None = None
        for annotator in annotators:
            self._add(annotator)
        if frames is not None:
            side, quality = frames.short_side_px, frames.jpeg_quality
            self.jpegs = Samples(frames.fps, lambda f: encode_jpeg(f.rgb(side), quality), self._spool)

    def _add(self, annotator: Annotator) -> None:
        request = annotator.frames
        if request is not None and request.fps is not None and request not in self._by_request:
            side = request.short_side_px
            take: Callable[[Frame], np.ndarray] = (lambda f: f.gray(side)) if request.gray else (lambda f: f.rgb(side))
            self._by_request[request] = Samples(request.fps, take, self._spool)
        if annotator.observe_fps > 0:
            observe = annotator.observe
            self._observed[type(annotator)] = Samples(
                annotator.observe_fps, lambda f: np.asarray(observe(f.luma()), np.float32), self._spool
            )

    def push(self, index: int, t_s: float, frame: Frame) -> None:
        """Offers the next frame to every request; see `Samples.push`."""
        for samples in (*self._by_request.values(), *self._observed.values()):
            samples.push(index, t_s, frame)
        if self.jpegs is not None:
            self.jpegs.push(index, t_s, frame)

    def jpeg(self, position: int) -> bytes:
        """The stored picture at a position of `jpegs`."""
        assert self.jpegs is not None
        return self.jpegs.blob(position)

    def frames(self, request: FrameRequest, start: int, stop: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """(t_s float64 [T], T pictures) of a rate request inside frames [start, stop)."""
        samples = self._by_request[request]
        inside = samples.inside(start, stop)
        return np.asarray(samples.t_s[inside.start : inside.stop], np.float64), [samples.array(i) for i in inside]

    def observed(self, annotator: Annotator, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(t_s float64 [S], float32 [S, K]) of what the annotator observed inside frames [start, stop)."""
        samples = self._observed.get(type(annotator))
        if samples is None:
            return np.zeros(0), np.zeros((0, 0), np.float32)
        inside = samples.inside(start, stop)
        rows = [samples.array(i) for i in inside]
        sizes = {row.shape for row in rows}
        if len(sizes) > 1:
            # The picture changed size inside the clip: only the rows of the commonest size can be compared.
            common = max(sorted(sizes), key=lambda s: sum(row.shape == s for row in rows))
            keep = [i for i, row in zip(inside, rows, strict=True) if row.shape == common]
            return np.asarray([samples.t_s[i] for i in keep]), np.stack([samples.array(i) for i in keep])
        return np.asarray(samples.t_s[inside.start : inside.stop], np.float64), (
            np.stack(rows) if rows else np.zeros((0, 0), np.float32)
        )

    def close(self) -> None:
        """Deletes all samples; nothing can be asked for any more."""
        self._spool.close()
