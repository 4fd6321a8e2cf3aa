"""Small checkpoints that stages are made of."""

from pathlib import Path

import pytest
from helpers.commands import made_once, models
from helpers.trainings import NANO


def nano(run: Path, out: Path, *settings: str) -> Path:
    """Two steps of the smallest demo model with other settings."""
    sets = [word for text in (*settings, "train.validate_every=0") for word in ("--set", text)]
    models("train", run, *NANO, "--steps", 2, *sets, "--out", out)
    return out


@pytest.fixture(scope="session")
def continues(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads captions and is given first frames, both ends or nothing. Read-only."""
    text = [f"conditioning.text.{each}" for each in ("encoder=hash", "tokens=4", "dim=16")]
    # A network that says nothing of v keeps what is in z; one that says nothing of x would always end at zero.
    text += ["backbone.options.text=cross", "diffusion.parametrisation=v"]
    frames = [f"conditioning.frames.{each}" for each in ("given=masks", "context_frames=2")]
    return made_once(tmp_path_factory, "continues", lambda folder: nano(tiny_run, folder / "c", *text, *frames)) / "c"


@pytest.fixture(scope="session")
def interpolates(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that puts two frames between every two, of the size of `trained`. Read-only."""
    frames = [f"conditioning.frames.{each}" for each in ("given=masks", "every=1.0", "every_nth=3", "drop=0.0")]
    none = [f"conditioning.frames.{each}=0.0" for each in ("prediction", "interpolation")]
    return made_once(tmp_path_factory, "between", lambda folder: nano(tiny_run, folder / "c", *none, *frames)) / "c"
