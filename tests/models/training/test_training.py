"""`models train`: resume to the bit, signals, several processes, and what a user can get wrong. Through the real
command.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.commands import invoke, models, one_line
from safetensors.torch import load_file

from clipmill.models.config import load, preset_names

NANO = ("--config", "demo-nano", "--device", "cpu")
EACH_STEP = ("--set", "train.log_every=1", "--set", "train.validate_every=0")
# An odd number of clips, for two processes.
EVALUATED = ("--set", "train.validate_every=5", "--set", "train.validation_clips=3", "--set", "train.preview_every=10")


def losses(checkpoint: Path) -> list[float]:
    return [row["loss"] for row in log(checkpoint) if "loss" in row]


def validations(checkpoint: Path) -> list[dict]:
    return [row for row in log(checkpoint) if "validation_loss" in row]


def log(checkpoint: Path) -> list[dict]:
    return [json.loads(line) for line in (checkpoint / "log.jsonl").read_text().splitlines()]


def tensors(checkpoint: Path, step: int) -> dict[str, torch.Tensor]:
    folder = checkpoint / "steps" / f"{step:08d}"
    return {
        f"{path.name}/{name}": t for path in sorted(folder.glob("*.safetensors")) for name, t in load_file(path).items()
    }


@pytest.fixture(scope="session")
def trained(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps of the smallest demo model, in one go. Read-only."""
    out = tmp_path_factory.mktemp("trained") / "ckpt"
    models(
        "train",
        demo_run,
        *NANO,
        "--out",
        out,
        "--steps",
        20,
        *EACH_STEP,
        *EVALUATED,
        "--set",
        "train.checkpoint_every=10",
    )
    return out


def test_a_training_writes_what_it_promises(trained: Path, demo_run: Path):
    assert {"card.json", "log.jsonl", "autoencoder.safetensors", "conditions.parquet", "steps"} <= {
        p.name for p in trained.iterdir()
    }
    assert sorted(p.name for p in (trained / "steps").iterdir()) == ["00000010", "00000020"]
    assert len(losses(trained)) == 20
    card = json.loads((trained / "card.json").read_text())
    shards = {r["shard"]: r["sha256"] for r in pq.read_table(demo_run / "shards.parquet").to_pylist()}
    assert card["shards"] == {name: shards[name] for name in card["shards"]}
    assert card["config"]["train"]["steps"] == 20
    seen = pd.read_parquet(trained / "steps" / "00000020" / "clips.parquet")
    manifest = pd.read_parquet(demo_run / "manifest.parquet").set_index("clip_id")
    assert seen["times_drawn"].sum() == 20 * card["buckets"][0]["batch"] or len(card["buckets"]) > 1
    assert (manifest.loc[seen["clip_id"], "split"] == "train").all()
    assert (manifest.loc[seen["clip_id"], "sha256"].to_numpy() == seen["sha256"].to_numpy()).all()


