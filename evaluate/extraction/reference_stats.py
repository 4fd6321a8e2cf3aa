"""Reference statistics: the features of a set with everything that made them, in one .npz that needs no videos."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.common.files import beside, parse_json
from clipmill.curate.errors import UserError, one_line
from clipmill.evaluate.extraction.clips import ClipFacts, place
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.evaluate.sets.arrays import BROKEN_ARRAYS, check_unpacked

_NAMES = ("clipmill_stats", "facts", "clip_ids", "keys", "features", "mean", "cov")
VERSION = 1


def save(path: Path, measured: Measured, facts: dict[str, Any]) -> None:
    """Features float32 [N, D], their mean [D] and covariance [D, D] (float64, ddof 1), the clips' names and keys, and
    `facts`.
    """
    rows = measured.values.reshape(-1, measured.values.shape[-1]).astype(np.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            clipmill_stats=VERSION,
            facts=json.dumps(facts, sort_keys=True),
            clip_ids=np.array(measured.clip_ids),
            keys=np.array(measured.keys),
            features=measured.values,
            mean=rows.mean(0),
            groups=np.array(measured.groups),
            clip_facts=json.dumps([asdict(facts) for facts in measured.facts]),
            cov=np.atleast_2d(np.cov(rows, rowvar=False)) if len(rows) > 1 else np.zeros((rows.shape[1],) * 2),
        )


def is_stats(spec: object) -> bool:
    """Whether `spec` is a file of statistics (and not an array of videos)."""
    path = Path(str(spec)) if isinstance(spec, str | Path) else None
    if path is None or path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as data:
            return "clipmill_stats" in data.files
    except BROKEN_ARRAYS:
        return False


def load(path: Path) -> tuple[Measured, dict[str, Any]]:
    """What `save` wrote. Raises UserError where the file is damaged or of a later version."""
    try:
        check_unpacked(path)
        with np.load(path, allow_pickle=False) as data:
            if int(data["clipmill_stats"]) > VERSION:
                raise UserError(f"{path} was written by a later version of clipmill")
            measured = Measured([str(i) for i in data["clip_ids"]], [str(k) for k in data["keys"]], data["features"])
            measured.groups = [key.rpartition("#")[0] for key in measured.keys]
            if "groups" in data.files:  # not in files of an earlier version
                measured.groups = [str(group) for group in data["groups"]]
                measured.facts = [ClipFacts(**facts) for facts in parse_json(str(data["clip_facts"]))]
            return measured, parse_json(str(data["facts"]))
    except BROKEN_ARRAYS as error:
        raise UserError(f"{path} is no readable file of statistics: {one_line(error)}") from error


def taken(measured: Measured, protocol: Protocol, asked: int) -> Measured:
    """Of the stored clips those that the protocol takes: `asked` (0: all), chosen and repeated as from the videos."""
    n = len(measured.clip_ids)
    order = list(range(n))
    if asked and asked < n:
        # The n-th clip of a video comes after the others' earlier ones, as in `candidates`.
        numbers = [int(key.rpartition("#")[2]) for key in measured.keys]
        places = [place(protocol, key.rpartition("#")[0]) for key in measured.keys]
        by_choice = sorted(order, key=lambda i: (numbers[i], i if protocol.choose == "first" else places[i]))
        order = sorted(by_choice[:asked])
    elif asked > n > 0 and protocol.missing == "repeat":
        order = (order * -(-asked // n))[:asked]
    if order == list(range(n)):
        return measured
    return Measured(
        [measured.clip_ids[i] for i in order],
        [measured.keys[i] for i in order],
        measured.values[order],
        skipped=measured.skipped,
        facts=[measured.facts[i] for i in order] if measured.facts else [],
        groups=[measured.groups[i] for i in order] if measured.groups else [],
    )


def check_same(path: Path, stored: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises UserError, naming the fields, where the statistics were made in another way than the other set would
    be.
    """
    differing = [
        f"{k} ({stored.get(k)} there, {asked.get(k)} asked)"
        for k in sorted({*stored, *asked})
        if stored.get(k) != asked.get(k)
    ]
    if differing:
        raise UserError(f"{path} was made in another way: {'; '.join(differing)}{_mend(stored, asked)}")


def _mend(stored: dict[str, Any], asked: dict[str, Any]) -> str:
    """The options that give what is stored; none where another network file, decoder or version made it, which no
    option changes.
    """
    settings = {f.name for f in fields(Protocol)}
    differing = [k for k in sorted({*stored, *asked}) if stored.get(k) != asked.get(k)]
    by_options = settings | ({"network"} if stored.get("features") != asked.get("features") else set())
    if not set(differing) <= by_options or not set(differing) <= set(stored):
        return ""
    options = [f"--set {k}={_as_typed(stored[k])}" for k in differing if k in settings and k != "features"]
    options = [f"--features {stored['features']}", *options] if "features" in differing else options
    return f"; to do it as there: {' '.join(options)}"


def _as_typed(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)
