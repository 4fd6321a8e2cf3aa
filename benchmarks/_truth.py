"""Compare a run's tables with the demo's truth table (`curate demo`, columns in clipmill.curate.demo.truth).

Nothing here knows a threshold: what a clip fails is read from the run's decisions.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

# planted class -> the columns whose filters are there to find it
FILTERS: dict[str, frozenset[str]] = {
    "static": frozenset({"motion", "static_share"}),
    "text": frozenset({"text_area"}),
    "blur": frozenset({"sharpness"}),
    "blockiness": frozenset({"blockiness"}),
    "flicker": frozenset({"flicker"}),
    "near_black": frozenset({"near_black", "exposure", "under_share"}),
}
MIN_DECODABLE_S = 1.0  # of a truncated shot, below which nothing can be asked of it
MIN_CROP_IOU = 0.9
ROUNDING_S = 2e-3  # Matroska keeps time in milliseconds

Key = tuple[str, int]  # file, shot_index
Row = dict[str, Any]


def match_clips(truth: pd.DataFrame, videos: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Truth shots against clips by file and time, each side matched to the other's largest overlap.

    videos: video_id, relpath. clips: clip_id, video_id, start_s, end_s. Returns one row per (shot, clip) pair that is
    the best of at least one side: file, shot_index, clip_id, overlap_s, shot_s (decodable part), clip_s, best_of_shot,
    best_of_clip. A shot that nothing overlaps has one row with clip_id None, a clip without a shot one with shot_index
    NA.
    """
    shots = _decodable(truth)
    names = videos[["video_id", "relpath"]].dropna().drop_duplicates("video_id")
    named = clips[["clip_id", "video_id", "start_s", "end_s"]].merge(names, on="video_id")
    pairs = shots.merge(named, left_on="file", right_on="relpath", suffixes=("", "_clip"))
    pairs["overlap_s"] = pairs[["end_s", "end_s_clip"]].min(axis=1) - pairs[["start_s", "start_s_clip"]].max(axis=1)
    pairs = pairs[pairs["overlap_s"] > 0].sort_values(["overlap_s", "start_s"], ascending=[False, True], kind="stable")
    pairs["best_of_shot"] = ~pairs.duplicated(["file", "shot_index"])
    pairs["best_of_clip"] = ~pairs.duplicated("clip_id")
    pairs["shot_s"], pairs["clip_s"] = pairs["end_s"] - pairs["start_s"], pairs["end_s_clip"] - pairs["start_s_clip"]
    columns = ["file", "shot_index", "clip_id", "overlap_s", "shot_s", "clip_s", "best_of_shot", "best_of_clip"]
    found = pairs.loc[pairs["best_of_shot"] | pairs["best_of_clip"], columns]
    keys = pd.MultiIndex.from_frame(found[["file", "shot_index"]])
    missed = shots[~pd.MultiIndex.from_frame(shots[["file", "shot_index"]]).isin(keys)]
    missed = missed.assign(shot_s=missed["end_s"] - missed["start_s"])[["file", "shot_index", "shot_s"]]
    extra = named[~named["clip_id"].isin(found["clip_id"])]
    extra = extra.assign(file=extra["relpath"], clip_s=extra["end_s"] - extra["start_s"])[["file", "clip_id", "clip_s"]]
    parts = [p.astype({"shot_index": "Int64"}) if "shot_index" in p else p for p in (found, missed, extra) if len(p)]
    if not parts:
        return pd.DataFrame(columns=columns)
    whole = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    whole[["best_of_shot", "best_of_clip"]] = whole[["best_of_shot", "best_of_clip"]].eq(True)
    return whole.sort_values(["file", "shot_index", "overlap_s"], ascending=[True, True, False], ignore_index=True)


def _decodable(truth: pd.DataFrame) -> pd.DataFrame:
    """Shots of which something can be decoded, cut to that part."""
    shots = truth[(truth["row"] == "shot") & (truth["decodable_frames"] > 0)].copy()
    whole = shots["decodable_frames"] >= shots["end_frame"] - shots["start_frame"]
    part = (shots["end_s"] - shots["start_s"]) * shots["decodable_frames"] / (shots["end_frame"] - shots["start_frame"])
    shots["end_s"] = shots["end_s"].where(whole, shots["start_s"] + part)
    return shots


