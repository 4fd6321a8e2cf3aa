"""A network that learns of another one."""

import math
from dataclasses import dataclass
from typing import Literal

# The name of the number that a student of several weights of guidance is told, among `conditioning.micro.columns`.
TOLD = "guidance"


@dataclass(frozen=True)
class DistilConfig:
    """For `objective=distil`: what a network learns of another one in place of the data.

    teacher: a checkpoint of the same system, with whose weights the student begins. stage: steps, one step of the
    student is two of the teacher's (Salimans and Ho 2022, 2202.00512, algorithm 2); guidance, one call of the student
    is both branches of the teacher's guidance (Meng et al. 2023, 2210.03142, section 3.1). steps: that the student
    samples with, of two of the teacher's each; none for half of those that the teacher samples with. guidance: weights
    of the teacher's; none for its own, one, or the least and the largest, between which it is drawn for each sample and
    told to the student: that samples with any `sample.guidance` between them.
    """

    teacher: str | None = None
    stage: Literal["steps", "guidance"] = "steps"
    steps: int | None = None
    guidance: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        if self.steps is not None and self.steps < 1:
            raise ValueError("steps is at least 1, or none")
        if not all(map(math.isfinite, self.guidance)) or list(self.guidance) != sorted(self.guidance)[:2]:
            raise ValueError("guidance is one weight, or the least and the largest, or none")
