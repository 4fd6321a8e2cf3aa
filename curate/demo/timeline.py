"""When each frame of a demo video is shown, and which shots are on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from clipmill.curate.demo.plan import Format, VideoPlan

VFR_TICKS = (20, 20, 20, 20, 40, 20, 60)  # of 1/600 s: 30 frames per second with dropped frames, as phones record


@dataclass(frozen=True)
class Span:
    """Frames [start, end) of a shot alone (kind "shot") or of the transition into it (hard: empty; dissolve, fade)."""

    shot: int
    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Timeline:
    """ticks: int64 [N + 1], when each frame appears and, last, when the video ends, in `time_base` seconds."""

    time_base: Fraction
    ticks: np.ndarray
    spans: tuple[Span, ...]

    @property
    def n_frames(self) -> int:
        """Frames of the video, N; `ticks` has one number more."""
        return len(self.ticks) - 1

    def seconds(self, frame: int) -> float:
        """Start of a frame; of the frame after the last, the video's end. Frames beyond either end are clamped."""
        return float(int(self.ticks[min(max(frame, 0), self.n_frames)]) * self.time_base)

    def per_frame(self) -> Iterator[tuple[int, Span]]:
        """(frame, span it lies in), in order."""
        for span in self.spans:
            for frame in range(span.start, span.end):
                yield frame, span


def _ticks(fmt: Format, duration_s: float) -> tuple[Fraction, np.ndarray]:
    if not fmt.variable_rate:
        return 1 / fmt.rate, np.arange(round(duration_s * fmt.rate) + 1)
    step = np.resize(VFR_TICKS, int(duration_s * 30))
    ticks = np.concatenate([[0], np.cumsum(step)])
    return Fraction(1, 600), ticks[ticks <= duration_s * 600]


def make_timeline(video: VideoPlan) -> Timeline:
    """Lay the shots one after another and round their boundaries to the frames the format has."""
    edges = np.cumsum([x for shot in video.shots for x in (shot.entry_s, shot.clean_s)])
    time_base, ticks = _ticks(video.format, float(edges[-1]))
    frames = np.searchsorted(ticks[:-1], edges / float(time_base) - 1e-6)
    frames[-1] = len(ticks) - 1
    spans: list[Span] = []
    start = 0
    for i, shot in enumerate(video.shots):
        clean, end = int(frames[2 * i]), int(frames[2 * i + 1])
        if shot.entry is not None:
            spans.append(Span(i, shot.entry, start, clean))
        spans.append(Span(i, "shot", clean, end))
        start = end
    return Timeline(time_base, ticks, tuple(spans))
