"""Fixtures shared by all tests. Real footage lies in a folder `shared/` beside the checkout; tests that need it skip without it."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CLIPMILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """The folder of labelled real videos (dev/, hard/, cuts.csv)."""
    folder = SHARED / "videos"
    if not folder.is_dir():
        pytest.skip(f"no real footage at {folder} (set CLIPMILL_SHARED)")
    return folder
