"""Pools of clips for training experiments: folders that share one export and differ in which clips their manifest
places in it.
"""

import shutil
from pathlib import Path

import _truth
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.contract.schema import INDEX

# What curation mends by cropping is no reason to leave a clip out.
MENDED = {"letterbox"}


def clean_clips(videos, run):
    """Ids of the clips that the demo's truth calls clean: one shot, whole or in part, without a planted defect."""
    truth, manifest = pd.read_parquet(videos / "truth.parquet"), pd.read_parquet(run / "manifest.parquet")
    shots = truth[truth["row"] == "shot"].set_index(["file", "shot_index"])
    pairs = _truth.match_clips(truth, pd.read_parquet(run / "videos.parquet"), manifest)
    pairs = pairs[pairs["best_of_clip"] & pairs["shot_index"].notna()]
    inside = pairs["overlap_s"] >= pairs["clip_s"] - 0.1
    found = pairs[inside]
    clean = [not set(shots.loc[(row.file, row.shot_index), "defects"]) - MENDED for row in found.itertuples()]
    return set(found.loc[clean, "clip_id"])


def write_pool(folder, run, keep):
    """A folder to train on or to measure against: the run's shards, and of its manifest the clips in `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = pq.read_table(run / "manifest.parquet")
    chosen = pa.array([clip_id in keep for clip_id in manifest["clip_id"].to_pylist()])
    exported = manifest["shard"].is_valid()
    manifest = manifest.set_column(manifest.column_names.index("keep"), "keep", pa.array(chosen))
    for name in INDEX.names:
        if name not in ("clip_id", "split"):
            at = manifest.column_names.index(name)
            column = manifest[name].combine_chunks()
            values = [
                value if inside else None for value, inside in zip(column.to_pylist(), chosen.to_pylist(), strict=True)
            ]
            manifest = manifest.set_column(at, manifest.field(at), pa.array(values, column.type))
    pq.write_table(manifest, folder / "manifest.parquet")
    shutil.copyfile(run / "shards.parquet", folder / "shards.parquet")
    if not (folder / "shards").is_symlink():
        (folder / "shards").symlink_to((run / "shards").resolve(), target_is_directory=True)
    pool = manifest.filter(pa.array([a and b for a, b in zip(chosen.to_pylist(), exported.to_pylist(), strict=True)]))
    return {"clips": len(pool), "seconds": float(sum(pool["duration_s"].to_pylist()))}


def everything_policy(path):
    """A policy file that keeps every clip."""
    import tomllib

    default = tomllib.loads((Path(__file__).parents[1] / "curate/presets/default.toml").read_text())
    path.write_text(
        "[policy]\n" + "".join(f'{column} = "off"\n' for column in default["policy"] if column != "duration_s")
    )
    return path
