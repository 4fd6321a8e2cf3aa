"""`curate status`: what is done of a run, who is at work on it, how fast, and when it will end. Changes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipmill.curate.leases.lease import Found, leases
from clipmill.curate.parts.part import Part
from clipmill.curate.parts.record import PartFiles, Record, parts_of
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import check_folder, no_run, read_run_json

DONE, RUNNING, DIED, FAILED, MISSING = "done", "running", "died", "failed", "not begun"


@dataclass(frozen=True)
class PartStatus:
    """One part. n_videos: of its own, None where it has not listed them yet. per_s: videos ended in a second, by its
    last command; None where none has ended. where: process and machine, or why it failed.
    """

    part: Part
    state: str
    n_done: int
    n_videos: int | None
    n_failed: int
    per_s: float | None
    where: str

    @property
    def left_s(self) -> float | None:
        """Seconds until it has ended, at the rate until now; None where nobody knows."""
        if self.state != RUNNING or self.n_videos is None or not self.per_s:
            return 0.0 if self.state == DONE else None
        return max(0, self.n_videos - self.n_done) / self.per_s


def part_statuses(root: Path) -> list[PartStatus]:
    """Every part of the run, in order; empty where it is not being made in parts. Raises UserError where a file of it
    is damaged.
    """
    held = {lease.name: lease for lease in leases(root)}
    made: dict[str, set[str]] = {}
    return [_status(files, held.get(files.part.name), made) for files in parts_of(root)]


def _status(files: PartFiles, lease: Found | None, made: dict[str, set[str]]) -> PartStatus:
    record, alive = files.read(), lease is not None and lease.alive
    if record is None:
        return PartStatus(
            files.part, RUNNING if alive else MISSING, 0, None, 0, None, str(lease.holder) if lease else ""
        )
    base = record.fingerprints.get("base", "")
    if base not in made:
        made[base] = RunDir(files.root).done("videos", base)
    sources, events = files.sources(), files.events()
    units = {s.video_id or "" for s in sources or () if s.sha256 is not None}
    span_s = 0.0 if events.last_s is None else events.last_s - record.began_s
    state, where = _state(record, lease)
    return PartStatus(
        part=files.part,
        state=state,
        n_done=len(units & made[base]),
        n_videos=None if sources is None else len(units),
        n_failed=len(events.failed) + sum(s.problem is not None for s in sources or ()),
        per_s=events.n_ended / span_s if span_s > 0 else None,
        where=where,
    )


def _state(record: Record, lease: Found | None) -> tuple[str, str]:
    where = f"process {record.process} on {record.host}"
    if lease is not None and lease.alive:
        return RUNNING, f"{lease.holder}, last sign {_clock(lease.silent_s)} ago"
    if record.finished_at:
        return DONE, record.host
    if record.problem:
        return FAILED, f"{record.host}: {record.problem}"
    return DIED, where if lease is None else f"{where}, last sign {_clock(lease.silent_s)} ago"


def status_lines(root: Path) -> list[str]:
    """What a person reads. Raises UserError where there is no run."""
    run = RunDir(root)
    check_folder(run)
    parts = part_statuses(root)
    lines = _of_parts(root, parts) if parts else []
    whole = next((lease for lease in leases(root) if lease.name == "run"), None)
    if whole is not None:
        state = "is at work" if whole.alive else "died; the same command goes on"
        lines.append(f"{root}: {whole.holder} {state}, last sign {_clock(whole.silent_s)} ago")
    if run.run_json.is_file():
        facts = read_run_json(run)
        counts = facts["counts"]
        lines.append(
            f"joined {facts.get('finished_at', '')}: {counts['files']} files, {counts['clips']} clips,"
            f" {counts['kept']} kept"
        )
    if not lines:
        raise no_run(run)
    return lines


def _of_parts(root: Path, parts: Sequence[PartStatus]) -> list[str]:
    lines = [_line(one) for one in parts]
    counts = {state: sum(one.state == state for one in parts) for state in (DONE, RUNNING, DIED, FAILED, MISSING)}
    videos = f"{sum(p.n_done for p in parts)} of {_total(parts)} videos made, {sum(p.n_failed for p in parts)} failed"
    states = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    lines.append(f"{root} in {len(parts)} parts: {states}; {videos}{_ahead(parts)}")
    again = [p.part.index for p in parts if p.state in (DIED, FAILED, MISSING)]
    if again:
        lines.append(f"to run again: {','.join(map(str, again))}   (sbatch --array={','.join(map(str, again))})")
    elif counts[DONE] == len(parts):
        lines.append(f"next: curate finish {root}")
    return lines


def _total(parts: Iterable[PartStatus]) -> str:
    known = [p.n_videos for p in parts]
    return f"{sum(n for n in known if n is not None)}{' and more' if None in known else ''}"


def _ahead(parts: Sequence[PartStatus]) -> str:
    """The rate of what runs, and when the last of it ends."""
    running = [p for p in parts if p.state == RUNNING]
    rate = sum(p.per_s or 0 for p in running)
    if not rate:
        return ""
    left = [p.left_s for p in running]
    known = max((s for s in left if s is not None), default=None)
    ends = "" if known is None or None in left else f", those that run end in about {_clock(known)}"
    return f"; {_rate(rate)}{ends}"


def _line(one: PartStatus) -> str:
    if one.n_videos is None:
        videos = "" if one.state == MISSING else "finding videos"
    else:
        videos = f"{one.n_done} of {one.n_videos} videos" + (f", {one.n_failed} failed" if one.n_failed else "")
    facts = [videos, _rate(one.per_s) if one.per_s and one.state == RUNNING else "", one.where]
    return f"{one.part!s:>9}  {one.state:9}  {'; '.join(filter(None, facts))}".rstrip()


def _rate(per_s: float) -> str:
    return f"{per_s * 60:.3g} videos a minute" if per_s * 60 >= 1 else f"{per_s * 3600:.3g} videos an hour"


def _clock(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def as_json(parts: Iterable[PartStatus]) -> list[Mapping[str, object]]:
    """For programs: one object per part."""
    return [{**vars(p), "part": str(p.part), "left_s": p.left_s} for p in parts]
