"""A shot boundary."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, order=True)
class Transition:
    """One shot boundary, in frame indices.

    frame: first frame of the new shot (hard) or the middle of the transition (gradual). start: first frame of the
    transition. end: first clean frame of the new shot, exclusive end of the transition; hard: start == end == frame.
    score: 0 to 1, comparable within one detector. detector: which part of the detector found it.
    """

    frame: int
    start: int
    end: int
    kind: Literal["hard", "gradual"]
    score: float
    detector: str
