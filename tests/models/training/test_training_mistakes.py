"""What a user can get wrong around `models train`, and data that has lost something: one line, or it goes on."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.commands import contents, invoke, models, one_line
from helpers.trainings import EACH_STEP, EVALUATED, NANO, losses, tensors

from clipmill.curate.common.lock import alone, alone_in_new

BLOCKS = ("--config", "demo-nano", "--set", "autoencoder.options.time_factor=4")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--config", "dmo"), ("no preset 'dmo'", "did you mean 'demo'")),
        (("--config", "demo-nano", "--set", "train.stepz=3"), ("train.stepz", "did you mean 'steps'")),
        (("--config", "demo-nano", "--set", "backbone.options.widht=3"), ("widht", "did you mean 'width'")),
        (("--config", "demo-nano", "--set", "data.where=split = 'nothing'"), ("no clip to train on", "finds none of")),
        (("--config", "demo-nano", "--set", "data.frames=[500]"), ("shorter than 500 frames", "data.frames")),
        (("--config", "demo-nano", "--set", "diffusion.schedule=cosin"), ("no schedule 'cosin'",)),
        (("--config", "latte"), ("trained autoencoder", "--config frame-autoencoder")),
        (("--config", "demo-nano", "--set", "conditioning.micro.columns=['aesthetic']"), ("no column 'aesthetic'",)),
        (("--config", "demo-nano", "--set", "train.muon_learning_rate=0"), ("learning rates are over 0",)),
        (("--config", "demo-nano", "--set", "sample.batch=0"), ("are at least 1",)),
        (("--config", "demo-nano", "--set", "sample.fps=0"), ("fps is a finite number over 0",)),
        ((*BLOCKS, "--set", "data.frames=[5]"), ("blocks of 4 frames", "not 5; the next is 8")),
        ((*BLOCKS, "--set", "data.images_per_clip=1", "--set", "data.cache=none"), ("blocks of 4 frames", "not 1")),
        (
            (*BLOCKS, "--set", "conditioning.frames.given=first"),
            ("single frames cannot be given", "autoencoder.options.time_factor=1"),
        ),
        (
            ("--config", "demo-upscale-nano", "--set", "conditioning.frames.space=3"),
            ("16x16 px", "no multiple of conditioning.frames.space=3"),
        ),
        (
            (
                "--config",
                "demo-nano",
                "--set",
                "conditioning.frames.given=low",
                "--set",
                "data.sizes=['18x20']",
                "--set",
                "autoencoder.options.space_factor=2",
                "--set",
                "conditioning.frames.space=4",
            ),
            ("18x20 px", "conditioning.frames.space=4"),
        ),
        (("--config", "demo-nano", "--device", "tpu"), ("auto, cpu or cuda",)),
    ],
)
def test_a_mistake_is_one_line_that_names_the_fix(
    options: tuple[str, ...], says: tuple[str, ...], tiny_run: Path, tmp_path: Path
):
    one_line(invoke("models", "train", tiny_run, *options, "--out", tmp_path / "ckpt"), *says)
    assert not (tmp_path / "ckpt").exists(), "nothing is written before everything is checked"


def test_a_training_that_diverges_says_so_and_keeps_what_was_good(tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    settings = ("train.learning_rate=1e6", "train.warm_up=0", "train.checkpoint_every=1", "train.validate_every=0")
    sets = [word for text in settings for word in ("--set", text)]
    said = invoke("models", "train", tiny_run, *NANO, *sets, "--steps", 40, "--out", out)
    one_line(said, "diverged", "train.learning_rate (now 1e+06)", "Kept: step", str(out))
    steps = sorted(int(path.name) for path in (out / "steps").iterdir())
    assert 1 <= steps[-1] <= 29
    kept = tensors(out, steps[-1])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values())


def test_more_frames_than_places_were_learned_of_are_refused(tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    learned = ("--set", "backbone.options.time_positions=unit", "--set", "train.validate_every=0")
    assert invoke("models", "train", tiny_run, *NANO, *learned, "--steps", 1, "--out", out).returncode == 0
    longer = invoke("models", "sample", out, "--n", 1, "--frames", 8, "--out", tmp_path / "samples")
    one_line(longer, "learned the places of 4 frames, not of 8", "--frames 4", "time_positions=rotary")
    assert not (tmp_path / "samples").exists()
    as_trained = invoke("models", "sample", out, "--n", 1, "--frames", 3, "--out", tmp_path / "samples")
    assert as_trained.returncode == 0


def test_runs_that_are_none_or_have_lost_their_shards(tiny_run: Path, tmp_path: Path):
    one_line(invoke("models", "train", tmp_path / "nothing", *NANO, "--out", tmp_path / "c"), "there is no folder")
    one_line(invoke("models", "train", tmp_path, *NANO, "--out", tmp_path / "c"), "no manifest.parquet")
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tiny_run / "manifest.parquet", run)
    one_line(invoke("models", "train", run, *NANO, "--out", tmp_path / "c"), "does not hold", "curate export")
    table = pq.read_table(tiny_run / "manifest.parquet")
    position = table.column_names.index("shard")
    pq.write_table(table.set_column(position, "shard", pa.nulls(len(table), pa.string())), run / "manifest.parquet")
    one_line(invoke("models", "train", run, *NANO, "--out", tmp_path / "c"), "no exported clips", "curate export")


def test_a_clip_that_does_not_decode_is_replaced_and_listed(tiny_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    table = pd.read_parquet(run / "manifest.parquet")
    broken = table[(table["split"] == "train") & table["shard"].notna() & (table["export_n_frames"] > 4)].iloc[0]
    with (run / "shards" / broken["shard"]).open("r+b") as file:
        file.seek(int(broken["offset"]))
        file.write(os.urandom(int(broken["size"])))
    for cache in ("latents", "none"):
        out = tmp_path / cache
        done = models("train", run, *NANO, "--out", out, "--steps", 12, *EACH_STEP, "--set", f"data.cache={cache}")
        assert f"clip {broken['clip_id']} does not decode" in done.stdout
        assert "1 clips did not decode" in done.stdout
        assert len(losses(out)) == 12


@pytest.mark.parametrize("workers", [0, 1])
def test_no_clip_that_decodes_is_one_line(workers: int, tiny_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    for row in pd.read_parquet(run / "manifest.parquet").dropna(subset="shard").itertuples():
        with (run / "shards" / row.shard).open("r+b") as file:
            file.seek(int(row.offset))
            file.write(os.urandom(int(row.size)))
    options = ("--config", "frame-autoencoder-nano", "--device", "cpu")
    done = models("train", run, *options, "--out", tmp_path / "c", "--set", f"data.workers={workers}", check=False)
    one_line(done, "no clip of the bucket", "decodes")


def test_a_checkpoint_of_another_training_is_not_overwritten(trained: Path, tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    shutil.copytree(trained, out)
    other = invoke("models", "train", tiny_run, *NANO, "--out", out, "--set", "train.learning_rate=1.0")
    one_line(other, "train.learning_rate", "--out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    one_line(invoke("models", "train", tiny_run, *NANO, "--out", tmp_path / "full"), "no checkpoint", "--out")


def test_a_checkpoint_from_before_a_setting_existed_goes_on(trained: Path, tiny_run: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "ckpt")
    card = json.loads((tmp_path / "ckpt" / "card.json").read_text())
    data = card["config"]["data"]
    assert data.pop("packed") is False
    data["query"], data["validation_query"] = data.pop("where"), data.pop("validation_where")  # as it was called
    (tmp_path / "ckpt" / "card.json").write_text(json.dumps(card))
    models("train", tiny_run, *NANO, "--out", tmp_path / "ckpt", "--steps", 21, *EACH_STEP, *EVALUATED)
    assert len(losses(tmp_path / "ckpt")) == 21
    packed = ("--steps", 22, *EACH_STEP, "--set", "data.packed=true", "--set", "data.tokens=512")
    one_line(
        invoke("models", "train", tiny_run, *NANO, "--out", tmp_path / "ckpt", *packed),
        "was trained with another data.",
    )


def test_a_truncated_checkpoint_is_told_and_made_again(trained: Path, tiny_run: Path, tmp_path: Path):
    """Seen on the code before: the training refused for ever."""
    out = tmp_path / "ckpt"
    shutil.copytree(trained, out)
    for name in ("weights.safetensors", "average-0.050.safetensors"):
        path = out / "steps" / "00000020" / name
        path.write_bytes(path.read_bytes()[:-100])
    one_line(invoke("models", "sample", out, "--out", tmp_path / "s", "--n", 1), "00000020/", "earlier step")
    models("sample", out, "--out", tmp_path / "s", "--n", 1, "--step", 10)
    options = (*NANO, "--steps", 20, *EACH_STEP, *EVALUATED, "--set", "train.checkpoint_every=10")
    said = models("train", tiny_run, *options, "--out", out).stdout
    assert f"cannot read {out / 'steps' / '00000020' / 'weights.safetensors'}" in said
    assert "going on from step 10" in said
    for name, tensor in tensors(trained, 20).items():
        assert torch.equal(tensors(out, 20)[name], tensor), name


def test_where_no_step_is_whole_the_line_says_so(trained: Path, tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    shutil.copytree(trained, out)
    for path in out.glob("steps/*/state.json"):
        path.write_bytes(b"")
    one_line(
        invoke("models", "train", tiny_run, *NANO, "--out", out, "--steps", 30),
        "00000020/state.json",
        "no step before it is whole",
        "--out",
    )


def test_one_command_at_a_time_writes_a_checkpoint_or_samples(trained: Path, tiny_run: Path, tmp_path: Path):
    """Seen on the code before: two trainings ran side by side in one folder, and mixed their logs."""
    out = shutil.copytree(trained, tmp_path / "ckpt")
    before = contents(out)
    with alone(out):
        done = invoke("models", "train", tiny_run, *NANO, "--out", out, "--steps", 30)
    one_line(done, f"another command is at work on {out}, process {os.getpid()} (")
    assert contents(out) == before
    with alone_in_new(tmp_path / "samples"):
        one_line(invoke("models", "sample", trained, "--out", tmp_path / "samples", "--n", 1), "another command")
    assert not (tmp_path / "samples").exists()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs rights that are not here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_at_a_checkpoint_is_one_line_and_nothing_partial_stays(tiny_run: Path, small_disk: Path):
    out = small_disk / "ckpt"
    options = (*NANO, *EACH_STEP, "--set", "data.cache=none", "--steps", 2)
    one_line(models("train", tiny_run, *options, "--out", out, check=False), "the disk is full", "to go on")
    assert list((out / "steps").iterdir()) == []
