"""Text area against rendered text of known area, with the real loaded, offline; CRAFT's path with random weights."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.annotator_clips import clip, of_file, texture
from PIL import Image, ImageDraw, ImageFont

from clipmill.curate import weights
from clipmill.curate.annotators.text import Text, same_picture, tight_box, union_area
from clipmill.curate.errors import AnnotatorError, UserError
from clipmill.curate.networks.craft import shrunk, unshrunk
from clipmill.curate.networks.rapidocr import grown, load_rapidocr, map_kernels
from clipmill.curate.video.picture import decode_picture, encode_jpeg

ROLES = ("first", "middle", "last")
HEIGHT, WIDTH = 720, 1280


@pytest.fixture(scope="module")
def loaded():
    """What finds the text of clips, by the defaults."""
    return Text().load("cpu", {})


def stored(rgb, short_side_px=360):
    """As a role frame comes to the annotator: reduced and through a JPEG."""
    scale = short_side_px / min(rgb.shape[:2])
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return decode_picture(encode_jpeg(small, 90))


def background(kind):
    if kind == "plain":
        return np.full((HEIGHT, WIDTH, 3), (40, 60, 90), np.uint8)
    luma = cv2.GaussianBlur(texture(11, HEIGHT, WIDTH, finest_px=16, contrast=28.0), (0, 0), 2)
    return cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB) if kind == "noise" else cv2.applyColorMap(luma, cv2.COLORMAP_BONE)


def lettering(text, em_px, face):
    """Ink of one line, bool [h, w], cut to its bounds."""
    if face == "pillow":
        canvas = Image.new("L", (WIDTH, HEIGHT))
        ImageDraw.Draw(canvas).text((20, 20), text, fill=255, font=ImageFont.load_default(em_px))
        ink = np.asarray(canvas) > 127
    else:
        canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.putText(canvas, text, (20, 300), face, em_px / 30, 255, max(2, em_px // 12), cv2.LINE_AA)
        ink = canvas > 127
    rows, cols = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]


def written(picture, lines, em_px, face="pillow", color=(255, 255, 255)):
    """(picture with text, true area: the union of the lines' ink boxes)."""
    picture, mask, y = picture.copy(), np.zeros(picture.shape[:2], bool), 60
    for line in lines:
        ink = lettering(line, em_px, face)
        h, w = ink.shape
        picture[y : y + h, 80 : 80 + w][ink] = color
        mask[y : y + h, 80 : 80 + w] = True
        y += h + em_px // 2
    return picture, float(mask.mean())


def measure(loaded, *rgb):
    frames = [stored(f) for f in rgb]
    return loaded([clip(frames, np.arange(len(frames)), roles=ROLES[: len(frames)])])[0]


@pytest.mark.parametrize("face", ["pillow", cv2.FONT_HERSHEY_DUPLEX])
@pytest.mark.parametrize("kind", ["plain", "noise", "bone"])
@pytest.mark.parametrize(
    ("em_px", "lines"), [(34, ["Subscribe for more"]), (60, ["Breaking news", "at the river"]), (120, ["MARKET"])]
)
def test_area_of_rendered_text(loaded, em_px, lines, kind, face):
    picture, truth = written(background(kind), lines, em_px, face)
    row = measure(loaded, picture)
    assert row["text_area_first"] == pytest.approx(truth, rel=0.15)
    assert row["text_boxes"] >= len(lines)


def test_dark_text_on_light(loaded):
    picture, truth = written(
        np.full((HEIGHT, WIDTH, 3), 225, np.uint8), ["Opening hours", "nine to five"], 56, color=(20, 20, 20)
    )
    assert measure(loaded, picture)["text_area"] == pytest.approx(truth, rel=0.15)


def test_portrait_and_small_pictures(loaded):
    picture, truth = written(np.full((960, 540, 3), 90, np.uint8), ["Follow me"], 70)
    assert measure(loaded, picture)["text_area"] == pytest.approx(truth, rel=0.15)
    tiny = clip([np.zeros((9, 16, 3), np.uint8)], [0.0], roles=("first",))
    assert loaded([tiny])[0]["text_area"] == 0


def test_largest_of_three_frames(loaded):
    empty = background("noise")
    picture, truth = written(empty, ["Chapter three"], 80)
    row = measure(loaded, empty, picture, empty)
    assert (row["text_area_first"], row["text_area_last"]) == (0, 0)
    assert row["text_area"] == row["text_area_middle"] == pytest.approx(truth, rel=0.15)


def test_identical_frames_are_looked_at_once():
    calls = []
    detector = load_rapidocr("cpu", Text().side_px)
    counting = Text().measured_by(lambda rgb: calls.append(1) or detector(rgb))
    picture, _ = written(background("plain"), ["Still"], 80)
    row = measure(counting, picture, picture, picture)
    assert len(calls) == 1
    assert row["text_area_first"] == row["text_area_last"] > 0
    measure(counting, *[np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * 3)
    assert len(calls) == 1


def test_a_new_caption_is_not_the_same_picture():
    empty = stored(background("plain"))
    caption, _ = written(background("plain"), ["a"], 34)
    assert same_picture(empty, empty)
    assert not same_picture(empty, stored(caption))


def test_union_counts_overlap_once():
    box = np.array([[10, 10], [50, 10], [50, 30], [10, 30]], np.float32)
    assert union_area([box], (100, 200)) == pytest.approx(800 / 20000, rel=0.02)
    assert union_area([box, box + 10], (100, 200)) == pytest.approx(1300 / 20000, rel=0.02)
    assert union_area([box - 20], (100, 200)) == pytest.approx(300 / 20000, rel=0.05)
    assert union_area([], (100, 200)) == 0


def test_kernels_of_a_probability_map():
    text_map = np.zeros((100, 200), np.float32)
    text_map[20:30, 40:120], text_map[60:70, 40:120], text_map[90, 10] = 0.9, 0.35, 0.9
    (kernel,) = map_kernels(text_map)
    assert kernel.mean(axis=0) == pytest.approx([80, 25], abs=0.6)
    assert union_area([grown(kernel, 1.5)], (100, 200)) > 1.5 * union_area([kernel], (100, 200))


@pytest.mark.parametrize("degrees", [0, 25, 90])
def test_tight_box_follows_the_line(degrees):
    gray = np.full((400, 400), 60, np.uint8)
    cv2.rectangle(gray, (100, 180), (300, 220), 230, -1)
    turn = cv2.getRotationMatrix2D((200, 200), degrees, 1)
    kernel = cv2.transform(np.float32([[[110, 190], [290, 190], [290, 210], [110, 210]]]), turn)[0]
    box = tight_box(cv2.warpAffine(gray, turn, (400, 400), borderValue=60), kernel)
    assert union_area([box], (400, 400)) == pytest.approx(201 * 41 / 160000, rel=0.06)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("cotracker_bear.mp4", 0, 0.005), ("video2dataset_slides.mp4", 0.02, 0.3)]
)
def test_real_footage(shared_videos, loaded, name, low, high):
    """A bear without a letter, and slides full of them."""
    row = loaded([of_file(Text(), shared_videos / "dev" / name, last=45)])[0]
    assert low <= row["text_area"] <= high


