"""The three commands as a user runs them, and folders that all test processes share."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

import pytest
from filelock import FileLock

# What a bar is where nobody looks: `title: 3 of 10 unit; note`.
_PROGRESS = re.compile(r"[^:]+: [\d.]+ of [\d.]+ ")
# Options of a command that works in worker processes, as it does for a user.
LOCAL = ("--engine", "local")
SHARED = Path(os.environ.get("CLIPMILL_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def curate(*arguments: object, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess:
    """Run the command in this process: see `invoke`. check: whether it has to succeed."""
    return _succeeds(invoke("curate", *arguments, cwd=cwd)) if check else invoke("curate", *arguments, cwd=cwd)


def evaluate(*arguments: object, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess:
    """Run the command in this process: see `invoke`. check: whether it has to succeed."""
    return _succeeds(invoke("evaluate", *arguments, cwd=cwd)) if check else invoke("evaluate", *arguments, cwd=cwd)


def models(*arguments: object, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess:
    """Run the command in this process: see `invoke`. check: whether it has to succeed."""
    return _succeeds(invoke("models", *arguments, cwd=cwd)) if check else invoke("models", *arguments, cwd=cwd)


def _succeeds(done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    assert done.returncode == 0, f"{done.args} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def invoke(name: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run a command in this process, through the function that its console script calls. A process of its own costs 3
    to 15 CPU seconds more, for imports; test_console runs each command as one. name: curate, evaluate or models.
    """
    words = [name, *map(str, arguments)]
    main = import_module(f"clipmill.{name}.cli").main
    said, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(errors):
        patch.setattr(sys, "argv", words)
        if cwd is not None:
            patch.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(words, ended.value.code or 0, said.getvalue(), errors.getvalue())


def one_line(done: subprocess.CompletedProcess, *says: str) -> str:
    """The line of a user's mistake, after a look at how the command ended. says: what the line must hold."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not _PROGRESS.match(line)]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(("curate: ", "evaluate: ", "models: ")), done.stderr
    missing = [text for text in says if text not in lines[0]]
    assert not missing, lines[0]
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, by its path in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the test processes to need it makes for all of them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made" / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        done = folder.with_suffix(".done")
        if not done.exists():
            make(folder)
            done.touch()
    return folder
