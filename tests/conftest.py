"""Fixtures shared by all tests. Real footage lies in a folder `shared/` beside the checkout; tests that need it skip without it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO_MINUTES = 2
SHARED = Path(os.environ.get("CLIPMILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """The folder of labelled real videos (dev/, hard/, cuts.csv)."""
    folder = SHARED / "videos"
    if not folder.is_dir():
        pytest.skip(f"no real footage at {folder} (set CLIPMILL_SHARED)")
    return folder


def curate(*arguments: object, cwd: Path | None = None, check: bool = True, timeout_s: float = 900) -> subprocess.CompletedProcess:
    """Run the real command in its own process, as a user does."""
    return _command("curate", arguments, cwd, check, timeout_s)


def evaluate(*arguments: object, cwd: Path | None = None, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess:
    """Run the real command in its own process, as a user does."""
    return _command("evaluate", arguments, cwd, check, timeout_s)


def models(*arguments: object, cwd: Path | None = None, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess:
    """Run the real command in its own process, as a user does."""
    return _command("models", arguments, cwd, check, timeout_s)


def _command(name: str, arguments: tuple, cwd: Path | None, check: bool, timeout_s: float) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"{name}.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@pytest.fixture(scope="session")
def demo_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo videos with truth.parquet, rendered once."""
    folder = tmp_path_factory.mktemp("demo") / "videos"
    curate("demo", folder, "--minutes", DEMO_MINUTES)
    return folder


@pytest.fixture(scope="session")
def demo_run(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo videos curated once with the default preset. Read-only: copy it before changing anything."""
    run = tmp_path_factory.mktemp("run") / "run"
    curate("run", demo_videos, "--out", run)
    return run