def cut_scores(truth: pd.DataFrame, videos: pd.DataFrame) -> dict[str, float]:
    """Precision, recall and F1 of hard cuts and of gradual transitions, from `videos.cuts`.

    The rule of the labelled real videos: greedy in time, one boundary for one transition, tolerance 2 frames, a gradual
    transition is found by one boundary inside it. A found boundary that belongs to nothing is false for the kind it
    claims; a true one counts for the truth's kind, and `kind_agreement` is the share whose claimed kind is right.
    Transitions that a truncated file does not hold whole count neither way. All files of the truth count: one that the
    run has no row for has missed everything.
    """
    marks = truth[truth["row"] == "transition"]
    found = {row["relpath"]: _cut_times(row) for row in _rows(videos)}
    counts = {kind: {"tp": 0, "fp": 0, "fn": 0} for kind in ("hard", "gradual")}
    agreed = 0
    for file in truth["file"].unique():
        left = list(found.get(file, []))
        for mark in marks[marks["file"] == file].sort_values("start_s").itertuples():
            hit = next(
                (c for c in left if mark.accept_start_s - ROUNDING_S <= c[0] <= mark.accept_end_s + ROUNDING_S), None
            )
            if hit is not None:
                left.remove(hit)
            if mark.decodable_frames < max(1, mark.end_frame - mark.start_frame):
                continue
            kind = "hard" if mark.transition == "hard" else "gradual"
            counts[kind]["fn" if hit is None else "tp"] += 1
            agreed += hit is not None and hit[1] == kind
        for _, kind in left:
            counts[kind]["fp"] += 1
    scores = {f"{kind}_{name}": value for kind, c in counts.items() for name, value in _rates(**c).items()}
    n_true = counts["hard"]["tp"] + counts["gradual"]["tp"]
    return scores | {"kind_agreement": agreed / n_true if n_true else float("nan")}


def _cut_times(video: Row) -> list[tuple[float, str]]:
    """(seconds from the first frame, hard or gradual) of a row of `videos`, in order."""
    if video["cuts"] is None or pd.isna(video["start_pts"]):
        return []
    tick_s = video["time_base_num"] / video["time_base_den"]
    return sorted(
        ((c["pts"] - video["start_pts"]) * tick_s, "hard" if c["kind"] == "hard" else "gradual") for c in video["cuts"]
    )


def _rates(tp: int, fp: int, fn: int) -> dict[str, float]:
    """Counts with precision, recall and F1; NaN where nothing was there to be found, or nothing was found."""
    nan = float("nan")
    return {
        "precision": tp / (tp + fp) if tp + fp else nan,
        "recall": tp / (tp + fn) if tp + fn else nan,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else nan,
        "tp": tp,
        "fp": fp,
        "fn": fn,
    }


def defect_scores(
    truth: pd.DataFrame, manifest: pd.DataFrame, decisions: pd.DataFrame, filters: Mapping[str, Iterable[str]] = FILTERS
) -> pd.DataFrame:
    """Precision and recall of every planted class. One row per class, indexed by its name, with the counts behind the
    rates.

    static, text, blur, blockiness, flicker, near_black: counted in clips. A clip shows what its shot shows (the shot
    with the largest overlap); it is found when it fails at least one filter of `filters[class]`. A clip with two
    defects counts for both. A shot with a defect and no clip is a miss. `fp_clean` counts those false alarms whose shot
    has no defect at all, and `precision_clean` leaves the others out: a black clip that also fails sharpness was
    rightly dropped.
    duplicate: counted in pairs of clips that share dup_group_id. letterbox: counted in clips whose crop box is smaller
    than the frame, right where it meets the true box with an intersection over union above 0.9.

    manifest: clip_id, video_id, relpath, start_s, end_s, crop_*, dup_group_id. decisions: clip_id, failed_filters.
    """
    matches = match_clips(truth, manifest, manifest)
    shots = {(row["file"], int(row["shot_index"])): row for row in _rows(_decodable(truth))}
    planted = {
        key: set(row["defects"]) for key, row in shots.items() if row["end_s"] - row["start_s"] >= MIN_DECODABLE_S
    }
    shown = _shown(matches, planted)
    failed = {row["clip_id"]: set(row["failed_filters"]) for row in _rows(decisions)}
    scores = {name: _filter_score(name, set(columns), planted, shown, failed) for name, columns in filters.items()}
    clips = {row["clip_id"]: row for row in _rows(manifest)}
    scores["duplicate"] = _duplicate_score(shots, shown, clips)
    scores["letterbox"] = _letterbox_score(shots, planted, shown, clips)
    return pd.DataFrame.from_dict(scores, orient="index")


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _shown(matches: pd.DataFrame, planted: Mapping[Key, set[str]]) -> dict[str, Key]:
    """clip_id -> the shot it shows, for clips of shots that count."""
    keys = {row["clip_id"]: (row["file"], int(row["shot_index"])) for row in _rows(matches[matches["best_of_clip"]])}
    return {clip: key for clip, key in keys.items() if key in planted}


