"""The order of tests for a few processes, each of which begins with a part of them and takes from the others' ends."""

from collections.abc import Sequence
from itertools import groupby

import pytest


def in_two_halves(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Both halves begin with the modules that have slow tests or work on a run and end with quick ones, so that no
    process waits long for another's last test. Those that need the demo run, which is made once, come early in the
    first half and late among the slow ones of the second. A module stays whole: it may have fixtures of its own.
    """
    modules = [list(group) for _, group in groupby(items, lambda item: item.path)]
    slow = [module for module in modules if any(map(_is_slow, module))]
    quick = [module for module in modules if module not in slow]
    slow.sort(key=lambda module: not any(_needs(item, "demo_videos") for item in module))
    halves = [slow[::2], slow[1::2][::-1]]
    for module in sorted(quick, key=len, reverse=True):
        min(halves, key=lambda half: sum(map(len, half))).append(module)
    return [item for half in halves for module in half for item in module]


def _is_slow(item: pytest.Item) -> bool:
    return bool(item.get_closest_marker("slow")) or _needs(item, "tiny_run")


def _needs(item: pytest.Item, fixture: str) -> bool:
    return fixture in getattr(item, "fixturenames", ())
