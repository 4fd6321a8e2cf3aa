"""A synthetic run directory for the report's tests: correlated scores, failures, hostile names, drawn pictures.

The real policy code decides; everything else is made up here.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.common.files import write_atomic, write_json
from clipmill.curate.contract import schema
from clipmill.curate.policy.decisions import counts, decide, freeze, outcomes, save
from clipmill.curate.policy.policy import parse
from clipmill.curate.policy.waterfall import summary

HOSTILE = "<script>alert(1)</script>.mp4"
BREAKOUT = "</script><img src=x onerror=alert(2)>.webm"
NAMES = [HOSTILE, "ünïcødé/日本語 クリップ.mkv", '"quoted" & <b>bold</b>.mp4', BREAKOUT, "plain name.mp4"]
MAKERS = {
    "motion": "motion.v1",
    "static_share": "motion.v1",
    "text_area": "text.v1",
    "sharpness": "quality.v1",
    "blockiness": "quality.v1",
    "flicker": "quality.v1",
    "near_black": "quality.v1",
    "dup_rank": "dedup.v1",
}
DOCS = {
    "motion": "fraction of the short side per second, Farneback at 2 fps",
    "static_share": "share of the picture that does not move, 0 to 1",
    "text_area": "union of text boxes over the frame area, 0 to 1",
    "sharpness": "variance of the Laplacian at 256 px, 8-bit levels squared",
    "blockiness": "excess gradient at 8 px block borders, 0 to 1",
    "flicker": "luma jumps per second above 4 levels",
    "near_black": "share of near-black frames, 0 to 1",
    "dup_rank": "place in its near-duplicate group, 0 = the best",
}
DEFAULT = {
    "motion": {"min": 0.01},
    "text_area": {"max": 0.07},
    "sharpness": {"drop_lowest": "10%"},
    "blockiness": {"max": 0.35, "on_error": "keep"},
    "near_black": {"max": 0.5},
    "dup_rank": {"max": 0},
}
STRICT = {
    "motion": {"min": 0.03, "max": 1.5},
    "text_area": {"drop_highest": "25%"},
    "sharpness": {"drop_lowest": "25%"},
}


@dataclass(frozen=True)
class Shape:
    """How large and how broken a run to make."""

    n_videos: int = 40
    clips_per_video: int = 8
    pictures: bool = True
    policies: int = 2


def make_run(folder: Path, shape: Shape = Shape()) -> Path:
    """Write a run directory with `n_videos` good files of `clips_per_video` clips each and a few bad files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    videos, good = _videos(shape, rng)
    half = len(videos) // 2
    for i, rows in enumerate((videos[:half], videos[half:])):
        write_atomic(folder / "videos" / f"part-{i}.parquet", pa.Table.from_pylist(rows, schema.VIDEOS))
    # At least one clip is made, so that an empty run has the same columns, and taken away again.
    rows = [c for v in good or videos[:1] for c in _clips(v, max(shape.clips_per_video, 1), rng)]
    clips = pd.DataFrame(rows)
    errors = _score(clips, rng)
    if not good or not shape.clips_per_video:
        clips, errors = clips.iloc[:0].copy(), []
    _annotations(folder, clips, errors)
    if shape.pictures:
        _frames(folder, clips)
    policies = [parse("default", DEFAULT), parse("strict", STRICT)][: shape.policies]
    tables = {}
    for policy in policies:
        found = outcomes(freeze(policy, clips, MAKERS), clips, MAKERS)
        save(folder, found, summary(found))
        tables[policy.name] = decide(found.policy, clips, MAKERS)
    manifest = clips.merge(tables["default"], on="clip_id") if tables else clips
    _manifest(folder, manifest)
    _run_json(folder, videos, manifest)
    return folder


def _videos(shape: Shape, rng: np.random.Generator) -> tuple[list[dict], list[dict]]:
    rows = []
    for i in range(shape.n_videos):
        relpath = NAMES[i] if i < len(NAMES) else f"folder_{i % 3}/video {i:03d}.mp4"
        width, height = [(1920, 1080), (1280, 720), (640, 360), (720, 1280)][int(rng.choice(4, p=[0.5, 0.3, 0.1, 0.1]))]
        fps = [(24, 1), (25, 1), (30000, 1001), (60, 1)][int(rng.integers(4))]
        rows.append(
            _row(relpath, "ok", rng)
            | {
                "width": width,
                "height": height,
                "avg_fps_num": fps[0],
                "avg_fps_den": fps[1],
                "duration_s": 6.0 * shape.clips_per_video,
            }
            | {
                "video_codec": str(rng.choice(["h264", "h264", "hevc", "vp9", "av1"])),
                "container": "mov,mp4,m4a",
                "pix_fmt": "yuv420p",
            }
            | {"is_vfr": i % 9 == 0, "has_audio": i % 2 == 0, "interlaced": False, "n_decode_errors": 0}
            | {
                "license": ["CC-BY-4.0", "CC0-1.0", None][i % 3],
                "source_url": "https://example.org/v/1" if i % 2 else None,
            }
        )
    bad = [
        _row("broken/empty.mp4", "error", rng)
        | {"error_stage": "probe", "error_message": "the file is empty (0 bytes)"},
        _row("broken/text.mp4", "error", rng)
        | {"error_stage": "probe", "error_message": "Invalid data found: <b>not</b> a video"},
        _row("broken/hang.ts", "error", rng)
        | {"error_stage": "timeout", "error_message": "killed after 120 s without progress"},
        _row("broken/cut.mp4", "partial", rng)
        | {"duration_s": 9.5, "error_stage": "decode", "error_message": "stopped at 9.5 s: the file is truncated"},
        _row("copy of plain name.mp4", "duplicate", rng) | {"duplicate_of": "plain name.mp4"},
    ]
    return rows + bad, rows


