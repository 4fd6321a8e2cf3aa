"""Constant frame rate from a source timeline of any kind, in exact arithmetic."""

from fractions import Fraction

_COMMON_RATES = tuple(Fraction(n, 1001) for n in (24000, 30000, 48000, 60000, 120000)) + tuple(
    Fraction(n) for n in range(1, 241)
)
_SNAP = 0.0015  # relative; 23.976 and 24 lie 0.001 apart and the nearest wins
_EARLY = Fraction(3, 8)


def rational_rate(fps: float) -> Fraction:
    """The nearest common rate (integers, and the /1001 rates of television) within 0.15 %, else the rate to 1/1000."""
    nearest = min(_COMMON_RATES, key=lambda rate: abs(float(rate) - fps))
    if abs(float(nearest) / fps - 1) <= _SNAP:
        return nearest
    return Fraction(fps).limit_denominator(1000)


def promised_frames(start_pts: int, end_pts: int, time_base: Fraction, rate: Fraction) -> int:
    """Frames of a span at a constant rate: floor(duration * rate), at least 1.

    Both ends are rounded to the time base, so one tick (at most 1/16 frame) is added before rounding down: 24 frames in
    1.000 s of a container that counts milliseconds stay 24.
    """
    slack = min(rate * time_base, Fraction(1, 16))
    return max(1, int((end_pts - start_pts) * time_base * rate + slack))


class FrameClock:
    """Which source frame each output frame shows.

    Output frame k shows the source frame on screen at start + k / rate. A source frame may count up to 3/8 of its
    distance to the previous one early (and at most 3/8 of an output frame): real timestamps jitter and containers round
    them, and without that tolerance equal rates would show one frame twice and drop the next. 3/8 rather than 1/2,
    because 60 -> 24 and 30 -> 20 put every other output frame exactly on a half.
    """

    def __init__(self, start_pts: int, end_pts: int, time_base: Fraction, rate: Fraction) -> None:
        self.n_frames = promised_frames(start_pts, end_pts, time_base, rate)
        self._start_pts = start_pts
        self._period = 1 / (rate * time_base)
        self._next = 0

    def repeats(self, pts: int, next_pts: int | None) -> int:
        """How many output frames show the source frame at `pts`, given the one after it (None: it is the last). Call in
        order.
        """
        if next_pts is None:
            due = self.n_frames
        else:
            switch = next_pts - _EARLY * min(Fraction(next_pts - pts), self._period) - self._start_pts
            due = min(self.n_frames, -(-switch // self._period))
        count = max(0, int(due) - self._next)
        self._next += count
        return count
