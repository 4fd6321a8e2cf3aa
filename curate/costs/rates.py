"""How much one clip takes: as measured here, as a run measured it, or as given."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clipmill.curate.common.settings import parse_override
from clipmill.curate.errors import UserError, closest
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_run_json

# Of the default preset on the project's real videos: 0.79 CPU s a clip, parted by the stages as docs/measured.md has
# them under "Speed of curation".
_CPU_S = {
    "decode": 0.184, "small pictures": 0.031, "curves": 0.011, "samples": 0.039, "cuts": 0.422, "frames": 0.005,
    "motion": 0.026, "quality": 0.001, "text": 0.071,
}  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """clip_s: mean length of a clip, s. kept: share of the clips that is exported, 0 to 1. cpu_s, gpu_s: seconds per
    clip of each stage. export_cpu_s: per kept clip. table_bytes, shard_bytes: per clip, per kept clip. shard_mb: of one
    tar. join_cpu_s: joining, deciding and the report, per clip. pair_ns: comparing the hashes of two clips of about one
    length; in_reach: share of all clips that is of about the length of one, 0 to 1. cpu_hour, gpu_hour: price of a core
    and of a GPU for an hour, gb_month: of a GB stored for a month, put_1000: of a thousand writes of an object, in
    dollars; 0: not counted.
    """

    clip_s: float = 5.5
    kept: float = 0.52
    cpu_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType(_CPU_S))
    gpu_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    export_cpu_s: float = 0.0
    table_bytes: float = 141e3
    shard_bytes: float = 571e3
    shard_mb: float = 256.0
    join_cpu_s: float = 0.0
    pair_ns: float = 10.0
    in_reach: float = 0.085
    cpu_hour: float = 0.0
    gpu_hour: float = 0.0
    gb_month: float = 0.0
    put_1000: float = 0.0


def rates_of(run: Path | None, file: Path | None, sets: Sequence[str]) -> Rates:
    """The rates of this program's measurements; over them those of a run, of a TOML file, and of `name=value`.

    Raises UserError for a run without measurements, an unknown name, and a value that is no number from 0 on.
    """
    rates = Rates() if run is None else _of_run(Rates(), run)
    if file is not None:
        rates = _with(rates, _read(file), str(file))
    for text in sets:
        rates = _with(rates, parse_override(text), "--set")
    return rates


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {error}") from error


def _with(rates: Rates, values: Mapping[str, Any], where: str) -> Rates:
    known = {item.name: getattr(rates, item.name) for item in fields(Rates)}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{where}: there is no rate {name!r}{closest(name, known)}")
        if isinstance(known[name], Mapping):
            stages = value if isinstance(value, Mapping) else {}
            if not stages:
                raise UserError(f"{where}: {name} takes a number for each stage, such as {name}.decode=0.2")
            value = MappingProxyType(
                {**known[name], **{k: _number(v, where, f"{name}.{k}") for k, v in stages.items()}}
            )
        else:
            value = _number(value, where, name)
        rates = replace(rates, **{name: value})
        known[name] = value
    return rates


def _number(value: Any, where: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UserError(f"{where}: {name} is a number from 0 on, not {value!r}")
    return float(value)


def _of_run(rates: Rates, root: Path) -> Rates:
    """What the last command that decoded wrote into run.json, and the sizes of what is there."""
    facts = read_run_json(RunDir(root))
    counts, processed = facts["counts"], facts.get("processed") or {}
    stages = processed.get("stage_seconds") or {}
    if not counts.get("clips") or processed.get("videos") != counts.get("files") or not stages:
        raise UserError(
            f"{root} does not say what its clips took: its last command did not process all of its videos; make a run"
            " of some videos in a new folder"
        )
    clips, kept = counts["clips"], max(1, counts["kept"])
    tables = sum(_bytes_below(root / name) for name in ("videos", "clips", "curves", "frames", "annotations"))
    shards = sum(path.stat().st_size for path in (root / "shards").glob("*.tar"))
    found: dict[str, Any] = {"kept": counts["kept"] / clips, "table_bytes": tables / clips}
    found["cpu_s"] = MappingProxyType({stage: seconds / clips for stage, seconds in stages.items()})
    return replace(rates, **found, shard_bytes=shards / kept if shards else rates.shard_bytes)


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))
