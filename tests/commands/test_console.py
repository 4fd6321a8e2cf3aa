"""How the commands end: a mistake is one line, Ctrl-C says how to go on."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from helpers.commands import LOCAL, invoke, one_line
from helpers.tiny_videos import quick, write_tiny

from clipmill.curate.common import console

LIMIT_S = 240


VIDEOS = Path(__file__).parents[1] / "data" / "run_before_move" / "videos"


def process(name: str, *words: object, cwd: Path) -> subprocess.CompletedProcess:
    """The command in a process of its own, as a shell starts it."""
    command = [sys.executable, "-m", f"clipmill.{name}.cli", *map(str, words)]
    as_usual = {key: value for key, value in os.environ.items() if key != "CLIPMILL_ENGINE"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, env=as_usual)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("curate", ("run", "nowhere", "--out", "run")),
        ("evaluate", ("compare", "nowhere.parquet")),
        ("models", ("train", "nowhere", "--config", "demoo", "--out", "ckpt")),
    ],
)
def test_a_process_of_its_own_ends_as_the_same_command_in_this_one(name: str, words: tuple[str, ...], tmp_path: Path):
    """Which is where nearly all tests run it."""
    done = process(name, *words, cwd=tmp_path)
    one_line(done)
    here = invoke(name, *words, cwd=tmp_path)
    assert (here.returncode, here.stdout, here.stderr) == (done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_whole_story_in_processes_of_their_own(tmp_path: Path):
    """Each command that works on videos, as a person types it, one after the other."""
    score = "run samples --features mini --set clip_frames=8 --set fps=8 --out scores.parquet"
    story = (
        (f"curate run {VIDEOS} --out run --no-export --workers 1", "2 kept"),
        ("curate filter run --set motion.min=0", "2 kept"),
        ("curate annotate run --only motion", "2 kept"),
        ("curate export run --size 64", "2 clips in"),
        ("curate report run", "report.html"),
        ("curate cuts run", "all"),
        (
            "models train run --config demo-nano --set data.frames=[8] --steps 1 --out ckpt --device cpu",
            "Checkpoint: ckpt",
        ),
        ("models info ckpt", "demo-nano"),
        ("models sample ckpt --n 2 --out samples --device cpu", "2 videos in samples"),
        (f"evaluate fvd {score}", "added to scores.parquet"),
        ("evaluate compare scores.parquet", "samples"),
        ("evaluate report scores.parquet --out page.html", "page.html"),
    )
    for line, says in story:
        done = process(*line.split(), cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert says in done.stdout, f"{line}\n{done.stdout}"
        assert "Traceback" not in done.stderr


def interrupt(arguments: list[object], at_work: Callable[[], bool], errors: Path) -> tuple[int, str]:
    """Start the real command, press Ctrl-C (a signal to the whole group, as a terminal does) once it is at work: exit
    code and stderr.
    """
    name, *rest = map(str, arguments)
    # What pytest was started from may ignore the signal, and children inherit that: the handler of a terminal's Python
    # is put back.
    handler = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = f"{handler}; from clipmill.{name}.cli import main; main()"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", start, *rest],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            cwd=errors.parent,
        )
        try:
            until = time.monotonic() + LIMIT_S
            while not at_work():
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < until, "it did not begin to work"
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(LIMIT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, errors.read_text()


def check_interrupted(name: str, done: tuple[int, str]) -> None:
    code, stderr = done
    assert code == 130, stderr
    assert stderr.strip().splitlines()[-1] == f"{name}: interrupted; run the same command again to go on"
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_ctrl_c_in_curate_demo(tmp_path: Path):
    out = tmp_path / "demo"  # hours of work, of which the first file is begun
    done = interrupt(["curate", "demo", out, "--minutes", 500], lambda: any(out.glob("*.*")), tmp_path / "stderr")
    check_interrupted("curate", done)


@pytest.mark.slow
def test_ctrl_c_in_curate_run(tmp_path: Path):
    many = tmp_path / "videos"  # far more work than the moment between the first result and the signal
    video = write_tiny(tmp_path / "one.mp4", n_frames=100).read_bytes()
    many.mkdir()
    for copy in range(2000):
        (many / f"{copy}.mp4").write_bytes(video + copy.to_bytes(2, "big"))
    out = tmp_path / "run"
    arguments = ["curate", "run", many, "--out", out, *LOCAL, *quick()]
    done = interrupt(arguments, lambda: any((out / "videos").glob("*.parquet")), tmp_path / "stderr")
    check_interrupted("curate", done)


@pytest.mark.slow
def test_ctrl_c_in_evaluate(tmp_path: Path):
    np.save(tmp_path / "videos.npy", np.random.default_rng(0).integers(0, 256, (6000, 16, 16, 16, 3), np.uint8))
    cache = tmp_path / "cache"
    arguments = [
        "evaluate",
        "fvd",
        "videos.npy",
        "videos.npy",
        "--features",
        "mini",
        "--set",
        "n_real=0",
        "--cache",
        cache,
    ]
    check_interrupted(
        "evaluate", interrupt(arguments, lambda: any(cache.glob("features/*/*.parquet")), tmp_path / "stderr")
    )


def test_ctrl_c_in_models_sample(small_training: Path, tmp_path: Path):
    out = tmp_path / "samples"
    arguments = ["models", "sample", small_training / "ckpt", "--out", out, "--n", 5000, "--device", "cpu"]
    check_interrupted("models", interrupt(arguments, lambda: any(out.glob("*.mp4")), tmp_path / "stderr"))


@pytest.mark.parametrize("raised", [KeyboardInterrupt, typer.Abort, EOFError])
def test_every_way_in_which_typer_passes_ctrl_c_on(
    raised: type[BaseException], capsys: pytest.CaptureFixture, monkeypatch
):
    """Later typer returns 130, earlier ones raise Abort; end of input is an end too."""
    app = typer.Typer()

    @app.command()
    def work() -> None:
        raise raised

    monkeypatch.setattr(sys, "argv", ["work"])
    with pytest.raises(SystemExit) as ended:
        console.run_app(app, "work")
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip().splitlines() == ["work: interrupted; run the same command again to go on"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EROFS, "Read-only file system", "run/a"), "run/a: Read-only file system; once the disk can be"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error; once the disk can be written again"),
        (OSError(errno.ENOENT, "No such file or directory", "run/a"), "run/a: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; free some space"),
        (FileNotFoundError("model/conditions.parquet"), "model/conditions.parquet: No such file or directory"),
        (OSError("Couldn't deserialize thrift"), "Couldn't deserialize thrift"),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, line: str, capsys, monkeypatch):
    """On the code before, an error without the name of its file was a traceback, and no line said how to go on."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def refused() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["curate"])
    with pytest.raises(SystemExit) as ended:
        console.run_app(app, "curate")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"curate: {line}")
