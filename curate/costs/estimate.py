"""The cost of a collection from the cost of a clip. What grows with the square of the clips is said by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clipmill.curate.costs.rates import Rates

_TABLES = 10  # videos, clips, curves, frames, exports, five annotators of the default preset
_MANIFEST_BYTES = 200.0
_MONTHS = 1.0


@dataclass(frozen=True)
class Cost:
    """One line. cpu_h, gpu_h: hours of one core, of one GPU. stored_bytes: on disk or in objects, of which there are
    `objects`. dollars: for the hours, the writes and a month of storage.
    """

    what: str
    cpu_h: float = 0.0
    gpu_h: float = 0.0
    stored_bytes: float = 0.0
    objects: float = 0.0
    dollars: float = 0.0


def costs_of(clips: float, rates: Rates) -> list[Cost]:
    """Every stage, then the sum, named `all`. clips: how many."""
    lines = [_priced(cost, rates) for cost in _stages(clips, rates)]
    names = ("cpu_h", "gpu_h", "stored_bytes", "objects", "dollars")
    return [*lines, Cost("all", **{name: sum(getattr(line, name) for line in lines) for name in names})]


def _stages(clips: float, rates: Rates) -> Iterator[Cost]:
    kept, hour = clips * rates.kept, 3600.0
    for stage, seconds in rates.cpu_s.items():
        yield Cost(stage, cpu_h=clips * seconds / hour)
    for stage, seconds in rates.gpu_s.items():
        yield Cost(stage, gpu_h=clips * seconds / hour)
    yield Cost("tables", stored_bytes=clips * rates.table_bytes, objects=_TABLES * _buckets(clips))
    pairs = clips**2 * rates.in_reach / 2
    yield Cost("near duplicates", cpu_h=pairs * rates.pair_ns * 1e-9 / hour)
    manifest = clips * _MANIFEST_BYTES
    yield Cost("join, decide, report", clips * rates.join_cpu_s / hour, stored_bytes=manifest, objects=_files(clips))
    shards = kept * rates.shard_bytes
    yield Cost("export", kept * rates.export_cpu_s / hour, stored_bytes=shards, objects=shards / (rates.shard_mb * 1e6))


def _buckets(clips: float) -> float:
    """Of one table: as `curate compact` parts 20 clips a video, 400 videos a bucket."""
    digits = next((d for d in range(3) if clips / 20 <= 400 * 16**d), 3)
    return min(16.0**digits, max(1.0, clips / 20))


def _files(clips: float) -> float:
    return max(1.0, clips / 250_000)


def _priced(cost: Cost, rates: Rates) -> Cost:
    dollars = cost.cpu_h * rates.cpu_hour + cost.gpu_h * rates.gpu_hour + cost.objects / 1000 * rates.put_1000
    dollars += cost.stored_bytes / 1e9 * rates.gb_month * _MONTHS
    return Cost(cost.what, cost.cpu_h, cost.gpu_h, cost.stored_bytes, cost.objects, dollars)


def lines_of(clips: float, rates: Rates) -> list[str]:
    """The costs as text, one line each, with what is not counted."""
    costs = costs_of(clips, rates)
    head = f"{clips:,.0f} clips of {rates.clip_s:g} s: {clips * rates.clip_s / 3600:,.0f} h, {rates.kept:.0%} kept"
    rows = [("", "CPU h", "GPU h", "stored", "objects", "dollars")]
    rows += [
        (c.what, _h(c.cpu_h), _h(c.gpu_h), _size(c.stored_bytes), _count(c.objects), _money(c.dollars)) for c in costs
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    body = [
        "  ".join(cell.ljust(widths[k]) if k == 0 else cell.rjust(widths[k]) for k, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    return [head, *body, *_not_counted(rates)]


def _not_counted(rates: Rates) -> list[str]:
    missing = [
        name
        for name in ("export_cpu_s", "join_cpu_s", "pair_ns", "cpu_hour", "gpu_hour", "gb_month", "put_1000")
        if not getattr(rates, name)
    ]
    missing += [] if rates.gpu_s else ["gpu_s"]
    return [f"not counted, because no rate is given: {', '.join(missing)} (--set NAME=VALUE)"] if missing else []


def _h(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}" if hours else ""


def _count(number: float) -> str:
    return f"{number:,.0f}" if number else ""


def _money(dollars: float) -> str:
    return f"{dollars:,.0f}" if dollars else ""


def _size(size_bytes: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.3g} {name}"
    return f"{size_bytes / 1e3:.3g} kB" if size_bytes else ""


def clips_in(clips: str, hours: str, rates: Rates) -> float:
    """How many clips were asked for, by number or by hours of footage, one of the two. Raises ValueError else."""
    given: Sequence[str] = [text for text in (clips, hours) if text]
    if len(given) != 1:
        raise ValueError("give --clips or --hours, such as --clips 1e9")
    number = float(given[0])
    if not 0 < number < float("inf"):
        raise ValueError(f"{given[0]!r} is no number above 0")
    return number if clips else number * 3600 / rates.clip_s