def test_no_frames_is_an_error(loaded):
    with pytest.raises(AnnotatorError):
        loaded([clip()])


def test_unknown_method():
    with pytest.raises(UserError, match="rapidocr, easyocr"):
        Text(method="tesseract").check()


def test_missing_craft_weights_fail_at_once_and_name_the_fix(tmp_path):
    """In a fresh process, with a network that must not be touched: neither torch nor easyocr is even imported."""
    code = (
        "import sys, socket\n"
        "socket.socket.connect = lambda *a: sys.exit('network')\n"
        "from clipmill.curate import weights\n"
        "from clipmill.curate.annotators.text import Text\n"
        "from clipmill.curate.errors import UserError\n"
        "text = Text(method='easyocr')\n"
        "text.check()\n"
        "try: weights.resolve(text.weights, {}, offline=True)\n"
        "except UserError as error: print(error)\n"
        "print('torch' in sys.modules, 'easyocr' in sys.modules)\n"
    )
    env = {**os.environ, "EASYOCR_MODULE_PATH": str(tmp_path), "CLIPMILL_WEIGHTS": str(tmp_path), "HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    message, imported = result.stdout.strip().splitlines()
    assert "curate weights pull craft" in message
    assert "craft_mlt_25k.pth" in message
    assert imported == "False False"


@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_the_kernel_of_a_line_leads_back_to_the_line(angle):
    line = cv2.boxPoints(((200, 100), (120, 30), angle))
    kernel = shrunk(line)
    assert cv2.contourArea(kernel) == pytest.approx(105 * 15, rel=1e-3)
    assert union_area([unshrunk(kernel), line], (300, 400)) == pytest.approx(120 * 30 / (300 * 400), rel=0.02)


def test_rapidocr_needs_no_weights():
    assert Text().weights == ()
    assert Text(method="easyocr").weights == ("craft",)


@pytest.mark.slow
def test_craft_loads_and_runs_from_where_easyocr_keeps_it(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    craft = pytest.importorskip("easyocr.craft")
    torch.manual_seed(0)
    file = tmp_path / "model" / "craft_mlt_25k.pth"
    file.parent.mkdir()
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path))
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path / "none"))
    torch.save({f"module.{k}": v for k, v in craft.CRAFT().state_dict().items()}, file)
    picture = cv2.cvtColor(texture(0)[:64, :96], cv2.COLOR_GRAY2RGB)
    text = Text(method="easyocr")
    files = {name: Path(local.path) for name, local in weights.resolve(text.weights, {}, offline=True).items()}
    assert files == {"craft": file}
    row = text.load("cpu", files)([clip([picture], [0.0], roles=("first",))])[0]
    assert 0 <= row["text_area"] <= 1
    for content, problem in ((b"not weights", "cannot be read"), (None, "does not hold CRAFT's weights")):
        file.write_bytes(content) if content else torch.save({"a": torch.zeros(1)}, file)
        with pytest.raises(UserError, match=problem):
            text.load("cpu", files)
