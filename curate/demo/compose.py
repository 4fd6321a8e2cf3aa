"""The picture of every frame: one shot, or two mixed in a transition."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from clipmill.curate.demo.shot import Shot
from clipmill.curate.demo.timeline import Span, Timeline


def weights(kind: str, position: float) -> tuple[float, float]:
    """How much of the old and of the new shot is seen inside a transition; `position` runs from 0 to 1, exclusive."""
    if kind == "dissolve":
        return 1 - position, position
    # a fade goes through black: for a tenth of the time nothing is seen
    return max(0.0, 1 - position / 0.45), max(0.0, (position - 0.55) / 0.45)


def _clean_starts(timeline: Timeline) -> dict[int, float]:
    return {s.shot: timeline.seconds(s.start) for s in timeline.spans if s.kind == "shot"}


def _mixed(timeline: Timeline, shots: Sequence[Shot], span: Span, frame: int, starts: dict[int, float]) -> np.ndarray:
    t = timeline.seconds(frame)
    old, new = (shots[i].frame(t - starts[i], frame) for i in (span.shot - 1, span.shot))
    a, b = weights(span.kind, (frame - span.start + 1) / (span.end - span.start + 1))
    return cv2.addWeighted(old, a, new, b, 0)


def frames(timeline: Timeline, shots: Sequence[Shot]) -> Iterator[tuple[int, np.ndarray, float]]:
    """(frame number, uint8 [H, W, 3] RGB, pitch of its shot's tone in Hz), in order."""
    starts = _clean_starts(timeline)
    for frame, span in timeline.per_frame():
        pitch_hz = 220 * 2 ** (span.shot * 5 % 12 / 12)
        if span.kind == "shot":
            yield frame, shots[span.shot].frame(timeline.seconds(frame) - starts[span.shot], frame), pitch_hz
        else:
            yield frame, _mixed(timeline, shots, span, frame, starts), pitch_hz
