"""Errors a person can act on."""

import difflib
import errno
from collections.abc import Collection

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """A mistake or a circumstance the user can mend: shown as one line on stderr, exit code 2, never a traceback."""


class Damaged(UserError):
    """A table that an earlier command wrote and that cannot be read: who can make it again does, and says so."""


class DecodeError(Exception):
    """A video that cannot be read or stops being readable; becomes the row's `error_message`, never ends a run."""


class AnnotatorError(Exception):
    """A score that cannot be computed for a clip; becomes that clip's `status = error` in that annotator's table."""


def is_full_disk(error: BaseException) -> bool:
    """Whether there is no room left, on the disk or in the user's share of it."""
    return getattr(error, "errno", None) in _FULL_DISK


def full_disk(place: object = None) -> UserError:
    """What a person is told then. place: what could not be written, where that is known."""
    of = "" if place is None else f" of {place}"
    return UserError(f"the disk{of} is full; free some space and run the same command again to go on")


def closest(word: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` or, where nothing is near, the list of what there is."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(sorted(known))}"


def one_line(error: BaseException, most: int | None = None) -> str:
    """The reason of an error without paths, code numbers and line breaks; of its characters the first `most`."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:most]


def first_line(error: BaseException, most: int | None = None) -> str:
    """`one_line` of an error whose further lines are advice to programmers."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())[:most]
