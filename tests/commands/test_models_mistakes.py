"""What went wrong once around a training and is mended: clips that the policy drops later, early signals, captions that
nobody reads, older samples in a folder. Through the real command.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.commands import curate, invoke, models, one_line
from safetensors import safe_open

NANO = ("--config", "demo-nano", "--device", "cpu", "--set", "train.validate_every=0")
UNCACHED = ("--set", "data.cache=none", "--set", "data.workers=0")
FEW = ("--frames", 8, "--device", "cpu", "--set", "sample.steps=2")


def clips_of(checkpoint: Path) -> set[str]:
    return set(pd.read_parquet(max((checkpoint / "steps").iterdir()) / "clips.parquet")["clip_id"])


def test_clips_that_the_policy_drops_after_the_export_are_left_out(tiny_run: Path, tmp_path: Path):
    run, out = shutil.copytree(tiny_run, tmp_path / "run"), tmp_path / "ckpt"
    curate("filter", run, "--set", "motion.min=0.1")
    table = pd.read_parquet(run / "manifest.parquet")
    exported = table[table["shard"].notna() & (table["split"] == "train")]
    kept = exported[exported["keep"].eq(True)]
    assert 0 < len(kept) < len(exported)
    done = models("train", run, *NANO, *UNCACHED, "--out", out, "--steps", 1)
    assert f", {len(exported) - len(kept)} dropped by the policy since the export" in done.stdout
    assert clips_of(out) <= set(kept["clip_id"])
    short = json.loads((out / "card.json").read_text())["left_out"].get("too short", 0)
    assert len(clips_of(out)) == len(kept) - short


def test_a_clip_that_is_not_decided_is_not_trained_on(tiny_run: Path, tmp_path: Path):
    run, out = shutil.copytree(tiny_run, tmp_path / "run"), tmp_path / "ckpt"
    table = pd.read_parquet(run / "manifest.parquet")
    chosen = table[table["shard"].notna() & (table["split"] == "train")].iloc[0]
    schema = pq.read_schema(run / "manifest.parquet")
    table["keep"] = table["keep"].astype("boolean").mask(table["clip_id"] == chosen["clip_id"])
    table.to_parquet(run / "manifest.parquet", schema=schema)
    done = models("train", run, *NANO, *UNCACHED, "--out", out, "--steps", 1)
    assert ", 1 not decided by the policy" in done.stdout
    assert chosen["clip_id"] not in clips_of(out)


def test_a_policy_that_drops_every_exported_clip_is_one_line(tiny_run: Path, tmp_path: Path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    curate("filter", run, "--set", "motion.min=1000")
    done = invoke("models", "train", run, *NANO, "--out", tmp_path / "ckpt")
    one_line(done, "no clip to train on", "dropped by the policy since the export", "curate export")
    assert not (tmp_path / "ckpt").exists()


def waited(ready: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_a_signal_before_there_is_anything_ends_in_good_order(tiny_run: Path, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "clipmill.models.cli",
        "train",
        str(tiny_run),
        *NANO,
        "--out",
        str(tmp_path / "ckpt"),
        "--steps",
        "100000",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    waited(lambda: catches(process.pid, signal.SIGTERM), process)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert (
        "stopped before the first step of this command (SIGTERM); there is nothing new to keep; the same command"
        " goes on" in said
    )
    assert not (tmp_path / "ckpt").exists()


def encoding(tiny_run: Path, out: Path, *launcher: str) -> subprocess.Popen:
    """A training that encodes for minutes, as soon as the first shard of latents is there."""
    options = (*NANO, "--out", str(out), "--steps", "2", "--set", "data.windows=400")
    command = [sys.executable, "-m", *launcher, "clipmill.models.cli", "train", str(tiny_run), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    waited(lambda: any(out.glob("latents/*/*.safetensors")), process)
    return process


def windows_in(out: Path) -> set[str]:
    found: set[str] = set()
    for path in out.glob("latents/*/*.safetensors"):
        with safe_open(str(path), "pt") as file:
            found |= {name for name in file.keys() if name.endswith("/mean")}  # noqa: SIM118 - not a mapping
    return found


def test_a_signal_while_latents_are_encoded_keeps_them_and_exits_0(tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    process = encoding(tiny_run, out)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    kept = windows_in(out)
    assert len(kept) > 256, "the shard that was begun is kept as far as it was"
    assert f"(SIGTERM); {len(kept)} of " in said
    assert sorted(path.name for path in out.iterdir()) == ["latents"]
    models("train", tiny_run, *NANO, "--out", out, "--steps", 2, "--set", "data.windows=2")
    assert kept <= windows_in(out)


def test_a_signal_to_one_of_two_processes_stops_the_encoding_of_both(tiny_run: Path, tmp_path: Path):
    out = tmp_path / "ckpt"
    process = encoding(tiny_run, out, "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    chosen = next(pid for pid in workers if "RANK=1" in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    os.kill(chosen, signal.SIGTERM)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said.count("stopped before the first step") == 1
    assert f"(a signal to another process); {len(windows_in(out))} of " in said


def test_after_an_autoencoder_the_next_command_is_one_that_works(tiny_run: Path, tmp_path: Path):
    first, second = tmp_path / "an ae", tmp_path / "model"
    options = ("--config", "frame-autoencoder-nano", "--device", "cpu", "--set", "train.validate_every=0")
    said = models("train", tiny_run, *options, "--out", first, "--steps", 1).stdout
    command = shlex.split(said.partition("Next: ")[2])
    assert command[:2] == ["models", "train"]
    command[command.index("dit")] = "dit-nano"
    command[command.index("--out") + 1] = str(second)
    models(*command[1:], "--steps", 1, "--device", "cpu", "--set", "train.validate_every=0")
    models("sample", second, "--out", tmp_path / "samples", "--n", 1, "--caption", "a red ball", "--device", "cpu")
    assert pd.read_parquet(tmp_path / "samples" / "manifest.parquet")["caption"].tolist() == ["a red ball"]


def test_a_model_without_text_takes_no_captions_and_its_videos_have_none(small_training: Path, tmp_path: Path):
    checkpoint = shutil.copytree(small_training / "ckpt", tmp_path / "ckpt")
    (tmp_path / "captions.txt").write_text("a red ball\n")
    for given in (("--caption", "a red ball"), ("--captions", tmp_path / "captions.txt")):
        done = invoke("models", "sample", checkpoint, "--out", tmp_path / "s", "--n", 1, *FEW, *given)
        one_line(done, "not conditioned on text", "leave --caption")
    assert not (tmp_path / "s").exists()
    # As on a run whose clips have captions.
    trained_on = pd.read_parquet(checkpoint / "conditions.parquet").assign(caption="a red ball")
    trained_on.to_parquet(checkpoint / "conditions.parquet")
    models("sample", checkpoint, "--out", tmp_path / "s", "--n", 2, *FEW)
    assert pd.read_parquet(tmp_path / "s" / "manifest.parquet")["caption"].tolist() == ["", ""]


def test_fewer_samples_than_are_there_take_none_away(small_training: Path, tmp_path: Path):
    out = shutil.copytree(small_training / "samples", tmp_path / "samples")
    before, sheet = pq.read_table(out / "manifest.parquet"), (out / "sheet.png").read_bytes()
    done = models("sample", small_training / "ckpt", "--out", out, "--n", 2, *FEW)
    assert f"{len(before)} videos in {out}, {len(before) - 2} of them from before" in done.stdout
    assert pq.read_table(out / "manifest.parquet").equals(before)
    assert (out / "sheet.png").read_bytes() == sheet
    (out / "000002.mp4").unlink()
    (out / "000001.mp4").unlink()
    models("sample", small_training / "ckpt", "--out", out, "--n", 2, *FEW)
    there = before.filter([True, True, False, True])
    assert pq.read_table(out / "manifest.parquet").equals(there), "what lies there, and nothing else"


def test_the_history_of_a_resumed_training_is_replaced_and_never_rewritten_in_place(
    small_training: Path, demo_run: Path, tmp_path: Path
):
    """A second name of the same file keeps its bytes only where they are not written over."""
    out = shutil.copytree(small_training / "ckpt", tmp_path / "ckpt")
    shutil.rmtree(out / "steps" / "00000002")
    os.link(out / "log.jsonl", tmp_path / "before.jsonl")
    before = (tmp_path / "before.jsonl").read_text()
    models("train", demo_run, *NANO, *UNCACHED, "--out", out, "--steps", 3, "--set", "train.log_every=1")
    assert (tmp_path / "before.jsonl").read_text() == before
    steps = [row["step"] for row in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "loss" in row]
    assert steps == [1, 2, 3]
