"""A clip is encoded once: exports of other choices take it from the shards that are there."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from helpers.commands import curate, invoke, one_line

from clipmill.curate.export.packed_clips import PackedClips
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest

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


def test_a_list_that_claims_a_huge_clip_or_a_strange_place_takes_nothing(tiny_run: Path, tmp_path: Path):
    run = RunDir(tiny_run)
    manifest = read_manifest(run)
    place = manifest.filter(pc.is_valid(manifest["shard"])).slice(0, 1)
    row = {"clip_id": place["clip_id"][0].as_py(), "sha256": place["sha256"][0].as_py(), "file": "a.mp4"}
    row["size_bytes"] = place["size"][0].as_py()

    def moved(offset: int) -> pa.Table:
        column = place.column_names.index("offset")
        return place.set_column(column, "offset", pa.array([offset], place.schema.field("offset").type))

    for table, claimed in (
        (place, row | {"size_bytes": 2**62}),
        (place, row | {"file": "../a.mp4"}),
        (moved(-1), row),
        (moved(2**60), row),
        (moved(0), row),
    ):
        assert not PackedClips(run, table).unpack(claimed, tmp_path)
    assert list(tmp_path.iterdir()) == []
    said: list[str] = []
    assert PackedClips(run, place, said.append).unpack(row, tmp_path)
    assert said == ["unpacking from the shards: 0 of 1 clips"], "what takes long says so"


def test_clips_in_shards_need_no_source(tiny_run: Path, tmp_path: Path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    table = pd.read_parquet(run / "videos.parquet")
    table["uri"] = table["uri"].str.replace("/in/", "/away/")
    table.to_parquet(run / "videos.parquet")
    curate("filter", run, "--set", WIDE)
    curate("export", run)
    assert len(exported(run)) == 16
    one_line(invoke("curate", "export", run, "--size", 32), "cannot be reached")
