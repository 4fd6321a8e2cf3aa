"""The page behind a number as people see it: in a browser, wide and narrow, and its commands where they are typed."""

import base64
import io
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import pytest
from helpers.commands import evaluate

from clipmill.evaluate.report.moving import moving_picture

LEAST_PX = 11
WORDS = """all => all
    .map(e => ({text: e.textContent.trim(), at: e.getBoundingClientRect().toJSON()}))
    .filter(word => word.text)"""


@pytest.fixture(scope="module")
def page(small_training: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, written by the command in the folder of the training."""
    out = tmp_path_factory.mktemp("page") / "index.html"
    evaluate("report", "scores.parquet", "--out", out, cwd=small_training)
    return out


@pytest.mark.parametrize("width", [420, 1280])
def test_the_words_of_the_loss_curve_can_be_read(page: Path, width: int):
    words = shown(page, width)
    assert {"step 0", "step 2", "loss", "logarithmic scale"} <= {word["text"] for word in words}
    assert len([word for word in words if word["text"].replace(".", "").isdigit()]) == 3
    for word in words:
        assert word["at"]["height"] >= LEAST_PX, word
        assert word["at"]["left"] >= 0, word
        assert word["at"]["right"] <= width, word
    for one, other in combinations(words, 2):
        assert not overlap(one["at"], other["at"]), (one, other)


def test_scored_videos_play_on_the_page(small_training: Path, page: Path):
    picture = moving_picture(small_training / "samples")
    assert picture in page.read_text()
    assert moving_picture(small_training / "nothing") is None
    with av.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(small_training / "samples" / "000001.mp4")) as container:
        video = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    # Four samples in a row, 2 px apart; the second of them, frame by frame.
    assert len(frames) == len(video) == 8
    for frame, wanted in zip(frames, video, strict=True):
        side = wanted.shape[0]
        assert (frame[:side, side + 2 : 2 * side + 2] == wanted).all()


def shown(page: Path, width: int) -> list[dict[str, Any]]:
    """The words of the curve and where they are, px."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.goto(page.as_uri())
            return tab.eval_on_selector_all("svg text, .curve span", WORDS)
        finally:
            browser.close()


def overlap(a: dict[str, float], b: dict[str, float]) -> bool:
    return min(a["right"], b["right"]) > max(a["left"], b["left"]) and min(a["bottom"], b["bottom"]) > max(
        a["top"], b["top"]
    )


def commands(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").split("<pre>")[1].split("</pre>")[0].strip().splitlines()


def test_commands_name_what_lies_below_the_folder_as_one_types_it_there(
    page: Path, small_training: Path, tmp_path: Path
):
    assert "models sample ckpt --n 4 --seed 0 --out samples" in commands(page)
    assert not [line for line in commands(page) if f"{small_training}/" in line]
    elsewhere = tmp_path / "elsewhere.html"
    evaluate("report", small_training / "scores.parquet", "--out", elsewhere, cwd=tmp_path)
    place = small_training.resolve()
    assert f"models sample {place}/ckpt --n 4 --seed 0 --out {place}/samples" in commands(elsewhere)
