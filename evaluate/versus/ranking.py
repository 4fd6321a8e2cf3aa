"""Many tests at once: the correction of their p-values, and which sets cannot be told apart."""

from collections.abc import Mapping, Sequence
from itertools import combinations

ALPHA = 0.05


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the same order: the chance that any of the tests is below by chance alone is at most the
    level (Holm 1979, Scandinavian Journal of Statistics 6).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found, highest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[i]))
        found[i] = highest
    return found


def letters(names: Sequence[str], apart: Mapping[frozenset[str], bool]) -> dict[str, str]:
    """A letter for each largest group of sets of which no two can be told apart, given to its members; the first set's
    come first. apart: of each two of them, whether they can.
    """
    alike = [
        set(group)
        for size in range(len(names), 0, -1)
        for group in combinations(names, size)
        if not any(apart[frozenset(pair)] for pair in combinations(group, 2))
    ]
    largest = [group for k, group in enumerate(alike) if not any(group < other for other in alike[:k])]
    largest.sort(key=lambda group: sorted(names.index(name) for name in group))
    return {name: "".join(_letter(k) for k, group in enumerate(largest) if name in group) for name in names}


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else f"({place + 1})"
