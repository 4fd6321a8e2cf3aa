"""A clip is encoded once: exports of other choices take it from the shards that are there."""

import json
import shutil
from pathlib import Path

import pandas as pd
from helpers.commands import curate, invoke, one_line

WIDE = "width.min=90"  # all clips of eight of the ten videos


def encoded(run: Path) -> int:
    """Videos of which clips were encoded, in all exports of the run."""
    events = map(json.loads, (run / "run.jsonl").read_text().splitlines())
    return sum(event.get("stage") == "export" for event in events)


def exported(run: Path) -> dict[str, str]:
    table = pd.read_parquet(run / "manifest.parquet").dropna(subset="shard")
    return dict(zip(table["clip_id"], table["sha256"], strict=True))


def test_another_choice_of_videos_encodes_only_what_no_shard_holds(tiny_run: Path, tmp_path: Path):
    """On the code before, everything was encoded again once one video came or went."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before, every = encoded(run), exported(run)
    curate("filter", run, "--set", WIDE)
    assert "16 clips in" in curate("export", run).stdout
    assert encoded(run) == before
    wide = exported(run)
    assert len(wide) == 16
    assert wide.items() <= every.items()

    curate("filter", run, "--set", "width.min=0")
    curate("export", run)
    assert encoded(run) == before + 2
    assert exported(run) == every


def test_a_clip_whose_bytes_changed_in_its_shard_is_encoded_again(tiny_run: Path, tmp_path: Path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before, every = encoded(run), exported(run)
    victim = pd.read_parquet(run / "manifest.parquet").query("width == 96").iloc[0]
    with (run / "shards" / victim["shard"]).open("r+b") as shard:
        shard.seek(int(victim["offset"]) + int(victim["size"]) // 2)
        shard.write(b"\x00" * 16)
    curate("filter", run, "--set", WIDE)
    curate("export", run)
    assert encoded(run) == before + 1
    assert exported(run).items() <= every.items()


def test_clips_in_shards_need_no_source(tiny_run: Path, tmp_path: Path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    table = pd.read_parquet(run / "videos.parquet")
    table["uri"] = table["uri"].str.replace("/in/", "/away/")
    table.to_parquet(run / "videos.parquet")
    curate("filter", run, "--set", WIDE)
    curate("export", run)
    assert len(exported(run)) == 16
    one_line(invoke("curate", "export", run, "--size", 32), "cannot be reached")
