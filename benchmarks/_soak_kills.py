"""Kills at random moments, by command."""

from concurrent.futures import ThreadPoolExecutor

import _soak
import numpy as np
from _soak import Moment, Row
from _soak_cases import cases, elsewhere, ended, fresh, next_try, prepare, take_scores, undisturbed

EARLY = 0.15  # of the kills, these come at any moment before the first file; the others at any moment after it
LONGEST = 8
NAMES = ("run", "annotate", "filter", "export", "train", "sample", "evaluate")


def kills(work, n, seed, out_of_time, lanes):
    """A row for each command: n kills in all, in chains of one to eight, half of them of the whole group of processes,
    half of the first process alone. lanes: commands at once.
    """
    place = prepare(work)
    each = -(-n // len(NAMES))
    with ThreadPoolExecutor(lanes) as pool:
        jobs = [
            pool.submit(_killed, name, elsewhere(place, name), each, np.random.default_rng([seed, k]), out_of_time)
            for k, name in enumerate(NAMES)
        ]
        return [job.result() for job in jobs]


def _killed(name, place, wanted, rng, out_of_time):
    row = Row(f"killed: {name}", wanted=wanted)
    if out_of_time():
        return row
    made = cases(place)[name]
    known = undisturbed(made, place)
    while row.done < wanted and not out_of_time():
        length = min(int(rng.integers(1, LONGEST + 1)), wanted - row.done)
        chain = [_kill(rng, known, k) for k in range(length)]
        fresh(place, made.needs)
        _chain(made, place, row, chain, known)
    return row


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
