"""Headline, funnel and errors: counts that add up, and a line that says so where they do not."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from clipmill.curate.policy.policy import Filter
from clipmill.curate.report import fmt
from clipmill.curate.report.load import OUTCOMES, Decided, Run

MAX_ERRORS = 500
FILE_STATUSES = ("ok", "partial", "error", "duplicate")


@dataclass(frozen=True)
class Funnel:
    """One policy's waterfall as the page shows it. counts: outcome -> clips, `undecided` among them. kept_s: seconds of
    kept clips.

    rows: the rows of `clipmill.curate.policy.waterfall` plus what was asked for. overlap: filter -> filter -> clips
    that fail both.
    joint: see `clipmill.curate.policy.waterfall.Joint`; n 0 where nothing is known. several: clips that fail more than
    one filter.
    """

    name: str
    policy_id: str
    counts: dict[str, int]
    kept_s: float
    rows: list[dict[str, Any]]
    overlap: dict[str, dict[str, int]]
    joint: dict[str, Any]
    several: int


def outcome_counts(decided: Decided) -> dict[str, int]:
    """Outcome -> clips, and `undecided` for clips that the policy has no row for."""
    found = {name: int((decided.outcome == i).sum()) for i, name in enumerate(OUTCOMES)}
    return found | {"undecided": int((decided.outcome < 0).sum())}


def file_counts(videos: pd.DataFrame) -> dict[str, int]:
    """Status -> input files; a file whose status is none of the known ones counts as error."""
    status = videos["status"].where(videos["status"].isin(FILE_STATUSES), "error")
    return {name: int((status == name).sum()) for name in FILE_STATUSES}


def funnel(run: Run, decided: Decided) -> Funnel:
    """Counts, waterfall and overlap of one policy."""
    requests = {f.column: _request(f) for f in decided.policy.filters}
    kept = decided.outcome == OUTCOMES.index("kept")
    return Funnel(
        name=decided.name,
        policy_id=str(decided.note.get("policy_id") or ""),
        counts=outcome_counts(decided),
        kept_s=_seconds(run.clips[kept]),
        rows=[dict(row) | {"request": requests.get(row["filter"], "")} for row in decided.note.get("waterfall") or []],
        overlap=dict(decided.note.get("overlap") or {}),
        joint={"n": 0, "kept_share": None, "independent_share": None} | dict(decided.note.get("joint") or {}),
        several=sum(len(failed) > 1 for failed in decided.failed),
    )


def _request(filter_: Filter) -> str:
    """What was asked for where the threshold came from the data, such as `lowest 25 %, 95 % interval 0.011 to
    0.013`.
    """
    words = ", ".join(f"{k.replace('_', ' ')} {100 * v:.4g} %" for k, v in (filter_.requested or {}).items())
    if words and filter_.ci_low is not None and filter_.ci_high is not None:
        words += f"; 95 % interval of the threshold {fmt.number(filter_.ci_low)} to {fmt.number(filter_.ci_high)}"
    return words


def headline(run: Run, funnels: list[Funnel]) -> dict[str, Any]:
    """Totals over files and clips, and the run's times as run.json states them."""
    files, clips_s = file_counts(run.videos), _seconds(run.clips)
    usable = run.videos[run.videos["status"].isin(["ok", "partial"])]
    seconds, videos_s = run.info.get("seconds"), _seconds(usable)
    whole = (run.info.get("processed") or {}).get("videos", 0) >= len(usable)  # a resumed run's time covers a part only
    return {
        "files": files,
        "n_files": len(run.videos),
        "videos_s": videos_s,
        "n_clips": len(run.clips),
        "clips_s": clips_s,
        "funnel": funnels[0] if funnels else None,
        "started_at": run.info.get("started_at"),
        "finished_at": run.info.get("finished_at"),
        "seconds": seconds,
        "speed": videos_s / float(seconds) if seconds and videos_s and whole else None,
    }


def _seconds(table: pd.DataFrame) -> float:
    return float(table["duration_s"].fillna(0).sum()) if len(table) else 0.0


