"""Fixtures shared by all tests. Real footage lies in a folder `shared/` beside the checkout; tests that need it skip
without it.
"""

import os
import shutil
from pathlib import Path

import pytest
from helpers.commands import LOCAL, SHARED, curate, evaluate, made_once, models
from helpers.order import in_two_halves
from helpers.tiny_videos import quick, write_folder

DEMO_MINUTES = 2
# Rendering takes half a minute, real footage is large, and what stands on a run mostly trains: such tests are slow.
SLOW_FIXTURES = {"demo", "demo_videos", "shared_videos", "tiny_run", "few_run"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    items[:] = in_two_halves(items)


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Features that an older checkout left in the user's cache are none of ours. Commands start no workers, each of
    which imports for seconds, unless a test says `LOCAL`: those that are about workers do, and the demo run.
    """
    os.environ["CLIPMILL_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["CLIPMILL_ENGINE"] = "inline"


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """The folder of labelled real videos (dev/, hard/, cuts.csv)."""
    folder = SHARED / "videos"
    if not folder.is_dir():
        pytest.skip(f"no real footage at {folder} (set CLIPMILL_SHARED)")
    return folder


@pytest.fixture(scope="session")
def demo_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo videos with truth.parquet, rendered once."""
    return (
        made_once(tmp_path_factory, "demo", lambda folder: curate("demo", folder / "videos", "--minutes", DEMO_MINUTES))
        / "videos"
    )


@pytest.fixture(scope="session")
def demo_run(demo_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo videos curated once with the default preset. Read-only: copy it before changing anything."""
    return (
        made_once(tmp_path_factory, "run", lambda folder: curate("run", demo_videos, "--out", folder / "run", *LOCAL))
        / "run"
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty clips of moving texture with captions, in two shapes, exported: quick to decode. Read-only. The videos lie
    beside it, in `in`.
    """

    def make(folder: Path) -> None:
        curate("run", write_folder(folder / "in"), "--out", folder / "run", "--export", *quick())

    return made_once(tmp_path_factory, "tiny", make) / "run"


@pytest.fixture
def demo_copy(demo_run: Path, tmp_path: Path) -> Path:
    """The demo run, to change."""
    return shutil.copytree(demo_run, tmp_path / "run")


@pytest.fixture(scope="session")
def two_videos(demo_videos: Path, demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two smallest of the demo videos that have moving clips. Read-only."""
    import pandas as pd

    folder = tmp_path_factory.mktemp("two")
    with_clips = pd.read_parquet(demo_run / "manifest.parquet").query("motion > 0")["relpath"].unique()
    for path in sorted((demo_videos / name for name in with_clips), key=lambda path: path.stat().st_size)[:2]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def small_training(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ckpt/ (two steps, both saved), samples/ of the last, their scores.parquet, and run/. Read-only."""
    return made_once(tmp_path_factory, "training", lambda folder: _train(demo_run, folder))


def _train(demo_run: Path, root: Path) -> None:
    every = ("checkpoint_every=1", "validate_every=1", "log_every=1", "validation_clips=2")
    settings = (*(f"train.{word}" for word in every), "data.cache=none", "data.workers=0")
    nano = ("--config", "demo-nano", "--device", "cpu", *(word for setting in settings for word in ("--set", setting)))
    models("train", demo_run, *nano, "--out", root / "ckpt", "--steps", 2)
    models(
        "sample",
        root / "ckpt",
        "--out",
        root / "samples",
        "--n",
        4,
        "--frames",
        8,
        "--device",
        "cpu",
        "--set",
        "sample.steps=2",
    )
    clips = ("--set", "clip_frames=8", "--set", "n_real=0", "--set", "n_fake=0", "--features", "mini")
    # A relative path, as people type it: the row must lead back all the same.
    evaluate(
        "run",
        demo_run,
        "samples",
        *clips,
        "--metrics",
        "fvd",
        "--out",
        "scores.parquet",
        "--cache",
        root / "cache",
        cwd=root,
    )
    (root / "run").symlink_to(demo_run)  # where the documentation's queries look
