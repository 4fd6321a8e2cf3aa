"""What commands say where a newcomer was misled."""

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import invoke, one_line
from helpers.tiny_videos import write_tiny

from clipmill.curate.driver.run_facts import summary_lines
from clipmill.curate.formats.card import _exact

COUNTS = {"files": 1, "error": 0, "partial": 0, "duplicate": 0, "clips": 3, "kept": 2, "dropped": 1}
COUNTS |= {"error_clips": 0, "not_run": 0}


def test_a_preset_file_that_is_missing_is_a_file_and_no_preset(tmp_path: Path):
    write_tiny(tmp_path / "in" / "0.mp4")
    run = ("run", tmp_path / "in", "--out", tmp_path / "run", "--preset")
    one_line(invoke("curate", *run, tmp_path / "mine.toml"), f"cannot read the file {tmp_path}/mine.toml: No such file")
    one_line(invoke("curate", *run, "mine"), "there is no preset 'mine'")
    one_line(
        invoke("models", "train", tmp_path, "--config", tmp_path / "mine.toml", "--out", tmp_path / "ckpt"),
        f"cannot read the file {tmp_path}/mine.toml: No such",
    )


@pytest.mark.parametrize("place", ["s3://bucket/videos", "gs://bucket/videos", "https://example.org/a.mp4"])
def test_an_address_is_no_missing_file(place: str, tmp_path: Path):
    if place.startswith("gs"):
        one_line(invoke("curate", "run", place, "--out", tmp_path / "run"), f"{place} is an address")
    one_line(invoke("curate", "run", tmp_path, "--out", place), f"{place} is an address")


def test_a_retry_is_advised_only_for_what_may_go_better():
    assert (
        summary_lines(COUNTS, {"psd_fades": 2})[-1]
        == "psd_fades failed for 2 clips: `curate inspect RUN CLIP` says why"
    )
    assert summary_lines(COUNTS, {"caption_server": 1})[-1].endswith("says why, --retry-errors asks again")


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (float(np.float32(0.01)), "0.01"),
        (0.1 + 0.2, "0.30000000000000004"),
        (5.0, "5"),
        (float(np.float32(1e-5)), "0.00001"),
        (None, ""),
    ],
)
def test_limits_on_the_card_are_those_that_were_asked_for(limit: float | None, text: str):
    assert _exact(limit) == text
    assert limit is None or float(np.float32(text)) == limit or float(text) == limit
