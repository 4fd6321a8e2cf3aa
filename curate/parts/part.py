"""Which part of the videos a process makes."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from clipmill.curate.errors import UserError

SLURM = "slurm"
_TEXT = re.compile(r"(\d{1,7})/(\d{1,7})")
_VARIABLES = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")


@dataclass(frozen=True)
class Part:
    """One of `of` parts; index counts from 0."""

    index: int
    of: int

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.index}/{self.of}"

    @property
    def name(self) -> str:
        """As in names of files."""
        return f"{self.index}-of-{self.of}"

    def holds(self, address: str) -> bool:
        """Whether a source is of this part. address: its path relative to the folder that was given. It depends on the
        address alone: whatever else comes or goes, a source stays in its part.
        """
        digest = hashlib.sha256(address.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.index


def part_of(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """`3/8`, or `slurm`: what Slurm says of the array that this process is in. Raises UserError for anything else."""
    if text == SLURM:
        return _of_slurm(environment)
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise UserError(f"--part takes i/n, such as 0/8, or the word {SLURM}; got {text!r}")
    part = Part(int(found[1]), int(found[2]))
    if not part.index < part.of:
        last = f"0/{part.of} to {part.of - 1}/{part.of}" if part.of else "0/1"
        raise UserError(f"there is no part {text}: parts are counted from 0, here {last}")
    return part


def _of_slurm(environment: Mapping[str, str]) -> Part:
    try:
        number, first, count = (int(environment[name]) for name in _VARIABLES)
    except (KeyError, ValueError):
        raise UserError(
            f"--part {SLURM} asks for a Slurm array ({_VARIABLES[0]} is not set): `sbatch --array=0-7 ...`, or give"
            " --part i/n"
        ) from None
    if not 0 <= number - first < count:
        raise UserError(
            f"--part {SLURM} counts an array without gaps; task {number} of {count} from {first} has some: give"
            f" --part {number}/n"
        )
    return Part(number - first, count)
