"""What a checkpoint says of itself: from which config, code, data and seed it came."""

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from clipmill.curate.common.publish import manifest_files
from clipmill.curate.weights import sha256
from clipmill.models.config import ModelConfig
from clipmill.models.training.data.batch_plan import BatchPlan
from clipmill.models.training.data.buckets import Buckets

CARD_VERSION = 1


def run_card(
    config: ModelConfig, run: Path, buckets: Buckets, weights_sha256: str, perceptual: str | None = None
) -> dict[str, Any]:
    """Plain values for card.json."""
    shards = sorted(set(buckets.table["shard"]))
    return {
        "card_version": CARD_VERSION,
        "config": config.as_dict(),
        "versions": _versions(),
        "git_revision": _git_revision(),
        "autoencoder_sha256": weights_sha256,
        "perceptual": perceptual,
        "run": str(run.resolve()),
        "manifest_sha256": sha256(manifest_files(run).switch),
        "shards": _shard_hashes(run, shards),
        "clips_sha256": clips_sha256(buckets),
        "buckets": [{"shape": str(b), "clips": len(b.rows), "batch": b.batch} for b in buckets.buckets],
        "left_out": buckets.left_out,
    }


def clips_sha256(buckets: Buckets) -> str:
    """Of what is trained on: clips, the bytes of their videos, and their buckets. A resumed training must find the
    same.
    """
    table = buckets.table
    lines = [f"{b}:{table['clip_id'].iat[row]}:{table['sha256'].iat[row]}" for b in buckets.buckets for row in b.rows]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def seen_clips(buckets: Buckets, plan: BatchPlan, step: int) -> pa.Table:
    """clip_id, video_id, bucket and how often the first `step` steps drew each clip: which clips a checkpoint has seen
    is a query.
    """
    rows = []
    for number, bucket in enumerate(buckets.buckets):
        counts = plan.times_drawn(number, step)
        for place, row in enumerate(bucket.rows):
            rows.append(_seen(buckets.table, row, str(bucket), int(counts[place])))
    kinds = [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("sha256", pa.string()),
        ("bucket", pa.string()),
        ("times_drawn", pa.int64()),
    ]
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def _seen(table: pd.DataFrame, row: int, bucket: str, times: int) -> dict[str, Any]:
    video = table["video_id"].iat[row] if "video_id" in table else None
    return {
        "clip_id": table["clip_id"].iat[row],
        "video_id": video,
        "sha256": table["sha256"].iat[row],
        "bucket": bucket,
        "times_drawn": times,
    }


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("clipmill", "numpy", "av", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found | {"gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}


def _git_revision() -> str | None:
    """Of this code, where it is a checkout; with `+` where it was changed."""
    here = Path(__file__).parent
    try:
        revision = _git(here, "rev-parse", "HEAD")
        return revision + ("+" if _git(here, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def _shard_hashes(run: Path, names: list[str]) -> dict[str, str | None]:
    """As shards.parquet has them; None for a shard that it does not know."""
    path = run / "shards.parquet"
    known = (
        {r["shard"]: r["sha256"] for r in pq.read_table(path, columns=["shard", "sha256"]).to_pylist()}
        if path.is_file()
        else {}
    )
    return {name: known.get(name) for name in names}