def _filter_score(
    name: str,
    columns: set[str],
    planted: Mapping[Key, set[str]],
    shown: Mapping[str, Key],
    failed: Mapping[str, set[str]],
) -> dict[str, float]:
    caught = {clip for clip in shown if failed.get(clip, set()) & columns}
    positive = {clip for clip, key in shown.items() if name in planted[key]}
    lost = sum(name in defects for key, defects in planted.items() if key not in set(shown.values()))
    false = caught - positive
    clean = sum(not planted[shown[clip]] - {"duplicate", "letterbox"} for clip in false)
    tp = len(caught & positive)
    score = _rates(tp, len(false), len(positive - caught) + lost)
    return score | {"fp_clean": clean, "precision_clean": tp / (tp + clean) if tp + clean else float("nan")}


def _duplicate_score(shots: Mapping[Key, Row], shown: Mapping[str, Key], clips: Mapping[str, Row]) -> dict[str, float]:
    """Pairs of clips from different shots: the true ones repeat each other, the found ones share a group."""
    original = {key: _original(row["duplicate_of"], key) for key, row in shots.items()}
    true: set[frozenset[Key]] = set()
    found: set[frozenset[Key]] = set()
    for a, b in combinations(sorted(shown), 2):
        pair = frozenset((shown[a], shown[b]))
        if len(pair) < 2:
            continue
        if original[shown[a]] == original[shown[b]]:
            true.add(pair)
        groups = clips[a]["dup_group_id"], clips[b]["dup_group_id"]
        if isinstance(groups[0], str) and groups[0] == groups[1]:
            found.add(pair)
    lost = sum(source != key and not any(key in pair for pair in true) for key, source in original.items())
    return _rates(len(true & found), len(found - true), len(true - found) + lost)


def _original(source: str | None, key: Key) -> Key:
    """The shot that this one repeats ("file#index"), itself where it repeats none."""
    if not isinstance(source, str):
        return key
    file, _, index = source.rpartition("#")
    return file, int(index)


def _letterbox_score(
    shots: Mapping[Key, Row], planted: Mapping[Key, set[str]], shown: Mapping[str, Key], clips: Mapping[str, Row]
) -> dict[str, float]:
    tp = fp = 0
    fn = sum("letterbox" in defects for key, defects in planted.items() if key not in set(shown.values()))
    for clip, key in shown.items():
        box, true = _crop(clips[clip]), _crop(shots[key])
        frame = (0.0, 0.0, float(shots[key]["width"]), float(shots[key]["height"]))
        bordered, cropped = "letterbox" in planted[key], box is not None and box != frame
        right = bordered and box is not None and true is not None and crop_iou(box, true) > MIN_CROP_IOU
        tp, fn, fp = tp + right, fn + (bordered and not right), fp + (cropped and not right)
    return _rates(tp, fp, fn)


def _crop(row: Row) -> tuple[float, ...] | None:
    box = tuple(float("nan") if row[c] is None else float(row[c]) for c in ("crop_x", "crop_y", "crop_w", "crop_h"))
    return None if any(pd.isna(v) for v in box) else box


def crop_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    union = a[2] * a[3] + b[2] * b[3] - width * height
    return width * height / union if union else 0.0
