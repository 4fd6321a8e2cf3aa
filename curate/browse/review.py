"""How right the filters are, by a person's word: precision and recall on a random sample, with intervals.

The sample is the first clips in the order of a hash of their ids, so that it is random, the same for everybody, and the
first hundred of a larger one. Only decided clips of it count: a person who also decides what lies near a threshold, or
what looks bad, makes no estimate worse. A clip is bad where the person drops it.
"""

from collections.abc import Sequence
from typing import Any

from clipmill.curate.browse.clips import Clips
from clipmill.curate.browse.rules import HAND
from clipmill.curate.browse.view import Asked
from clipmill.curate.policy.decisions import FAIL

_Z = 1.959964  # of the 95 % interval


def estimate(clips: Clips, asked: Asked) -> dict[str, Any]:
    """Of the view's sample: how many are drawn and decided, and per filter and for the whole policy (None), under the
    view's thresholds: precision (of what it drops, the share that the person drops), recall (of what the person drops,
    the share that it drops), each [share, low, high] by Wilson's interval, or None where there is nothing to divide by.
    """
    view = clips.view(asked)
    filters = view.rules.filters
    drops = [f"_c{i} = {FAIL}" for i in range(len(filters))]
    drops.append(" OR ".join(drops) or "false")
    sums = ["count(*) AS drawn", f"count(*) FILTER ({HAND} IN ('keep', 'drop')) AS decided"]
    for i, test in enumerate(drops):
        sums += [f"count(*) FILTER (({test}) AND {HAND} = '{word}') AS {word}{i}" for word in ("keep", "drop")]
    sums.append(f"count(*) FILTER ({HAND} = 'drop') AS bad")
    others = {part.group for part in view.parts} - {"sample"}
    sql, values = view.filtered(", ".join(sums), others)
    row = clips.ask(sql, values).to_pylist()[0]
    names: Sequence[str | None] = [*(f.column for f in filters), None]
    rows = [
        {
            "filter": name,
            "dropped": row[f"drop{i}"] + row[f"keep{i}"],
            "precision": wilson(row[f"drop{i}"], row[f"drop{i}"] + row[f"keep{i}"]),
            "recall": wilson(row[f"drop{i}"], row["bad"]),
        }
        for i, name in enumerate(names)
    ]
    return {"drawn": row["drawn"], "decided": row["decided"], "bad": row["bad"], "filters": rows}


def wilson(hits: int, n: int) -> tuple[float, float, float] | None:
    """(share, low, high) of hits among n draws: the score interval at 95 % (Wilson, JASA 22, 1927); None for n = 0."""
    if not n:
        return None
    share, square = hits / n, _Z**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z / (1 + square / n) * (share * (1 - share) / n + square / (4 * n**2)) ** 0.5
    return share, max(0.0, middle - half), min(1.0, middle + half)
