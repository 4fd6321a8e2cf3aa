"""Pictures that came out of a decoder without an error, and may be wrong all the same.

libav marks damage on a frame for H.264 and its relatives (MPEG-1, -2 and -4, H.263). Of most other damage it says a
line at level ERROR of its log, and shows the picture: a checksum of FFV1 that is wrong, a JPEG that ends too early, a
picture that another one is made from and that is not there. Files that are whole say nothing there.
"""

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush

import av
from av.packet import Packet
from av.video.frame import VideoFrame

# Their decoders check nothing: bytes changed at will give other pictures, and not a word.
TELL_NOTHING = frozenset({"vp8", "vp9"})
# Leaves out a picture that it cannot make sense of, without an error.
_LEAVES_OUT = frozenset({"hevc"})
# Complaints about what stands beside the pictures. Where a picture suffers, too, the last word is about that.
_BESIDE = re.compile(r"\b(SEI|VPS|SPS|VUI|HRD|APP|ICC|Exif|captions?|timecode|aspect ratio)\b", re.IGNORECASE)
_AHEAD = 3  # the mark of a gap stands up to two packets before it
_ANY_TIME = -(1 << 62)


class Doubts:
    """What is known of packets until their frames come out, in the order of display.

    codec: libav's name. times_lie: the packets' times are no times of frames (AVI).
    """

    def __init__(self, codec: str, times_lie: bool) -> None:
        self._waits = codec in _LEAVES_OUT and not times_lie
        self._doubted: list[int] = []
        self._waiting: list[int] = []
        self._began = False

    def decode(self, packet: Packet, broken: bool) -> list[VideoFrame]:
        """The packet's frames. broken: see `with_breaks`. Raises what PyAV raises; such a packet is lost, not in
        doubt.
        """
        before, _ = av.logging.get_last_error()
        with _counting():
            frames = packet.decode()
        said, last = av.logging.get_last_error()
        pts = _ANY_TIME if packet.pts is None else packet.pts
        if broken or (said > before and last is not None and not _BESIDE.search(last[2])):
            heappush(self._doubted, pts)
        if self._waits and packet.size and packet.pts is not None and not packet.is_discard:
            heappush(self._waiting, pts)
        return frames

    def doubted(self, pts: int) -> bool:
        """Whether the frame that comes out now is of a doubtful packet, or the first one after it."""
        return bool(_up_to(self._doubted, pts))

    def left_out(self, pts: int | None) -> list[int]:
        """Times of packets that gave no frame, before the one at `pts` that comes out now; None: at the end. Those
        before the first frame need what stands before the file's start.
        """
        gone = [p for p in _up_to(self._waiting, pts) if p != pts]
        began, self._began = self._began, True
        return gone if began else []


def with_breaks(packets: Iterator[Packet]) -> Iterator[tuple[Packet, bool]]:
    """Each packet, and whether the container marks it, because something is missing there or right behind it.

    Recordings joined byte by byte are marked before the joint, too. There one of the next packets is a key frame.
    """
    ahead = deque[Packet]()
    error: Exception | None = None
    while True:
        packet = ahead.popleft() if ahead else None
        if packet is None and error is not None:
            raise error
        if packet is None:
            packet = next(packets, None)
        if packet is None:
            return
        while packet.is_corrupt and error is None and len(ahead) < _AHEAD:
            try:
                ahead.append(next(packets))
            except StopIteration:
                break
            except (av.error.FFmpegError, OSError) as raised:
                error = raised
        following = [p for p in ahead if p.size]
        yield packet, packet.is_corrupt and len(following) == _AHEAD and not any(p.is_keyframe for p in following)


def _up_to(heap: list[int], pts: int | None) -> list[int]:
    found = []
    while heap and (pts is None or heap[0] <= pts):
        found.append(heappop(heap))
    return found


@contextmanager
def _counting() -> Iterator[None]:
    """PyAV counts what libav says at level ERROR, of the whole process, and passes nothing on. Left on, a thread of
    libav that says something could wait for Python for ever.
    """
    if av.logging.get_level() is not None:  # somebody listens
        yield
        return
    av.logging.set_level(av.logging.PANIC)
    try:
        yield
    finally:
        av.logging.set_level(None)