def _row(relpath: str, status: str, rng: np.random.Generator) -> dict:
    return {
        "video_id": rng.bytes(16).hex(),
        "relpath": relpath,
        "status": status,
        "size_bytes": int(rng.integers(10**6, 10**8)),
    }


def _clips(video: dict, n: int, rng: np.random.Generator) -> list[dict]:
    rows = []
    for k in range(n):
        start, length = 6.0 * k, float(rng.uniform(2, 6))
        clip = schema.clip_id(video["video_id"], int(start * 1000), int((start + length) * 1000))
        rows.append(
            {
                "clip_id": clip,
                "video_id": video["video_id"],
                "relpath": video["relpath"],
                "clip_index": k,
                "start_s": start,
            }
            | {"end_s": start + length, "duration_s": length, "n_frames": int(length * 25), "fps": np.float32(25.0)}
            | {k: video.get(k) for k in ("width", "height", "license", "source_url")}
            | {
                "cut_residual": np.float32(rng.beta(1, 8)),
                "caption": "A <i>sprite</i> & its shadow" if k == 0 else None,
            }
        )
    return rows


def _score(clips: pd.DataFrame, rng: np.random.Generator) -> list[tuple[int, str, str]]:
    """Fill the score columns in place. Returns (row, annotator, message) of failures."""
    n = len(clips)
    activity = rng.normal(size=n)
    static = rng.random(n) < 0.08
    clips["motion"] = np.where(static, rng.uniform(0, 0.006, n), np.exp(-2.2 + 0.9 * activity)).astype(np.float32)
    clips["static_share"] = np.clip(0.5 - 0.2 * activity + rng.normal(0, 0.1, n) + static * 0.4, 0, 1).astype(
        np.float32
    )
    clips["text_area"] = np.where(rng.random(n) < 0.6, 0.0, rng.beta(1, 14, n) + static * 0.05).astype(np.float32)
    clips["sharpness"] = np.exp(5 - 0.4 * activity + rng.normal(0, 0.6, n)).astype(np.float32)
    clips["blockiness"] = rng.beta(2, 12, n).astype(np.float32)
    clips["flicker"] = rng.exponential(0.1, n)
    clips["near_black"] = np.where(rng.random(n) < 0.03, rng.uniform(0.5, 1, n), rng.beta(1, 40, n)).astype(np.float32)
    clips["dup_rank"] = np.where(rng.random(n) < 0.05, 1, 0)
    clips["camera"] = pd.Series(rng.choice(["static", "pan", "zoom"], n), dtype="str")
    status = {a: np.full(n, "ok", object) for a in ("motion", "text", "quality", "dedup")}
    errors = []
    for annotator, step, message in (
        ("text", 41, "no frame could be read: <JPEG>"),
        ("quality", 67, "fewer than 2 frames"),
    ):
        for row in range(5, n, step):
            status[annotator][row] = "error"
            errors.append((row, annotator, message))
    status["motion"][3::97] = "not_run"
    for column, maker in MAKERS.items():
        clips[column] = clips[column].astype("float64" if column in ("flicker", "dup_rank") else "float32")
        clips.loc[status[maker.split(".")[0]] != "ok", column] = np.nan
    clips["score_status"] = [[(a, status[a][i]) for a in status] for i in range(n)]
    return errors


def _annotations(folder: Path, clips: pd.DataFrame, errors: list[tuple[int, str, str]]) -> None:
    keys = pa.schema(list(schema.ANNOTATION_KEYS.items()))
    for annotator in ("motion", "text", "quality", "dedup"):
        message = {row: text for row, name, text in errors if name == annotator}
        status = [dict(s)[annotator] for s in clips["score_status"]]
        rows = [
            {"clip_id": c, "status": s, "error": message.get(i)}
            for i, (c, s) in enumerate(zip(clips["clip_id"], status, strict=True))
        ]
        write_atomic(folder / "annotations" / f"{annotator}.v1" / "all.parquet", pa.Table.from_pylist(rows, keys))
    stale = [{"clip_id": "0" * 32, "status": "error", "error": "an older version's failure"}]
    write_atomic(folder / "annotations" / "motion.v0" / "all.parquet", pa.Table.from_pylist(stale, keys))


