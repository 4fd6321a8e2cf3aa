"""The data card: where the data came from, under which licences, what it looks like, and exactly what made it."""

import json
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from clipmill.curate.report import fmt
from clipmill.curate.report.load import OUTCOMES, Run

MAX_ROWS = 20


def card(run: Run) -> dict[str, Any]:
    """Tables for the template. Each table: title, head (column names), rows (lists of str), note (what was left
    out).
    """
    videos = run.videos[run.videos["status"].isin(["ok", "partial"])]
    kept = run.policies[0].outcome == OUTCOMES.index("kept") if run.policies else np.zeros(len(run.clips), bool)
    tables = [
        _sources(run, videos, kept),
        _grouped("Licences", run, videos, kept, "license", "none stated"),
        _counted("Resolution", _resolutions(videos)),
        _counted("Codec and container", _joined(videos, ["video_codec", "container"])),
        _counted("Pixel format", _joined(videos, ["pix_fmt"])),
        _flags(videos),
        _splits(run),
        _shards(run),
    ]
    charts = [
        _bars("Frame rate of the videos", "fps", np.round(_fps(videos), 2)),
        _bars("Length of the clips", "s", _numbers(run.clips, "duration_s")),
        _bars("Length of the kept clips", "s", _numbers(run.clips[kept], "duration_s")),
        _stages(run.info),
    ]
    return {
        "tables": [t for t in tables if t["rows"]],
        "charts": [c for c in charts if c["bars"]],
        "facts": _facts(run),
        "versions": _versions(run),
        "config": (
            json.dumps(run.info.get("config"), indent=2, sort_keys=True, ensure_ascii=False)
            if run.info.get("config")
            else ""
        ),
    }


def _table(title: str, head: list[str], rows: list[list[str]], note: str = "") -> dict[str, Any]:
    more = len(rows) - MAX_ROWS
    return {"title": title, "head": head, "rows": rows[:MAX_ROWS], "note": f"and {more} more" if more > 0 else note}


def _counted(title: str, values: pd.Series) -> dict[str, Any]:
    counts = values.value_counts()
    order = sorted(counts.items(), key=lambda kv: (-kv[1], str(kv[0])))
    return _table(
        title, [title, "videos", "share"], [[str(k), fmt.count(v), fmt.share(v, len(values))] for k, v in order]
    )


def _joined(videos: pd.DataFrame, columns: list[str]) -> pd.Series:
    return (
        videos[columns].fillna("unknown").astype(str).agg(" · ".join, axis=1)
        if len(videos)
        else pd.Series(dtype=object)
    )


def _resolutions(videos: pd.DataFrame) -> pd.Series:
    known = videos.dropna(subset=["width", "height"])
    return known["width"].astype(int).astype(str) + " × " + known["height"].astype(int).astype(str)


def _sources(run: Run, videos: pd.DataFrame, kept: np.ndarray) -> dict[str, Any]:
    """By the host of source_url, else by the first folder of the path."""
    hosts = [urlsplit(str(u)).netloc if not fmt.is_missing(u) else "" for u in videos["source_url"]]
    folders = [
        p.split("/", 1)[0] + "/" if "/" in p else "(top folder)" for p in videos["relpath"].fillna("").astype(str)
    ]
    named = videos.assign(origin=[h or f for h, f in zip(hosts, folders, strict=True)])
    return _grouped("Sources", run, named, kept, "origin", "unknown")


def _grouped(title: str, run: Run, videos: pd.DataFrame, kept: np.ndarray, column: str, missing: str) -> dict[str, Any]:
    """Videos, clips, hours and kept hours by a column of the videos."""
    keyed = videos.assign(key=videos[column].fillna(missing).replace("", missing))
    key_of = dict(zip(keyed["video_id"], keyed["key"], strict=True))
    clips = pd.DataFrame(
        {
            "key": run.clips["video_id"].map(key_of).fillna(missing),
            "s": run.clips["duration_s"].fillna(0.0),
            "kept": kept,
        }
    )
    rows = []
    for key, n_videos in sorted(keyed["key"].value_counts().items(), key=lambda kv: (-kv[1], str(kv[0]))):
        own = clips[clips["key"] == key]
        kept_own = own[own["kept"]]
        sizes = [fmt.count(len(own)), fmt.span(own["s"].sum()), fmt.count(len(kept_own)), fmt.span(kept_own["s"].sum())]
        rows.append([fmt.text(key, 80), fmt.count(n_videos), *sizes])
    return _table(title, [title, "videos", "clips", "length", "kept", "kept length"], rows)


