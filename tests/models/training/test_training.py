"""`models train`: resume to the bit, signals, several processes. Through the real command."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers.commands import invoke, models, one_line
from helpers.ranks import in_two_processes
from helpers.starting import video_options
from helpers.trainings import EACH_STEP, EVALUATED, NANO, log, losses, tensors, validations


def test_a_training_writes_what_it_promises(trained: Path, tiny_run: Path):
    assert {"card.json", "log.jsonl", "autoencoder.safetensors", "conditions.parquet", "steps"} <= {
        p.name for p in trained.iterdir()
    }
    assert sorted(p.name for p in (trained / "steps").iterdir()) == ["00000010", "00000020"]
    assert len(losses(trained)) == 20
    card = json.loads((trained / "card.json").read_text())
    shards = {r["shard"]: r["sha256"] for r in pq.read_table(tiny_run / "shards.parquet").to_pylist()}
    assert card["shards"] == {name: shards[name] for name in card["shards"]}
    assert card["config"]["train"]["steps"] == 20
    seen = pd.read_parquet(trained / "steps" / "00000020" / "clips.parquet")
    manifest = pd.read_parquet(tiny_run / "manifest.parquet").set_index("clip_id")
    assert seen["times_drawn"].sum() == 20 * card["buckets"][0]["batch"] or len(card["buckets"]) > 1
    assert (manifest.loc[seen["clip_id"], "split"] == "train").all()
    assert (manifest.loc[seen["clip_id"], "sha256"].to_numpy() == seen["sha256"].to_numpy()).all()


def test_killed_and_resumed_is_bitwise_the_same(trained: Path, tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    command = [
        sys.executable,
        "-m",
        "clipmill.models.cli",
        "train",
        str(tiny_run),
        *NANO,
        "--out",
        str(out),
        "--steps",
        "20",
        *EACH_STEP,
    ]
    process = subprocess.Popen(
        [*command, "--set", "train.checkpoint_every=10"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (out / "steps" / "00000010" / "state.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.rmtree(out / "steps" / "00000020", ignore_errors=True)  # where the kill came too late
    models("train", tiny_run, *NANO, "--out", out, "--steps", 20, *EACH_STEP, "--set", "train.checkpoint_every=10")
    assert losses(out) == losses(trained)
    mine, theirs = tensors(out, 20), tensors(trained, 20)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_killed_before_its_first_checkpoint_it_begins_anew_and_so_does_its_log(
    trained: Path, tiny_run: Path, tmp_path: Path
):
    """On the code before, the lines of what was lost stayed in the log, before those of the same steps."""
    out = shutil.copytree(trained, tmp_path / "ckpt")
    shutil.rmtree(out / "steps")
    options = (*NANO, "--steps", 20, *EACH_STEP, *EVALUATED, "--set", "train.checkpoint_every=10")
    models("train", tiny_run, *options, "--out", out)
    assert [row["step"] for row in log(out)] == [row["step"] for row in log(trained)]
    assert losses(out) == losses(trained)


def test_a_signal_finishes_the_step_saves_and_exits_0(trained: Path, tiny_run: Path, tmp_path: Path):
    """As a cluster sends it before it takes a machine; SIGTERM is sent in other tests."""
    out = tmp_path / "ckpt"
    command = [
        sys.executable,
        "-m",
        "clipmill.models.cli",
        "train",
        str(tiny_run),
        *NANO,
        "--out",
        str(out),
        "--steps",
        "100000",
        *EACH_STEP,
    ]
    process = subprocess.Popen([*command, "--set", "train.checkpoint_every=0"], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not ((out / "log.jsonl").is_file() and len(losses(out)) >= 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    step = int(next((out / "steps").iterdir()).name)
    assert f"stopped at step {step} of 100000 (SIGUSR1)" in said
    assert len(losses(out)) == step
    again = models("train", tiny_run, *NANO, "--out", out, "--steps", step + 2, *EACH_STEP)
    assert [part["until_step"] for part in json.loads((out / "card.json").read_text())["before"]] == [step]
    assert f"going on from step {step}" in again.stdout
    both = min(20, step + 2)
    assert losses(out)[:both] == losses(trained)[:both]


def test_two_processes_have_the_losses_of_one(trained: Path, image_model: Path, tiny_run: Path, tmp_path: Path):
    kinds = ("ddp", "fsdp")
    partly = ("models", "train", tiny_run, *video_options(image_model, "query+temporal", "train.warm_up=0"), "--out")
    options = (*NANO, "--steps", 10, *EACH_STEP, *EVALUATED)
    in_two_processes(
        tmp_path,
        *(
            ("models", "train", tiny_run, *options, "--out", tmp_path / kind, "--set", f"train.parallel={kind}")
            for kind in kinds
        ),
        *((*partly, tmp_path / "several", "--set", "train.parallel=fsdp", "--steps", k) for k in (1, 2)),
    )
    models(*partly[1:], tmp_path / "one", "--steps", 2)
    mine, theirs = tensors(tmp_path / "several", 2), tensors(tmp_path / "one", 2)
    assert mine.keys() == theirs.keys(), "what is frozen is not in it, and goes on"
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, rtol=1e-3, atol=1e-5)
    for kind in kinds:
        out = tmp_path / kind
        assert json.loads((out / "card.json").read_text())["config"]["train"]["parallel"] == kind
        assert losses(out) == pytest.approx(losses(trained)[:10], rel=1e-5)
        for mine, theirs in zip(validations(out), validations(trained)[:2], strict=True):
            assert mine == {name: pytest.approx(value, rel=1e-5) for name, value in theirs.items()}
        pictures = [cv2.imread(str(folder / "previews" / "00000010.png")).astype(int) for folder in (out, trained)]
        assert abs(pictures[0] - pictures[1]).max() <= 2
        mine, theirs = tensors(out, 10), tensors(trained, 10)
        assert mine.keys() == theirs.keys()
        for name, tensor in theirs.items():
            torch.testing.assert_close(mine[name], tensor, rtol=1e-3, atol=1e-5)


def test_cached_latents_train_as_latents_made_on_the_fly(trained: Path, tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    models("train", tiny_run, *NANO, "--out", out, "--steps", 5, *EACH_STEP, "--set", "data.cache=none")
    assert not (out / "latents").exists()
    assert losses(out) == losses(trained)[:5]


def test_parts_and_loader_processes_change_nothing(trained: Path, tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    options = ("--set", "train.micro_batch=1", "--set", "data.workers=2", "--set", "data.cache=none")
    models("train", tiny_run, *NANO, "--out", out, "--steps", 5, *EACH_STEP, *options)
    assert losses(out) == pytest.approx(losses(trained)[:5], rel=1e-5)


def test_validation_is_the_same_every_time_and_has_a_figure_per_noise_level(
    trained: Path, tiny_run: Path, tmp_path: Path
):
    found = []
    for out in (tmp_path / "a", tmp_path / "b"):
        models(
            "train",
            tiny_run,
            *NANO,
            "--out",
            out,
            "--steps",
            4,
            "--set",
            "train.validate_every=4",
            "--set",
            "train.validation_bins=4",
        )
        found.append(next(row for row in log(out) if "validation_loss" in row))
    assert found[0] == found[1]
    assert len(found[0]["validation_loss_by_level"]) == 4
    assert sum(found[0]["validation_loss_by_level"]) / 4 == pytest.approx(found[0]["validation_loss"])


def test_previews_and_snapshots_change_nothing_and_give_other_averages(trained: Path, tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    settings = ("train.preview_every=3", "train.snapshots=2", "train.log_every=1", "train.validate_every=5")
    extra = [part for setting in settings for part in ("--set", setting)]
    models("train", tiny_run, *NANO, "--out", out, "--steps", 20, *extra)
    assert losses(out) == losses(trained)
    mine, theirs = tensors(out, 20), tensors(trained, 20)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert len(list((out / "previews").iterdir())) == 6
    assert len(list((out / "snapshots").iterdir())) == 2 * 10
    models("sample", out, "--out", tmp_path / "other", "--n", 1, "--average", 0.08)
    table = pd.read_parquet(tmp_path / "other" / "manifest.parquet")
    assert table["average"].tolist() == [0.08]
    one_line(
        invoke("models", "sample", trained, "--out", tmp_path / "x", "--n", 1, "--average", 0.08), "train.snapshots"
    )
