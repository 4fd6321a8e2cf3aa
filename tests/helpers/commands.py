"""The three commands as a user runs them, and folders that all test processes share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

SHARED = Path(os.environ.get("CLIPMILL_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def curate(
    *arguments: object, cwd: Path | None = None, check: bool = True, timeout_s: float = 900
) -> subprocess.CompletedProcess:
    """Run the real command in its own process, as a user does."""
    return _command("curate", arguments, cwd, check, timeout_s)


def evaluate(
    *arguments: object, cwd: Path | None = None, check: bool = True, timeout_s: float = 300
) -> subprocess.CompletedProcess:
    """Run the real command in its own process, as a user does."""
    return _command("evaluate", arguments, cwd, check, timeout_s)


def models(
    *arguments: object, cwd: Path | None = None, check: bool = True, timeout_s: float = 300
) -> subprocess.CompletedProcess:
    """Run the real command in its own process, as a user does."""
    return _command("models", arguments, cwd, check, timeout_s)


def _command(
    name: str, arguments: tuple, cwd: Path | None, check: bool, timeout_s: float
) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"clipmill.{name}.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


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
