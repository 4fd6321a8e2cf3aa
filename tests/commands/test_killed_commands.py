"""Commands that die at any of their steps leave the old set or the new one, and the same command again ends as if
nothing had happened.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import contents, curate, invoke
from helpers.kill_points import states
from helpers.tiny_videos import quick, write_tiny

from clipmill.curate.common.publish import newest
from clipmill.curate.dataset import ClipDataset
from clipmill.curate.policy import decisions
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest, read_run_json

VOLATILE = ("command", "started_at", "finished_at", "seconds", "processed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with two videos and a run of them, exported."""
    folder = tmp_path_factory.mktemp("killed")
    for seed in range(2):
        write_tiny(folder / "in" / f"{seed}.mp4", seed)
    curate("run", folder / "in", "--out", folder / "run", "--export", *quick())
    assert len(ClipDataset(folder / "run")) == 2
    return folder


def view(run: Path) -> dict[str, Any]:
    """All that a reader gets of a run. Every clip must be the one that the manifest says, by its hash."""
    facts = read_run_json(RunDir(run))
    manifest = read_manifest(RunDir(run))
    policy, table, _ = decisions.load(run, facts["policy"])
    clips = ClipDataset(run, verify=True)
    found = {
        "facts": {key: value for key, value in facts.items() if key not in VOLATILE},
        "manifest": hashlib.sha256((run / "manifest.parquet").read_bytes()).hexdigest(),
        "policy": decisions.policy_id(policy),
        "keep": table["keep"].tolist(),
        "shards": pd.read_parquet(newest(run, "shards.parquet"))["shard"].tolist(),
        "videos": pd.read_parquet(newest(run, "videos.parquet"))["relpath"].tolist(),
        "clips": sorted(hashlib.sha256(clips.read(i)).hexdigest() for i in range(len(clips))),
    }
    assert manifest["keep"].to_pylist() == found["keep"]
    assert set(manifest["shard"].drop_null().to_pylist()) <= set(found["shards"])
    rates = set(manifest["export_fps_num"].drop_null().to_pylist())
    assert rates == {facts["config"]["export"]["fps"]}
    return found


def files(run: Path) -> dict[str, bytes]:
    """Every file's bytes but for what tells of times."""
    found = {name: data for name, data in contents(run).items() if name not in ("report.html", "run.jsonl")}
    facts = json.loads(found.pop("run.json"))
    return found | {"facts": repr({key: value for key, value in facts.items() if key not in VOLATILE}).encode()}


def check_kills(template: Path, run: Path, command: tuple) -> int:
    """Look at the run as the command leaves it where it is killed, for every place, and repeat the command after every
    fourth; returns at how many places.
    """

    def put(state: Path) -> None:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(state, run)

    put(template)
    old = view(run)
    killed = states(run, run.with_name("states"), command)
    new, undisturbed = view(run), files(run)
    assert old != new
    for number, state in enumerate(killed):
        put(state)
        assert view(run) in (old, new), number
        if number % 4 == 0:
            curate(*command)
            assert view(run) == new, number
            assert files(run) == undisturbed, number
    return len(killed)


@pytest.mark.slow
def test_an_export_that_dies_anywhere_leaves_the_old_set_or_the_new_one(finished, tmp_path):
    """Seen on the code before: 16 of 18 clips did not decode, two were others."""
    run = shutil.copytree(finished / "run", tmp_path / "run")
    command = ("export", run, "--fps", 12)
    # The clips of the new rate and no tar yet: what is killed from here on needs no worker.
    template = states(run, tmp_path / "first", command, below=run / "shards" / "train-")[0]
    clips = sorted((template / "shards" / ".clips").iterdir())
    assert len(clips) == 2
    assert check_kills(template, run, command) > 20
    curate(*command)  # the last of the kills left its lease
    undisturbed = files(run)
    # A power cut: the name is there, the content is not. On the code before every later export refused.
    for damaged in (b"", clips[0].read_bytes()[:-100], bytes(clips[0].stat().st_size)):
        shutil.rmtree(run)
        shutil.copytree(template, run)
        (run / "shards" / ".clips" / clips[0].name).write_bytes(damaged)
        said = curate(*command).stdout
        assert f"1 of its written clips are damaged, for example {clips[0].name}" in said
        assert files(run) == undisturbed


@pytest.mark.slow
def test_a_filter_that_dies_anywhere_leaves_the_old_decisions_or_the_new_ones(finished, tmp_path):
    run = tmp_path / "run"
    command = ("filter", run, "--set", "duration_s.max=1", "--name", "mine")
    assert check_kills(finished / "run", run, command) > 10


@pytest.mark.slow
def test_a_run_that_dies_while_it_publishes_leaves_the_old_tables_or_the_new_ones(finished, tmp_path):
    run = tmp_path / "run"
    command = ("run", finished / "in", "--out", run, "--no-export", *quick("policy.duration_s.max=1"))
    assert check_kills(finished / "run", run, command) > 10


def test_parts_that_lost_their_content_are_told_and_made_again(finished, tmp_path):
    """Seen on the code before: such a part counted as done, and every later command refused."""
    run = shutil.copytree(finished / "run", tmp_path / "run")
    before = files(run)
    broken = [sorted(run.glob(f"{table}/*-*.parquet"))[0] for table in ("clips", "annotations/motion.v*")]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(broken[1].read_bytes()[:-9])
    said = curate("run", finished / "in", "--out", run, *quick()).stdout
    assert "clips: 1 damaged part is made again" in said
    assert f"{broken[1].parent.relative_to(run)}: 1 damaged part is made again" in said
    assert files(run) == before


def test_a_run_from_before_shards_had_names_of_their_own_goes_on(finished, tmp_path):
    """It opens, its export is up to date, and the next export takes the old tars away."""
    run = shutil.copytree(finished / "run", tmp_path / "run")

    def older(name: str) -> str:
        split, _, number = name.split("-")
        return f"{split}-{number}"

    for table in ("manifest.parquet", "shards.parquet", "shards/index.parquet"):
        frame = pq.read_table(run / table)
        names = pa.array([older(name) for name in frame["shard"].to_pylist()])
        pq.write_table(frame.set_column(frame.column_names.index("shard"), "shard", names), run / table)
    record = json.loads((run / "shards" / "export.json").read_text())
    record["shards"] = [older(name) for name in record["shards"]]
    (run / "shards" / "export.json").write_text(json.dumps(record))
    old = [path.rename(path.with_name(older(path.name))) for path in (run / "shards").glob("*.tar")]
    assert len(ClipDataset(run, verify=True)) == 2
    assert "up to date" in invoke("curate", "export", run).stdout
    curate("export", run, "--fps", 12)
    assert not any(path.exists() for path in old)
    assert view(run)["facts"]["config"]["export"]["fps"] == 12
