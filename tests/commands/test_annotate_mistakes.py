"""Mistakes around `curate annotate`, by the real command: what is good stays, decisions stay, and what failed is
said.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import contents, curate, invoke, one_line

STORED = ("--only", "caption_attributes")


def moved_away(run: Path, gone: Path) -> None:
    """The run as if its videos had been moved."""
    table = pq.read_table(run / "videos.parquet")
    uris = [gone.joinpath(name).as_uri() for name in table["relpath"].to_pylist()]
    at = table.column_names.index("uri")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(uris)), run / "videos.parquet")


def test_videos_that_moved_cost_no_column(demo_copy: Path, tmp_path: Path):
    moved_away(demo_copy, tmp_path / "gone")
    before = contents(demo_copy)
    done = invoke("curate", "annotate", demo_copy, "--only", "motion", "--set", "motion.fps=6")
    said = one_line(done, str(tmp_path / "gone"), f"`curate run NEWPLACE --out {demo_copy}`")
    assert said.startswith("curate: motion must decode videos that are not there any more (")
    assert contents(demo_copy) == before

    # What is content with stored pictures and columns, and what decodes but is up to date, needs no video.
    curate("annotate", demo_copy, "--only", "caption_attributes,motion")
    after = contents(demo_copy)
    parts = {name for name in before if name.startswith("annotations/")}
    assert {name: after[name] for name in parts} == {name: before[name] for name in parts}
    assert any(name.startswith("annotations/caption_attributes.") for name in after)


def test_the_new_place_of_the_videos_is_told_by_a_run(two_videos: Path, tmp_path: Path):
    here, there, run = tmp_path / "here", tmp_path / "there", tmp_path / "run"
    shutil.copytree(two_videos, here)
    settings = ("--no-export", "--set", "annotators=['motion', 'quality', 'phash']", "--set", "policy.text_area=off")
    settings = (*settings, "--set", "scenes.detector=cascade")
    curate("run", here, "--out", run, *settings)
    here.rename(there)
    change = ("annotate", run, "--only", "motion", "--set", "motion.fps=6")
    assert invoke("curate", *change).returncode == 2
    curate("run", there, "--out", run, *settings)
    curate(*change)
    manifest = pd.read_parquet(run / "manifest.parquet")
    assert manifest.loc[manifest["duration_s"] > 1, "motion"].notna().all()


def test_what_failed_is_said_at_the_end(demo_copy: Path):
    wanted = max((demo_copy / "frames").glob("*.parquet"), key=lambda path: pq.read_metadata(path).num_rows)
    table = pq.read_table(wanted)
    at = table.column_names.index("jpeg")
    pq.write_table(
        table.set_column(at, table.schema.field(at), pa.array([b"no picture"] * len(table), pa.binary())), wanted
    )
    said = curate("annotate", demo_copy, "--only", "text", "--set", "text.side_px=160").stdout
    statuses = pd.read_parquet(demo_copy / "manifest.parquet")["score_status"].map(lambda pairs: dict(pairs)["text"])
    n = int((statuses == "error").sum())
    assert n > 0
    assert f"text failed for {n} clip" in said
    assert "--retry-errors" not in said, "the stored pictures would fail again"
    assert json.loads((demo_copy / "run.json").read_text())["failed_scores"]["text"] == n


@pytest.mark.parametrize(
    "words", ["--set motion.min=0.1", "--set motion.drop_lowest=30% --set text_area=off --name mine"]
)
def test_annotate_keeps_the_policy_of_filter(demo_copy: Path, words: str):
    curate("filter", demo_copy, *words.split())
    name = json.loads((demo_copy / "run.json").read_text())["policy"]
    note = json.loads((demo_copy / "decisions" / f"{name}.json").read_text())
    before = pd.read_parquet(demo_copy / "manifest.parquet").set_index("clip_id")
    said = curate("annotate", demo_copy, *STORED).stdout
    assert f"policy {name} stays as `curate filter` left it" in said
    assert json.loads((demo_copy / "decisions" / f"{name}.json").read_text()) == note
    after = pd.read_parquet(demo_copy / "manifest.parquet").set_index("clip_id")
    assert (after["outcome"] == before["outcome"]).all()
    assert json.loads((demo_copy / "run.json").read_text())["policy"] == name


def test_a_kept_target_is_frozen_anew_and_settings_of_annotate_come_on_top(demo_copy: Path, demo_videos: Path):
    curate("filter", demo_copy, "--set", "motion.drop_lowest=30%")
    old = filters(demo_copy)["motion"]
    curate("annotate", demo_copy, "--only", "motion", "--set", "motion.fps=4", "--set", "policy.sharpness.min=0.01")
    new = filters(demo_copy)
    assert new["motion"]["requested"] == old["requested"] == {"drop_lowest": 0.3}
    assert new["motion"]["min"] != old["min"]
    scores = pd.read_parquet(demo_copy / "manifest.parquet")["motion"].dropna().sort_values().to_numpy()
    assert new["motion"]["min"] == pytest.approx(float(scores[int(0.3 * len(scores))]))
    assert new["sharpness"]["min"] == pytest.approx(0.01)


def test_without_a_filter_nothing_is_said(demo_copy: Path):
    assert "curate filter" not in curate("annotate", demo_copy, *STORED).stdout


def filters(run: Path) -> dict[str, dict]:
    return {row["column"]: row for row in json.loads((run / "decisions" / "default.json").read_text())["filters"]}
