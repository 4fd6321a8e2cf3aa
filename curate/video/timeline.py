"""One line of time where a file's time stamps start anew: recordings joined byte by byte, and broadcasts."""

from collections.abc import Iterator

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from clipmill.curate.engines.signs import got_on

# Less is jitter. As the ffmpeg program: 0.1 s back, 10 s ahead.
_BACK_S = 0.1
_AHEAD_S = 10.0
# From decoding to showing: sixteen frames are the most that a codec reorders.
_MOST_DELAY_S = 1.0
_MOST_DELAY_FRAMES = 32
# A slide that stands for a minute among slides is no jump.
_STEPS_AHEAD = 100
# Containers of broadcasts and live streams. In all others a frame may well stay on the screen for hours.
_BROADCAST = frozenset({"mpegts", "mpegtsraw", "mpeg", "flv", "live_flv", "kux", "ogg", "ty", "pva", "wtv", "dhav"})


class Timeline:
    """Adds a running offset to the time stamps of packets, given in the order of the file: a packet whose decoding time
    falls back, or in a broadcast leaps ahead, follows the one before it by that one's duration. Time stamps without
    jumps stay as they are.

    n_jumps: how many there were so far.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        unit_s = float(stream.time_base or 0) or 1.0
        self.n_jumps = 0
        self._back, self._ahead = _BACK_S / unit_s, _AHEAD_S / unit_s
        self._broadcast = bool(_BROADCAST & set(container.format.name.split(",")))
        self._offset, self._step = 0, 0
        self._last: int | None = None
        self._delay, self._key_delay = _MOST_DELAY_S / unit_s, None  # type: float, int | None
        self._top = -(1 << 62)  # the latest pts so far, on the line

    def place(self, packet: Packet) -> Packet:
        """The same packet with its times on the line."""
        if self._broadcast and packet.dts is not None and packet.pts is not None:
            packet.pts = self._plausible(packet, packet.dts, packet.pts)
        if packet.dts is not None and self._jumps(packet.dts, packet.duration or 0):
            self.n_jumps += 1
            if packet.pts is not None:  # the delay of decoding may be another one behind the jump
                self._offset = max(self._offset, self._top + max(self._step, 1) - packet.pts)
        if self._offset:
            packet.pts = None if packet.pts is None else packet.pts + self._offset
            packet.dts = None if packet.dts is None else packet.dts + self._offset
        if packet.pts is not None:
            self._top = max(self._top, packet.pts)
        return packet

    def _plausible(self, packet: Packet, dts: int, pts: int) -> int | None:
        """The time to show the packet at. Beside a jump libav gives some packets the time of the other side: a key
        frame is then as late as the one before, of others the time is not known.
        """
        if abs(pts - dts) <= max(self._delay, _MOST_DELAY_FRAMES * self._step):
            self._key_delay = pts - dts if packet.is_keyframe else self._key_delay
            return pts
        return dts + self._key_delay if packet.is_keyframe and self._key_delay is not None else None

    def _jumps(self, dts: int, duration: int) -> bool:
        step = 0 if self._last is None else dts - self._last
        usual = max(self._step, 1)
        jumps = step < -self._back or (self._broadcast and step > max(self._ahead, _STEPS_AHEAD * usual))
        if jumps:
            self._offset += usual - step
        elif step > 0:
            self._step = step
        self._step = duration or self._step
        self._last = dts
        return jumps


def placed(container: InputContainer, stream: VideoStream, timeline: Timeline | None = None) -> Iterator[Packet]:
    """The packets of a stream from here on, in the order of the file, on one line of time."""
    line = timeline or Timeline(container, stream)
    for packet in container.demux(stream):
        got_on()
        yield line.place(packet)
