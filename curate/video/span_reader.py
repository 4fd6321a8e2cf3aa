"""Exactly the frames of given spans, in one forward pass over a video, seeking only where that is safe and saves
decoding.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from clipmill.curate.errors import DecodeError
from clipmill.curate.video.reader import Frame, VideoDecoder, open_video

# Containers that store a presentation time for every packet and an index. In the others (AVI, MPEG-TS, raw streams) the
# times of frames decoded after a seek may differ from those of the sequential decode that made the spans.
_SEEKABLE = frozenset({"mov", "mp4", "matroska", "webm"})


class SpanReader:
    """Reads spans [start_pts, end_pts) of one video; a context manager. Spans in increasing order cost one pass.

    keyframe_pts: as stored in `videos`. continuous: whether `videos` counts no discontinuities; no container can seek
    across them. Frames carry the same PTS as in the sequential decode of
    `clipmill.curate.video.reader`.
    """

    def __init__(self, path: Path, keyframe_pts: Sequence[int] | None, continuous: bool = True) -> None:
        self._path, self._continuous = path, continuous
        self._keys = sorted(keyframe_pts) if keyframe_pts is not None else []
        self._stack = ExitStack()
        self._decoder: VideoDecoder | None = None
        self._frames: Iterator[Frame] = iter(())
        self._held: Frame | None = None
        self._passed_pts: int | None = None
        self._seekable = self._distrusted = False
        self.sequential = False

    def __enter__(self) -> "SpanReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the next span opens it again."""
        self._held, self._frames, self._decoder = None, iter(()), None
        self._stack.close()

    def frames(self, start_pts: int, end_pts: int, from_start: bool = False) -> Iterator[Frame]:
        """The frames with start_pts <= pts < end_pts. `from_start`: decode from the first packet, as the spans were
        made, and never seek in this video again.

        Afterwards `sequential` says whether everything since the first packet was decoded. Raises DecodeError where the
        file cannot be opened.
        """
        self._go_to(start_pts, from_start)
        while self._held is not None and self._held.pts < end_pts:
            frame = self._held
            self._held, self._passed_pts = next(self._frames, None), frame.pts
            if frame.pts >= start_pts:
                yield frame

    def problem(self) -> str:
        """What ended or disturbed the decode so far, for an error message; empty where nothing did."""
        if self._decoder is None:
            return ""
        log = self._decoder.log
        return log.error_message or (
            f"{log.n_decode_errors} packets could not be decoded" if log.n_decode_errors else ""
        )

    def _go_to(self, start_pts: int, from_start: bool) -> None:
        self._distrusted = self._distrusted or from_start
        if self._decoder is None or (self._distrusted and not self.sequential):
            self._restart()
        keys = self._keys[: bisect_right(self._keys, start_pts)] if self._seekable and not self._distrusted else []
        if self._is_before(start_pts) and not (keys and self._held is not None and keys[-1] > self._held.pts):
            return
        if not any(self._seek(key) and self._is_before(start_pts) for key in keys[:-3:-1]):
            self._restart()

    def _is_before(self, start_pts: int) -> bool:
        """The wanted frame is still ahead, or would be after the end of a sequential decode, where looking further is
        no use.
        """
        if self._held is not None:
            return self._held.pts <= start_pts
        return self.sequential and (self._passed_pts is None or self._passed_pts < start_pts)

    def _restart(self) -> None:
        self.close()
        self._container, self._stream = self._stack.enter_context(open_video(self._path))
        self._seekable = self._continuous and bool(_SEEKABLE & set(self._container.format.name.split(",")))
        self._decode_on()
        self.sequential = True

    def _seek(self, key_pts: int) -> bool:
        self.sequential = False
        try:
            self._container.seek(key_pts, stream=self._stream, backward=True, any_frame=False)
            self._decode_on()
        except (DecodeError, OSError):
            return False
        return True

    def _decode_on(self) -> None:
        self._decoder = VideoDecoder(self._container, self._stream)
        self._frames = iter(self._decoder)
        self._held, self._passed_pts = next(self._frames, None), None