def test_killed_and_resumed_is_bitwise_the_same(trained: Path, demo_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    command = [
        sys.executable,
        "-m",
        "clipmill.models.cli",
        "train",
        str(demo_run),
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
    models("train", demo_run, *NANO, "--out", out, "--steps", 20, *EACH_STEP, "--set", "train.checkpoint_every=10")
    assert losses(out) == losses(trained)
    mine, theirs = tensors(out, 20), tensors(trained, 20)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_finishes_the_step_saves_and_exits_0(number: int, trained: Path, demo_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    command = [
        sys.executable,
        "-m",
        "clipmill.models.cli",
        "train",
        str(demo_run),
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
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    step = int(next((out / "steps").iterdir()).name)
    assert f"stopped at step {step} of 100000 ({signal.Signals(number).name})" in said
    assert len(losses(out)) == step
    again = models("train", demo_run, *NANO, "--out", out, "--steps", step + 2, *EACH_STEP)
    assert [part["until_step"] for part in json.loads((out / "card.json").read_text())["before"]] == [step]
    assert f"going on from step {step}" in again.stdout
    both = min(20, step + 2)
    assert losses(out)[:both] == losses(trained)[:both]


def test_two_processes_have_the_losses_of_one(trained: Path, demo_run: Path, tmp_path: Path):
    for parallel in ("ddp", "fsdp"):
        out = tmp_path / parallel
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "clipmill.models.cli",
            "train",
        ]
        options = [
            str(demo_run),
            *NANO,
            "--out",
            str(out),
            "--steps",
            "10",
            *EACH_STEP,
            "--set",
            f"train.parallel={parallel}",
        ]
        options += EVALUATED
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert losses(out) == pytest.approx(losses(trained)[:10], rel=1e-5)
        for mine, theirs in zip(validations(out), validations(trained)[:2], strict=True):
            assert mine == {name: pytest.approx(value, rel=1e-5) for name, value in theirs.items()}
        pictures = [cv2.imread(str(folder / "previews" / "00000010.png")).astype(int) for folder in (out, trained)]
        assert abs(pictures[0] - pictures[1]).max() <= 2
        mine, theirs = tensors(out, 10), tensors(trained, 10)
        assert mine.keys() == theirs.keys()
        for name, tensor in theirs.items():
            torch.testing.assert_close(mine[name], tensor, rtol=1e-3, atol=1e-5)


def test_cached_latents_train_as_latents_made_on_the_fly(trained: Path, demo_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    models("train", demo_run, *NANO, "--out", out, "--steps", 5, *EACH_STEP, "--set", "data.cache=none")
    assert not (out / "latents").exists()
    assert losses(out) == losses(trained)[:5]


def test_parts_and_loader_processes_change_nothing(trained: Path, demo_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    options = ("--set", "train.micro_batch=1", "--set", "data.workers=2", "--set", "data.cache=none")
    models("train", demo_run, *NANO, "--out", out, "--steps", 5, *EACH_STEP, *options)
    assert losses(out) == pytest.approx(losses(trained)[:5], rel=1e-5)


def test_validation_is_the_same_every_time_and_has_a_figure_per_noise_level(
    trained: Path, demo_run: Path, tmp_path: Path
):
    found = []
    for out in (tmp_path / "a", tmp_path / "b"):
        models(
            "train",
            demo_run,
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--config", "dmo"), ("no preset 'dmo'", "did you mean 'demo'")),
        (("--config", "demo-nano", "--set", "train.stepz=3"), ("train.stepz", "did you mean 'steps'")),
        (("--config", "demo-nano", "--set", "backbone.options.widht=3"), ("widht", "did you mean 'width'")),
        (("--config", "demo-nano", "--set", "data.query=split = 'nothing'"), ("no clip to train on", "finds none of")),
        (("--config", "demo-nano", "--set", "data.frames=[500]"), ("shorter than 500 frames", "data.frames")),
        (("--config", "demo-nano", "--set", "diffusion.schedule=cosin"), ("no schedule 'cosin'",)),
        (("--config", "latte"), ("trained autoencoder", "--config frame-autoencoder")),
        (("--config", "demo-nano", "--set", "conditioning.micro.columns=['aesthetic']"), ("no column 'aesthetic'",)),
        (("--config", "demo-nano", "--device", "tpu"), ("auto, cpu or cuda",)),
    ],
)
def test_a_mistake_is_one_line_that_names_the_fix(
    options: tuple[str, ...], says: tuple[str, ...], demo_run: Path, tmp_path: Path
):
    one_line(invoke("models", "train", demo_run, *options, "--out", tmp_path / "ckpt"), *says)
    assert not (tmp_path / "ckpt").exists(), "nothing is written before everything is checked"


def test_runs_that_are_none_or_have_lost_their_shards(demo_run: Path, tmp_path: Path):
    one_line(invoke("models", "train", tmp_path / "nothing", *NANO, "--out", tmp_path / "c"), "there is no folder")
    one_line(invoke("models", "train", tmp_path, *NANO, "--out", tmp_path / "c"), "no manifest.parquet")
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(demo_run / "manifest.parquet", run)
    one_line(invoke("models", "train", run, *NANO, "--out", tmp_path / "c"), "does not hold", "curate export")
    table = pq.read_table(demo_run / "manifest.parquet")
    position = table.column_names.index("shard")
    pq.write_table(table.set_column(position, "shard", pa.nulls(len(table), pa.string())), run / "manifest.parquet")
    one_line(invoke("models", "train", run, *NANO, "--out", tmp_path / "c"), "no exported clips", "curate export")


def test_a_clip_that_does_not_decode_is_replaced_and_listed(demo_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(demo_run, run)
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
def test_no_clip_that_decodes_is_one_line(workers: int, demo_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(demo_run, run)
    for shard in (run / "shards").glob("*.tar"):
        shard.write_bytes(os.urandom(shard.stat().st_size))
    options = ("--config", "frame-autoencoder-nano", "--device", "cpu")
    done = models("train", run, *options, "--out", tmp_path / "c", "--set", f"data.workers={workers}", check=False)
    one_line(done, "no clip of the bucket", "decodes")


def test_a_size_that_cannot_be_made_leaves_nothing_behind(trained: Path, tmp_path: Path):
    one_line(
        invoke("models", "sample", trained, "--out", tmp_path / "s", "--n", 1, "--size", "17x16"),
        "multiples of 4 px",
    )
    assert not (tmp_path / "s").exists()
    models("sample", trained, "--out", tmp_path / "s", "--n", 1)


def test_a_checkpoint_of_another_training_is_not_overwritten(trained: Path, demo_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    shutil.copytree(trained, out)
    other = invoke("models", "train", demo_run, *NANO, "--out", out, "--set", "train.learning_rate=1.0")
    one_line(other, "train.learning_rate", "--out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    one_line(invoke("models", "train", demo_run, *NANO, "--out", tmp_path / "full"), "no checkpoint", "--out")


def test_a_checkpoint_from_before_a_setting_existed_goes_on(trained: Path, demo_run: Path, tmp_path: Path):
    shutil.copytree(trained, tmp_path / "ckpt")
    card = json.loads((tmp_path / "ckpt" / "card.json").read_text())
    assert card["config"]["data"].pop("packed") is False
    (tmp_path / "ckpt" / "card.json").write_text(json.dumps(card))
    models("train", demo_run, *NANO, "--out", tmp_path / "ckpt", "--steps", 21, *EACH_STEP, *EVALUATED)
    assert len(losses(tmp_path / "ckpt")) == 21
    packed = ("--steps", 22, *EACH_STEP, "--set", "data.packed=true", "--set", "data.tokens=512")
    one_line(
        invoke("models", "train", demo_run, *NANO, "--out", tmp_path / "ckpt", *packed),
        "was trained with another data.",
    )


def test_a_truncated_checkpoint_is_one_line(trained: Path, demo_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    shutil.copytree(trained, out)
    for name in ("weights.safetensors", "average-0.050.safetensors"):
        path = out / "steps" / "00000020" / name
        path.write_bytes(path.read_bytes()[:-100])
    one_line(
        invoke("models", "train", demo_run, *NANO, "--out", out, "--steps", 30),
        "weights.safetensors",
        "earlier step",
    )
    one_line(
        invoke("models", "sample", out, "--out", tmp_path / "s", "--n", 1),
        "average-0.050.safetensors",
        "earlier step",
    )
    models("sample", out, "--out", tmp_path / "s", "--n", 1, "--step", 10)


def test_samples_are_a_set_that_evaluate_reads_and_the_same_each_time(trained: Path, tmp_path: Path):
    first, again = tmp_path / "first", tmp_path / "again"
    models("sample", trained, "--out", first, "--n", 5, "--seed", 7, "--set", "sample.batch=2")
    elsewhere = shutil.copytree(trained, tmp_path / "elsewhere")
    models("sample", elsewhere, "--out", again, "--n", 3, "--seed", 7, "--set", "sample.batch=8")
    table = pd.read_parquet(first / "manifest.parquet")
    assert len(table) == 5
    same = pd.read_parquet(again / "manifest.parquet")["clip_id"].tolist()
    assert same == table["clip_id"].tolist()[:3], (
        "ids, and so the order that evaluate takes them in, do not know where the checkpoint lies"
    )
    models("sample", elsewhere, "--out", first, "--n", 5, "--seed", 7)
    assert json.loads((first / "sampling.json").read_text())["checkpoint"] == str(elsewhere), (
        "a moved checkpoint goes on, and is named"
    )
    assert (first / "sheet.png").is_file()
    from clipmill.evaluate.sets import open_set

    videos = open_set(first).videos
    assert len(videos) == 5
    with videos[0].open() as frames:
        times = frames.times_s()
        pictures = frames.read(range(len(times)))
    assert pictures.shape == (4, 16, 16, 3)
    for name in ("000000.mp4", "000001.mp4", "000002.mp4"):
        assert (first / name).read_bytes() == (again / name).read_bytes(), (
            "a video depends on seed and number, not on its batch"
        )
    other = invoke("models", "sample", trained, "--out", first, "--n", 5, "--seed", 8)
    one_line(other, "other settings", "--out")
    (first / "000003.mp4").unlink()
    models("sample", trained, "--out", first, "--n", 6, "--seed", 7)
    assert sorted(p.name for p in first.glob("*.mp4")) == [f"{k:06d}.mp4" for k in range(6)]


def test_info_tells_model_data_and_clips(trained: Path):
    card = models("info", trained).stdout
    assert "preset          demo-nano" in card
    assert "saved: 10, 20" in card
    clips = models("info", trained, "--clips").stdout
    seen = pd.read_parquet(trained / "steps" / "00000020" / "clips.parquet")
    assert f"{(seen['times_drawn'] > 0).sum()} of {len(seen)} clips" in clips


def test_the_list_names_every_preset_and_its_property():
    said = models("list").stdout
    for name in preset_names():
        config = load(name)
        assert f"{name} " in said
        assert config.about in said
        assert config.property
        assert config.property in said


@pytest.mark.parametrize("name", ["frame-autoencoder", "causal-autoencoder"])
def test_an_autoencoder_is_trained_and_a_diffusion_model_on_its_latents(name: str, demo_run: Path, tmp_path: Path):
    first, options = tmp_path / "ae", ("--config", f"{name}-nano", "--device", "cpu", *EACH_STEP)
    models("train", demo_run, *options, "--out", first, "--steps", 2, "--set", "train.checkpoint_every=2")
    models("train", demo_run, *options, "--out", first, "--steps", 6)
    rows = log(first)
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert "discriminator" not in rows[1]
    assert "discriminator" in rows[2], "the discriminator plays from its third step on"
    kind, frames = name.removesuffix("-autoencoder"), 5
    model = (
        "--config",
        "latte-nano",
        "--set",
        f"autoencoder.kind={kind}",
        "--set",
        f"autoencoder.weights={first}",
        "--device",
        "cpu",
    )
    out = tmp_path / "model"
    models("train", demo_run, *model, "--set", f"data.frames=[{frames}]", "--out", out, "--steps", 3, *EACH_STEP)
    assert len(losses(out)) == 3
    models("sample", out, "--out", tmp_path / "samples", "--n", 2)
    shutil.rmtree(first)
    models("sample", out, "--out", tmp_path / "again", "--n", 2)
    assert (tmp_path / "samples/000001.mp4").read_bytes() == (tmp_path / "again/000001.mp4").read_bytes(), (
        "a checkpoint is whole by itself"
    )
    wrong = invoke("models", "sample", first, "--out", tmp_path / "x")
    one_line(wrong, "no checkpoint")


def test_only_the_layers_along_time_of_a_trained_decoder_are_trained(demo_run: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    options = ("--config", "frame-autoencoder-nano", "--device", "cpu", *EACH_STEP)
    models("train", demo_run, *options, "--out", first, "--steps", 2)
    begun = ("--set", f"autoencoder.weights={first}", "--set", "autoencoder_loss.decoder_only=true")
    models("train", demo_run, *options, *begun, "--out", second, "--steps", 2)
    before, after = load_file(first / "autoencoder.safetensors"), load_file(second / "autoencoder.safetensors")
    assert set(before) < set(after)
    images = [n for n in before if n not in ("latent_mean", "latent_std")]
    assert all(torch.equal(before[n], after[n]) for n in images)
    assert any(bool(after[n].abs().sum() > 0) for n in set(after) - set(before) if n.startswith("over_time"))


@pytest.mark.parametrize("name", ["vdm", "svd-small", "dit"])
def test_systems_train_validate_and_sample_through_the_command(
    name: str, demo_run: Path, demo_videos: Path, tmp_path: Path
):
    """Appended images; a first frame and numbers from the manifest; buckets of two shapes with captions."""
    out = tmp_path / "ckpt"
    options = ("--set", "train.validate_every=2", "--set", "train.preview_every=2", "--set", "train.validation_clips=2")
    models("train", demo_run, "--config", f"{name}-nano", "--out", out, "--steps", 2, *options, "--device", "cpu")
    assert any("validation_loss" in row for row in log(out))
    assert (out / "previews" / "00000002.png").is_file() == (name != "svd-small"), "a first frame has to be given"
    one, two = sorted(demo_videos.glob("*.mp4"))[:2]
    first = ("--first", one) if name == "svd-small" else ()
    models("sample", out, "--out", tmp_path / "samples", "--n", 2, *first)
    table = pd.read_parquet(tmp_path / "samples" / "manifest.parquet")
    known = pd.read_parquet(out / "conditions.parquet")
    if name == "svd-small":
        assert set(table["number_motion"]) <= set(known["number_motion"])
        one_line(invoke("models", "sample", out, "--out", tmp_path / "none", "--n", 1), "--first")
        unknown = invoke("models", "sample", out, "--out", tmp_path / "none", "--n", 1, *first, "--number", "beauty=3")
        one_line(unknown, "not conditioned on 'beauty'", "fps, motion")
        models(
            "sample", out, "--out", tmp_path / "samples", "--n", 3, "--first", shutil.copy(one, tmp_path / "moved.mp4")
        )
        shutil.copy(two, tmp_path / "moved.mp4")
        changed = invoke(
            "models", "sample", out, "--out", tmp_path / "samples", "--n", 4, "--first", tmp_path / "moved.mp4"
        )
        one_line(changed, "other settings", "--out")
    else:
        one_line(
            invoke("models", "sample", out, "--out", tmp_path / "none", "--n", 1, "--first", demo_videos),
            "leave --first out",
        )


def test_previews_and_snapshots_change_nothing_and_give_other_averages(trained: Path, demo_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    settings = ("train.preview_every=3", "train.snapshots=2", "train.log_every=1", "train.validate_every=5")
    extra = [part for setting in settings for part in ("--set", setting)]
    models("train", demo_run, *NANO, "--out", out, "--steps", 20, *extra)
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
