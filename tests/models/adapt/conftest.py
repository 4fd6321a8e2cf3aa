"""Fixtures of the tests of starting weights."""

from pathlib import Path

import pytest
from helpers.commands import made_once, models
from helpers.starting import image_options


@pytest.fixture(scope="session")
def image_model(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image model of two blocks, four steps on single frames. Read-only."""

    def make(folder: Path) -> None:
        models("train", tiny_run, *image_options(), "--out", folder / "ckpt", "--steps", 4)

    return made_once(tmp_path_factory, "image", make) / "ckpt"