def _frames(folder: Path, clips: pd.DataFrame) -> None:
    for video, rows in clips.groupby("video_id"):
        table = []
        for clip in rows.itertuples():
            for k, role in enumerate(("first", "middle", "last")):
                data = cv2.imencode(".jpg", picture(clip, k), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
                table.append({"clip_id": clip.clip_id, "role": role, "pts": k, "jpeg": data})
        write_atomic(folder / "frames" / f"{video}.parquet", pa.Table.from_pylist(table, schema.FRAMES))


def picture(clip: object, k: int) -> np.ndarray:
    """uint8 [H, W, 3]: a gradient sky with a ball that moves by the clip's motion, dark or with text where the scores
    say so.
    """
    seed = int(clip.clip_id[:8], 16)
    h, w = (
        (256, 256 * clip.width // clip.height) if clip.width > clip.height else (256 * clip.height // clip.width, 256)
    )
    hue = np.full((h, w), seed % 180, np.float32)
    light = np.linspace(230, 90, h)[:, None] + 20 * np.sin(np.arange(w) / 17 + seed % 7)[None]
    hsv = np.stack([hue, np.full((h, w), 70 + seed % 110), np.clip(light, 0, 255)], -1).astype(np.uint8)
    image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    motion = float(np.nan_to_num(clip.motion))
    x = int(w * (0.2 + (seed % 40) / 100) + k * 2.5 * motion * min(h, w)) % w
    cv2.circle(image, (x, int(h * 0.62)), h // 7, (seed % 255, seed // 255 % 255, 220), -1, cv2.LINE_AA)
    cv2.rectangle(image, (0, int(h * 0.8)), (w, h), (40, 90 + seed % 80, 60), -1)
    if np.nan_to_num(clip.text_area) > 0.02:
        cv2.putText(
            image,
            "BREAKING NEWS",
            (10, int(h * 0.93)),
            cv2.FONT_HERSHEY_DUPLEX,
            h / 330,
            (255, 255, 255),
            2,
            cv2.LINE_AA,
        )
    return image // 8 if np.nan_to_num(clip.near_black) > 0.5 else image


def _manifest(folder: Path, manifest: pd.DataFrame) -> None:
    kept = manifest["outcome"].eq("kept") if "outcome" in manifest else pd.Series(False, index=manifest.index)
    split = np.where(manifest["video_id"].str[0].isin(list("01")), "val", "train")
    manifest["split"] = pd.Series(split, index=manifest.index).where(kept)
    manifest["shard"] = pd.Series("train-00000.tar", index=manifest.index).where(kept)
    nested = {"score_status": pa.map_(pa.string(), pa.string())}
    arrays = {c: pa.array(manifest[c], nested.get(c), from_pandas=True) for c in manifest.columns}
    pq.write_table(pa.table(arrays), folder / "manifest.parquet")
    tars = [("train-00000.tar", "train", kept & (split == "train")), ("val-00000.tar", "val", kept & (split == "val"))]
    rows = [
        {
            "shard": name,
            "split": part,
            "n_clips": int(m.sum()),
            "total_duration_s": float(manifest["duration_s"][m].sum()),
            "fps": 24.0,
        }
        | {"size_bytes": 12_345_678, "sha256": "ab" * 32, "width": 256, "height": 256, "codec": "h264"}
        for name, part, m in tars
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema.SHARDS), folder / "shards.parquet")


def _run_json(folder: Path, videos: list[dict], manifest: pd.DataFrame) -> None:
    files = pd.Series([v["status"] for v in videos]).value_counts().to_dict()
    clip_counts = counts(manifest) if "outcome" in manifest else {"clips": len(manifest)}
    clip_counts["error_clips"] = clip_counts.pop("error", 0)
    content = {
        "clipmill_version": "0.1.0",
        "versions": {"python": "3.11.9", "av": "18.0", "opencv": "5.0", "ffmpeg": "8.0"},
        "config": {"preset": "default", "scenes": {"detector": "fused"}, "policy": DEFAULT},
        "inputs": ["videos/holiday & <work>"],
        "started_at": "2026-01-02T03:04:05Z",
        "finished_at": "2026-01-02T03:06:17Z",
        "seconds": 132.4,
        "counts": {"files": len(videos)} | files | clip_counts,
        "columns": MAKERS,
        "policy": "default",
        "column_docs": DOCS,
    }
    write_json(folder / "run.json", content)