def notes(run: Run, funnels: list[Funnel]) -> list[str]:
    """Everything that does not add up, in words; empty for a sound run."""
    found = []
    if not run.info:
        found.append("There is no run.json: the run did not finish, so times, versions and settings are unknown.")
    for funnel_ in funnels:
        found += _funnel_notes(funnel_, run)
    stated = run.info.get("counts") or {}
    actual = {"files": len(run.videos), "clips": len(run.clips)} | file_counts(run.videos)
    if funnels:
        counts = funnels[0].counts
        actual |= {
            "kept": counts["kept"],
            "dropped": counts["dropped"],
            "error_clips": counts["error"],
            "not_run": counts["not_run"],
        }
    wrong = [
        f"{k}: {stated[k]} in run.json, {v} in the tables" for k, v in actual.items() if k in stated and stated[k] != v
    ]
    if wrong:
        found.append(
            "The tables changed since the run was recorded (" + "; ".join(wrong) + "). The report shows the tables."
        )
    return found


def _funnel_notes(funnel_: Funnel, run: Run) -> list[str]:
    name, counts, found = funnel_.name, funnel_.counts, []
    if counts["undecided"]:
        found.append(
            f"Policy {name} has no decision for {counts['undecided']:,} of {len(run.clips):,} clips: run `curate"
            " filter` again."
        )
    recorded = next(d.note.get("counts") or {} for d in run.policies if d.name == name)
    wrong = [
        f"{k} {recorded[k]} recorded, {v} decided" for k, v in counts.items() if k in recorded and recorded[k] != v
    ]
    if wrong:
        found.append(
            f"Policy {name}: its counts differ from its decisions ({'; '.join(wrong)}). The report shows the decisions."
        )
    if any(a["remaining"] != b["entering"] for a, b in pairwise(funnel_.rows)):
        found.append(f"Policy {name}: its waterfall does not connect from filter to filter.")
    return found


def file_errors(run: Run) -> dict[str, Any]:
    """Input files that gave no clips or stopped early. rows: at most MAX_ERRORS; total: all; stages: stage -> files."""
    bad = run.videos[~run.videos["status"].isin(["ok", "duplicate"])]
    stages = bad["error_stage"].fillna("unknown").value_counts().sort_index()
    rows = [
        {
            "relpath": fmt.text(r.relpath),
            "status": fmt.text(r.status),
            "stage": fmt.text(r.error_stage) or "unknown",
            "message": fmt.text(r.error_message, 500) or "no message recorded",
        }
        for r in bad.head(MAX_ERRORS).itertuples()
    ]
    return {"rows": rows, "total": len(bad), "stages": {str(k): int(v) for k, v in stages.items()}}


def clip_errors(run: Run) -> dict[str, Any]:
    """Clips for which an annotator failed, grouped by annotator and message, the most frequent first."""
    relpath = dict(zip(run.clips["clip_id"], run.clips["relpath"], strict=True)) if "relpath" in run.clips else {}
    table = run.clip_errors.assign(error=run.clip_errors["error"].fillna("no message recorded"))
    groups = sorted(table.groupby(["annotator", "error"], sort=True), key=lambda g: (-len(g[1]), g[0]))
    rows = [
        {
            "annotator": annotator,
            "message": fmt.text(error, 500),
            "n": len(rows),
            "clips": [{"id": c, "relpath": fmt.text(relpath.get(c))} for c in rows["clip_id"].head(5)],
        }
        for (annotator, error), rows in groups[:MAX_ERRORS]
    ]
    return {"rows": rows, "total": len(table), "groups": len(groups)}


def duplicates(run: Run) -> list[dict[str, str]]:
    """Input files with the bytes of another one."""
    twins = run.videos[run.videos["status"] == "duplicate"].head(MAX_ERRORS)
    return [{"relpath": fmt.text(r.relpath), "of": fmt.text(r.duplicate_of)} for r in twins.itertuples()]