def _flags(videos: pd.DataFrame) -> dict[str, Any]:
    def true(values: pd.Series) -> int:
        return int((values.astype(object).fillna(False) == True).sum())  # noqa: E712

    facts = {
        "variable frame rate": true(videos["is_vfr"]),
        "interlaced": true(videos["interlaced"]),
        "rotated": int((videos["rotation_deg"].fillna(0) != 0).sum()),
        "non-square pixels": int(((videos["sar_num"].fillna(1)) != (videos["sar_den"].fillna(1))).sum()),
        "with audio": true(videos["has_audio"]),
        "with black borders": int(
            ((videos["crop_w"] < videos["width"]) | (videos["crop_h"] < videos["height"])).fillna(False).sum()
        ),
        "packets that could not be decoded": int((videos["n_decode_errors"].fillna(0) > 0).sum()),
    }
    rows = [[k, fmt.count(v), fmt.share(v, len(videos))] for k, v in facts.items()] if len(videos) else []
    return _table("Properties", ["Properties", "videos", "share"], rows)


def _splits(run: Run) -> dict[str, Any]:
    if "split" not in run.clips or run.clips["split"].isna().all():
        return _table("Splits", [], [])
    groups = run.clips.dropna(subset=["split"]).groupby("split", sort=True)
    rows = [
        [fmt.text(k), fmt.count(g["video_id"].nunique()), fmt.count(len(g)), fmt.span(g["duration_s"].sum())]
        for k, g in groups
    ]
    return _table("Splits (by source video)", ["split", "videos", "clips", "length"], rows)


def _shards(run: Run) -> dict[str, Any]:
    rows = []
    for r in run.shards.sort_values("shard", kind="stable").itertuples():
        size = (
            f"{r.width:.0f} × {r.height:.0f}"
            if not fmt.is_missing(r.width) and not fmt.is_missing(r.height)
            else "mixed"
        )
        fps = fmt.number(r.fps) if not fmt.is_missing(r.fps) else "mixed"
        content = [fmt.text(r.split) or "–", fmt.count(r.n_clips), fmt.span(r.total_duration_s), size, fps]
        rows.append([fmt.text(r.shard), *content, fmt.size(r.size_bytes), str(r.sha256)[:12]])
    return _table("Shards", ["shard", "split", "clips", "length", "size", "fps", "bytes", "sha256"], rows)


def _fps(videos: pd.DataFrame) -> np.ndarray:
    if not len(videos):
        return np.zeros(0)
    return (videos["avg_fps_num"] / videos["avg_fps_den"].replace(0, np.nan)).astype(float).dropna().to_numpy()


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    return table[column].astype(float).dropna().to_numpy() if column in table else np.zeros(0)


def _bars(title: str, unit: str, values: np.ndarray) -> dict[str, Any]:
    """Bars of a histogram: a bar per value where few values repeat (frame rates), else about ten equal bins of round
    width.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) > 10 or (len(distinct) > 1 and unit == "s"):
        step = _round_step((distinct[-1] - distinct[0]) / 9)
        start = np.floor(distinct[0] / step) * step
        edges = start + step * np.arange(np.ceil((distinct[-1] - start) / step + 1e-9) + 1)
        counts, _ = np.histogram(values, edges)
        labels = [f"{fmt.number(a)}–{fmt.number(b)}" for a, b in pairwise(edges)]
    else:
        labels = [fmt.number(v) for v in distinct]
    top = max(counts, default=1)
    sizes = zip(labels, map(int, counts), strict=True)
    bars = [
        {"label": f"{label} {unit}", "n": fmt.count(n), "percent": round(100 * n / int(top), 1)} for label, n in sizes
    ]
    median = f"median {fmt.number(np.median(values))} {unit}" if len(values) else ""
    return {"title": title, "bars": bars, "note": median}


def _stages(info: dict[str, Any]) -> dict[str, Any]:
    """Worker seconds per stage, the longest first."""
    seconds = (info.get("processed") or {}).get("stage_seconds") or {}
    order = sorted(seconds.items(), key=lambda kv: (-float(kv[1]), kv[0]))
    top = max([float(v) for _, v in order], default=0.0) or 1.0
    bars = [{"label": str(k), "n": fmt.span(v), "percent": round(100 * float(v) / top, 1)} for k, v in order]
    return {"title": "Where the time went", "bars": bars, "note": "worker time by stage"}


def _round_step(raw: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(raw))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9)))


def _facts(run: Run) -> list[tuple[str, str]]:
    info, policies = run.info, run.policies
    facts = [
        ("Inputs", ", ".join(run.inputs)),
        ("Command", str(info.get("command") or "")),
        ("Started", str(info.get("started_at") or "")),
        ("Finished", str(info.get("finished_at") or "")),
        ("Annotators", ", ".join(sorted({str(v) for v in (info.get("columns") or {}).values()}))),
        *((f"Policy {p.name}", str(p.note.get("policy_id") or "no id recorded")) for p in policies),
    ]
    return [(k, v) for k, v in facts if v]


def _versions(run: Run) -> list[tuple[str, str]]:
    own = run.info.get("clipmill_version")
    rows = [("clipmill", str(own))] if own else []
    return rows + [
        (str(k), fmt.text(v)) for k, v in sorted((run.info.get("versions") or {}).items()) if k != "clipmill"
    ]
