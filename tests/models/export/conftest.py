"""Fixtures of the tests of what leaves a checkpoint."""

from pathlib import Path

import pytest
from helpers.commands import made_once, models
from helpers.starting import low_rank_options


@pytest.fixture(scope="session")
def low_rank(image_model: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ckpt/, four steps of low-rank branches beside `image_model`, and their lora.safetensors.
    Read-only.
    """

    def make(folder: Path) -> None:
        models("train", tiny_run, *low_rank_options(image_model), "--out", folder / "ckpt", "--steps", 4)
        models("lora", folder / "ckpt", "--out", folder / "lora.safetensors")

    return made_once(tmp_path_factory, "low_rank", make)
