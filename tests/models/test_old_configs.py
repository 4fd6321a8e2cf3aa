"""Presets and checkpoints from before conditions were SQL: a plain condition is translated, all else is refused, and
nothing of it is run.
"""

import json
import math
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.commands import invoke

from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.models.config import from_dict, load
from clipmill.models.settings.training import DataConfig
from clipmill.models.training.data.buckets import make_buckets

PRESET = """
base = "demo"
[data]
query = "split == 'train' and motion > 0.02"
validation_query = "split = 'val'"
"""


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """A preset file of before."""
    path = tmp_path / "old.toml"
    path.write_text(PRESET)
    return path


def test_an_old_preset_means_the_same_in_sql(preset: Path, tmp_path: Path):
    data = load(str(preset)).data
    assert data.where == "split = 'train' AND motion > 0.02"
    assert data.validation_where == load("demo").data.validation_where == "split = 'val'"
    newer = tmp_path / "newer.toml"
    newer.write_text(f'base = "{preset}"\n[data]\nwhere = "motion > 0.5"\n')
    assert load(str(newer)).data.where == "motion > 0.5", "what is built on an old one has the last word"
    assert load(str(preset), ["data.where=split = 'val'"]).data.where == "split = 'val'"
    assert load("demo-nano", ["data.query=motion.notna() | keep"]).data.where == "motion IS NOT NULL OR keep"
    assert load("demo-nano", ["data.query="]).data.where == ""


def test_an_old_checkpoint_has_the_config_of_a_new_one():
    now = load("demo-nano")
    before = json.loads(json.dumps(now.as_dict()))
    before["data"]["query"], before["data"]["validation_query"] = "split = 'train'", 'split == "val"'
    del before["data"]["where"], before["data"]["validation_where"]
    assert from_dict(before) == now


@pytest.mark.parametrize("key", ["query", "validation_query"])
def test_a_preset_that_would_run_code_is_refused(
    key: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("hostile.toml").write_text(
        f"base = \"demo\"\n[data]\n{key} = \"@__import__('os').system('touch written') == 0\"\n"
    )
    done = invoke("models", "train", tiny_run, "--config", "hostile.toml", "--out", "ckpt", "--device", "cpu")
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert f"data.{key}, now data." in line
    assert "conditions are SQL now" in line
    assert os.listdir() == ["hostile.toml"]


def test_a_checkpoint_that_would_run_code_is_refused(
    small_training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(small_training / "ckpt", tmp_path / "ckpt")
    monkeypatch.chdir(tmp_path)
    card = json.loads(Path("ckpt/card.json").read_text())
    card["config"]["data"]["query"] = "@__import__('os').system('touch written') == 0"
    card["config"]["data"].pop("where", None)
    Path("ckpt/card.json").write_text(json.dumps(card))
    done = invoke("models", "sample", "ckpt", "--n", 1, "--out", "samples", "--device", "cpu")
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert "data.query, now data.where: the condition" in line
    assert os.listdir() == ["ckpt"]


def test_both_names_at_once_are_one_line():
    tree = json.loads(json.dumps(load("demo-nano").as_dict()))
    tree["data"]["query"] = "keep"
    with pytest.raises(UserError, match=r"^data.query is called data.where now: give one of them$"):
        from_dict(tree)


def test_a_condition_of_training_can_look_into_every_column(demo_run: Path):
    manifest = read_exported(RunDir(demo_run))
    found = make_buckets(manifest, "margins['motion'] > 0 AND len(failed_filters) = 0", DataConfig(), math.prod).table
    plain = pd.read_parquet(demo_run / "manifest.parquet")
    still = plain["margins"].map(lambda pairs: dict(pairs).get("motion", -1) > 0)
    expected = plain[still & plain["keep"] & plain["shard"].notna()]
    assert 0 < len(found) < len(manifest)
    assert list(found["clip_id"]) == list(expected["clip_id"])
