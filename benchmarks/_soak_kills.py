"""Kills at random moments, by command."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import _soak
import numpy as np
from _soak import Moment, Row
from _soak_cases import Case, Known, Place, cases, elsewhere, ended, fresh, next_try, prepare, take_scores, undisturbed

EARLY = 0.15  # of the kills, these come at any moment before the first file; the others at any moment after it
LONGEST = 8
NAMES = ("run", "annotate", "filter", "export", "train", "sample", "evaluate")


@dataclass(frozen=True)
class Killed:
    """A command under way. known: what it makes in peace."""

    made: Case
    place: Place
    known: Known
    row: Row
    rng: np.random.Generator


def kills(work, n, seed, out_of_time, lanes):
    """A row for each command: n kills in all, in chains of one to eight, a chain of each command in turn; half of the
    kills are of the whole group of processes, half of the first process alone. lanes: commands at once.
    """
    place, each = prepare(work), -(-n // len(NAMES))
    with ThreadPoolExecutor(lanes) as pool:
        all_killed = list(pool.map(lambda k: _begin(place, k, each, seed), range(len(NAMES))))
        while not out_of_time() and any(killed.row.done < each for killed in all_killed):
            list(pool.map(lambda killed: out_of_time() or _next_chain(killed), all_killed))
    return [killed.row for killed in all_killed]


def _begin(place, number, wanted, seed):
    name = NAMES[number]
    here = elsewhere(place, name)
    made = cases(here)[name]
    row = Row(f"killed: {name}", wanted=wanted)
    return Killed(made, here, undisturbed(made, here), row, np.random.default_rng([seed, number]))


def _next_chain(killed):
    left = killed.row.wanted - killed.row.done
    if left > 0:
        length = min(int(killed.rng.integers(1, LONGEST + 1)), left)
        chain = [_kill(killed.rng, killed.known, k) for k in range(length)]
        fresh(killed.place, killed.made.needs)
        _chain(killed.made, killed.place, killed.row, chain, killed.known)


def _kill(rng, known, earlier):
    """(when, how). The more of the work earlier kills have left done, the sooner the command would end by itself."""
    early, share, alone = rng.uniform(), rng.uniform(0.0, 0.97), rng.uniform() < 0.5
    how = _soak.kill_alone if alone else _soak.kill_group
    if early < EARLY:
        return Moment(share * known.began_s), how
    return Moment(known.began_s + share * (known.cpu_s - known.began_s) * 0.8**earlier), how


def _chain(made, place, row, chain, known):
    """Kill the command at these moments, repeat it at once, and compare. One that ends before its moment is the last of
    its chain.
    """
    killed, problem, groups, moments = 0, "", [], []
    for moment, how in [*chain, (None, _soak.kill_group)]:
        problem += take_scores(made, place, known.bytes)
        done, again = next_try(made, place, row, moment, how)
        problem += again
        groups.append(done.group)
        if done.code is not None:
            break
        killed += 1
        moments.append(f"{moment}{' (first process alone)' if how is _soak.kill_alone else ''}")
    row.judge(
        f"{made.name} killed {', then '.join(moments) or 'never'}", problem + ended(place, done, groups, known), killed
    )
