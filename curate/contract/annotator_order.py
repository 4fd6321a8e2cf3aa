"""In which order annotators run: each after those whose columns it reads."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from clipmill.curate.contract.annotator import Annotator
from clipmill.curate.errors import UserError


def in_order(asked: Iterable[str], annotator: Callable[[str], Annotator]) -> tuple[str, ...]:
    """The annotators asked for and those they cannot do without (`after`), as near to the order asked for as their
    needs allow.

    Raises UserError where two wait for each other.
    """
    active = _with_needed(list(dict.fromkeys(asked)), annotator)
    ordered: list[str] = []
    waiting: list[str] = []

    def place(name: str) -> None:
        if name in ordered:
            return
        if name in waiting:
            raise UserError(f"the annotators {' and '.join(waiting[waiting.index(name) :])} wait for each other")
        waiting.append(name)
        for other in inputs_of(name, annotator(name), active):
            place(other)
        waiting.pop()
        ordered.append(name)

    for name in active:
        place(name)
    return tuple(ordered)


def inputs_of(name: str, annotator: Annotator, active: Iterable[str]) -> tuple[str, ...]:
    """The active annotators whose columns this one reads."""
    wanted = (*annotator.after, *annotator.uses)
    return tuple(other for other in active if other != name and any(fnmatchcase(other, pattern) for pattern in wanted))


def _with_needed(asked: list[str], annotator: Callable[[str], Annotator]) -> list[str]:
    found = list(asked)
    for name in found:  # grows while it is walked
        found.extend(other for other in annotator(name).after if other not in found)
    return found
