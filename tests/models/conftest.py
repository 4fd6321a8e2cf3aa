"""Fixtures of the tests of models."""

from pathlib import Path

import pytest
from helpers.commands import made_once, models
from helpers.starting import FAST, image_options
from helpers.trainings import EACH_STEP, EVALUATED, NANO


@pytest.fixture(scope="session")
def trained(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps of the smallest demo model, in one go. Read-only."""
    options = (*NANO, "--steps", 20, *EACH_STEP, *EVALUATED, "--set", "train.checkpoint_every=10")

    def make(folder: Path) -> None:
        models("train", tiny_run, *options, "--out", folder / "ckpt")

    return made_once(tmp_path_factory, "trained", make) / "ckpt"


@pytest.fixture(scope="session")
def image_model(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image model of two blocks, four steps on single frames. Read-only."""

    def make(folder: Path) -> None:
        models("train", tiny_run, *image_options(*FAST), "--out", folder / "ckpt", "--steps", 4)

    return made_once(tmp_path_factory, "image", make) / "ckpt"
