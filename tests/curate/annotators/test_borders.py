"""Borders against bars of known depth on textures and real footage, and no borders where a scene is merely dark."""

import cv2
import numpy as np
import pytest
from helpers.annotator_clips import clip, of_file, texture

from clipmill.curate.annotators.borders import Borders

BORDERS = Borders()


def box(*lumas):
    row = BORDERS.measure(clip(observed=[BORDERS.observe(x) for x in lumas], size=lumas[0].shape[::-1]))
    return row["crop_x"], row["crop_y"], row["crop_w"], row["crop_h"]


def barred(luma, top=0, bottom=0, left=0, right=0, black=16, quality=None):
    height, width = luma.shape
    out = np.full_like(luma, black)
    out[top : height - bottom, left : width - right] = luma[top : height - bottom, left : width - right]
    return (
        out if quality is None else cv2.imdecode(cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)
    )


@pytest.mark.parametrize("black", [0, 16, 28])
@pytest.mark.parametrize("quality", [None, 40])
@pytest.mark.parametrize("sides", [(90, 90, 0, 0), (0, 0, 160, 160), (61, 61, 33, 33), (40, 0, 0, 0), (5, 5, 0, 0)])
def test_bars_of_known_depth(sides, quality, black):
    top, bottom, left, right = sides
    found = box(*(barred(texture(s), *sides, black=black, quality=quality) for s in (0, 1)))
    assert found == pytest.approx((left, top, 1280 - left - right, 720 - top - bottom), abs=2)


def test_noise_in_the_bars():
    rng = np.random.default_rng(0)
    noisy = barred(texture(0), 90, 90) + rng.normal(0, 2.5, (720, 1280))
    assert box(np.clip(noisy, 0, 255).astype(np.uint8)) == pytest.approx((0, 90, 1280, 540), abs=2)


def test_share_of_the_picture():
    row = BORDERS.measure(clip(observed=[BORDERS.observe(barred(texture(0), 90, 90))], size=(1280, 720)))
    assert row["border_share"] == pytest.approx(0.25, abs=0.005)


def test_shallowest_bright_frame_decides():
    dark = np.full((720, 1280), 16, np.uint8)
    assert box(barred(texture(0), 90, 90), texture(1), dark) == (0, 0, 1280, 720)
    assert box(barred(texture(0), 90, 90), dark) == pytest.approx((0, 90, 1280, 540), abs=2)


def fade_to_black():
    rows = np.linspace(0, 1, 720)[:, None]
    return (16 + 180 * np.clip(rows * 2 - 0.6, 0, 1) * np.ones((1, 1280))).astype(np.uint8)


def skyline():
    picture = np.full((720, 1280), 16, np.uint8)
    for k, top in enumerate(np.random.default_rng(0).integers(200, 500, 16)):
        picture[top:, 80 * k : 80 * k + 80] = texture(2)[top:, 80 * k : 80 * k + 80]
    return picture


def title():
    picture = np.full((720, 1280), 16, np.uint8)
    cv2.putText(picture, "A FILM BY", (240, 380), cv2.FONT_HERSHEY_DUPLEX, 4, 235, 8)
    return picture


def vignette():
    y, x = np.mgrid[-1:1:720j, -1:1:1280j]
    return (texture(3) * np.clip(1.25 - (x**2 + y**2), 0, 1) + 10).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "scene", [fade_to_black, skyline, title, vignette, lambda: np.full((720, 1280), 16, np.uint8), lambda: texture(0)]
)
def test_dark_scenes_have_no_borders(scene):
    assert box(scene()) == (0, 0, 1280, 720)


def test_white_borders_are_picture():
    assert box(barred(texture(0), 90, 90, black=235)) == (0, 0, 1280, 720)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (16, 4000), (20, 36)])
def test_small_pictures(shape):
    luma = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    x, y, w, h = box(luma)
    assert 0 <= x <= x + w <= shape[1]
    assert 0 <= y <= y + h <= shape[0]


def test_nothing_observed_is_the_full_picture():
    row = BORDERS.measure(clip(size=(640, 360)))
    assert (row["crop_w"], row["crop_h"], row["border_share"]) == (640, 360, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hard/opencast_black_side.mp4", (120, 0, 640, 400)),
        ("dev/tmk_chair20.mp4", (32, 0, 416, 720)),
        ("dev/mdnla_elf.mp4", (8, 0, 704, 480)),
        ("dev/moviepy_chaplin.mp4", (72, 0, 496, 360)),
        ("dev/torchcodec_nasa.mp4", (0, 0, 320, 180)),
        ("dev/askanything_cake.mp4", (0, 0, 320, 426)),
        ("dev/mdn_flower.mp4", (0, 0, 960, 540)),
    ],
)
def test_real_footage(shared_videos, name, expected):
    row = BORDERS.measure(of_file(BORDERS, shared_videos / name, last=130))
    assert (row["crop_x"], row["crop_y"], row["crop_w"], row["crop_h"]) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    "name", ["finetrainers_hiker_tiny.mp4", "cotracker_bear.mp4", "internvid_dog_snow.mp4", "vda_rollercoaster.mp4"]
)
def test_bars_added_to_real_footage(shared_videos, name):
    row = BORDERS.measure(
        of_file(BORDERS, shared_videos / "dev" / name, last=61, change=lambda x: barred(x, 13, 13, 21, 21, quality=40))
    )
    clip_w, clip_h = row["crop_x"] + row["crop_w"] + 21, row["crop_y"] + row["crop_h"] + 13
    full = of_file(BORDERS, shared_videos / "dev" / name, last=2)
    assert (row["crop_x"], row["crop_y"], clip_w, clip_h) == pytest.approx(
        (21, 13, full.width_px, full.height_px), abs=2
    )
