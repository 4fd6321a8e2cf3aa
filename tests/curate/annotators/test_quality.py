"""Quality scores against injected blur, blocks, flicker, black and repeated frames, on textures and on real footage."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.annotator_clips import clip, of_file, texture

from clipmill.curate.annotators.quality import Quality, flicker_per_s, step_phases

QUALITY = Quality()
REAL = (
    "askanything_yoga.mp4", "cotracker_bear.mp4", "decord_pancake.mkv", "ffconcat_1.mp4", "finetrainers_hiker.mp4",
    "imageio_realshort.mp4", "intel_yes.mkv", "mdn_flower.webm", "mdnla_rabbit320.webm", "videogpt_bear.mp4",
    "vda_rollercoaster.mp4",
)  # fmt: skip


def blur(luma):
    return cv2.GaussianBlur(luma, (0, 0), 0.01 * min(luma.shape))


def coarse_dct(luma, step=64):
    """Quantised 8 x 8 DCT, as a codec at its worst."""
    rows = np.arange(8)
    basis = np.sqrt(np.where(rows[:, None] == 0, 1, 2) / 8) * np.cos(np.pi * (2 * rows + 1) * rows[:, None] / 16)
    height, width = luma.shape[0] // 8 * 8, luma.shape[1] // 8 * 8
    blocks = luma[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2) - 128.0
    coded = np.round(basis @ blocks @ basis.T / step) * step
    out = np.ascontiguousarray(luma).copy()
    decoded = (basis.T @ coded @ basis).swapaxes(1, 2).reshape(height, width) + 128
    out[:height, :width] = np.clip(decoded, 0, 255).astype(np.uint8)
    return out


def still(luma, **kwargs):
    return clip(observed=[QUALITY.observe(luma)], lumas=[luma, luma], size=luma.shape[::-1], **kwargs)


def score(luma, name, **kwargs):
    return QUALITY.measure(still(luma, **kwargs))[name]


def auc(high, low):
    return float(np.mean([h > b for h in high for b in low]))


@pytest.fixture(scope="module")
def real_scores(shared_videos):
    """variant -> list of rows, three seconds of each file."""
    variants = {"original": lambda luma: luma, "blurred": blur, "blocky": coarse_dct}
    paths = [shared_videos / "dev" / name for name in REAL]
    return {k: [QUALITY.measure(of_file(QUALITY, p, last=40, change=f)) for p in paths] for k, f in variants.items()}


def test_blurred_footage_is_told_from_sharp(real_scores):
    sharp, blurred = ([r["sharpness"] for r in real_scores[k]] for k in ("original", "blurred"))
    assert auc(sharp, blurred) >= 0.99
    assert max(blurred) < 0.3


def test_blocky_footage_is_told_from_clean(real_scores):
    blocky, clean = ([r["blockiness"] for r in real_scores[k]] for k in ("blocky", "original"))
    assert auc(blocky, clean) >= 0.95
    assert max(r["blockiness"] for r in real_scores["blurred"]) < 0.2


def test_sharpness_does_not_depend_on_size_or_contrast():
    big = texture(0, 1080, 1920, finest_px=1)
    half = cv2.resize(big, (960, 540), interpolation=cv2.INTER_AREA)
    faint = (128 + 0.4 * (big.astype(float) - 128)).astype(np.uint8)
    reference = score(big, "sharpness")
    assert score(half, "sharpness") == pytest.approx(reference, rel=0.15)
    assert score(faint, "sharpness") == pytest.approx(reference, rel=0.15)


def test_a_sharp_subject_before_a_blurred_background_is_sharp():
    luma = cv2.GaussianBlur(texture(1), (0, 0), 15)
    luma[160:560, 400:880] = texture(1)[160:560, 400:880]
    assert score(luma, "sharpness") > 0.5
    assert score(cv2.GaussianBlur(texture(1), (0, 0), 7.2), "sharpness") < 0.3


@pytest.mark.parametrize("offset", [0, 1, 3, 4, 7])
def test_grid_is_found_at_any_phase(offset):
    blocky = coarse_dct(texture(2))
    assert score(blocky[offset:, offset:], "blockiness") > 1.0
    assert score(texture(2)[offset:, offset:], "blockiness") < 0.1


def test_strongest_phase_is_that_of_the_grid():
    """Flat blocks of 8 px that begin at x = 3: the step lies between pixels 2 and 3 (mod 8)."""
    rng = np.random.default_rng(0)
    luma = np.kron(rng.integers(60, 180, (30, 40)), np.ones((8, 8))).astype(np.uint8)[5:, 5:]
    across, down = step_phases(luma).mean(axis=(1, 2))
    assert across.argmax() == down.argmax()
    assert across.max() > 10 * np.median(across) + 1


def test_stripes_in_one_direction_are_no_grid():
    stripes = texture(3).copy()
    stripes[:, ::8] = 255
    assert score(stripes, "blockiness") < 0.1


def test_crop_box_keeps_borders_out():
    inner = cv2.GaussianBlur(texture(4), (0, 0), 7.2)
    boxed = cv2.copyMakeBorder(inner, 180, 180, 0, 0, cv2.BORDER_CONSTANT, value=16)
    crop = (0.0, 180 / 1080, 1.0, 900 / 1080)
    assert score(boxed, "sharpness", crop=crop) < 0.3
    assert score(boxed, "exposure", crop=crop) == pytest.approx(inner.mean() / 255, abs=0.03)
    assert score(boxed, "under_share", crop=crop) < 0.02
    assert score(boxed, "near_black", crop=crop) == 0


def test_exposure_shares():
    luma = np.full((200, 320), 120, np.uint8)
    luma[:100], luma[100:, :80] = 240, 10
    row = QUALITY.measure(still(luma))
    assert row["over_share"] == pytest.approx(0.5, abs=0.02)
    assert row["under_share"] == pytest.approx(0.125, abs=0.02)
    assert row["exposure"] == pytest.approx(luma.mean() / 255, abs=0.01)
    assert row["sharpness"] is None or row["sharpness"] > 0


@pytest.mark.parametrize("black", [0, 16, 24])
def test_near_black_counts_frames_in_both_ranges(black):
    dark, light = np.full((54, 96), black, np.uint8), texture(5)
    row = QUALITY.measure(clip(lumas=[dark] * 3 + [light] * 9))
    assert row["near_black"] == pytest.approx(0.25)


def test_night_scene_with_lights_is_not_near_black():
    night = np.full((540, 960), 18, np.uint8)
    night[240:340, 400:660] = 200
    assert QUALITY.measure(clip(lumas=[night] * 4))["near_black"] == 0


def gains(kind, n=90, fps=30.0):
    t, rng = np.arange(n) / fps, np.random.default_rng(0)
    return {
        "none": np.ones(n),
        "alternating": 1 + 0.04 * (-1.0) ** np.arange(n),
        "random": 1 + rng.uniform(-0.08, 0.08, n),
        "mains": 1 + 0.05 * np.sin(2 * np.pi * 7.3 * t),
        "fade": np.linspace(1, 0.1, n),
        "fade in and out": 0.1 + 0.9 * np.abs(np.sin(2 * t)),
        "slow": 1 + 0.1 * np.sin(2 * np.pi * t),
        "cut": np.where(t > 1.5, 0.4, 1.0),
    }[kind]


@pytest.mark.parametrize("fps", [24.0, 30.0, 60.0])
@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("none", 0, 0.01), ("alternating", 0.8, 99), ("random", 0.8, 99), ("mains", 0.8, 99), ("fade", 0, 0.05),
     ("fade in and out", 0, 0.05), ("slow", 0, 0.05), ("cut", 0, 0.05)],
)  # fmt: skip
def test_flicker_is_modulation_and_nothing_else(kind, low, high, fps):
    picture = cv2.resize(texture(6), (96, 54), interpolation=cv2.INTER_AREA)
    lumas = [np.clip(picture * g, 0, 255).astype(np.uint8) for g in gains(kind, 90, fps)]
    assert low <= QUALITY.measure(clip(lumas=lumas, fps=fps))["flicker"] <= high


def test_motion_is_not_flicker():
    wide = texture(7)
    lumas = [
        cv2.resize(wide[:, 40 * (k % 12) : 40 * (k % 12) + 700], (96, 54), interpolation=cv2.INTER_AREA)
        for k in range(60)
    ]
    assert QUALITY.measure(clip(lumas=lumas))["flicker"] < 0.2


def test_pulldown_is_duplication_not_flicker():
    """24 fps shown at 30: every fifth frame repeats; the scene brightens steadily."""
    ramp = [np.clip(cv2.resize(texture(8), (96, 54)) * (0.5 + 0.01 * k), 0, 255).astype(np.uint8) for k in range(48)]
    lumas = [f for k, f in enumerate(ramp) for f in [f] * (2 if k % 4 == 3 else 1)]
    row = QUALITY.measure(clip(lumas=lumas))
    assert row["flicker"] < 0.01
    assert row["dup_frame_share"] == pytest.approx(12 / 59, abs=0.001)


def test_the_cut_into_the_clip_does_not_count():
    one = flicker_per_s(np.arange(3) / 30, np.array([100.0, 100.0, 100.0]), np.array([np.nan, 0.0, 0.0]))
    assert one == 0
    row = QUALITY.measure(clip(lumas=[texture(0)] * 4))
    assert row["dup_frame_share"] == 1.0


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (16, 4000), (47, 900), (48, 53)])
def test_odd_sizes_are_measured_or_null(shape):
    luma = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    row = QUALITY.measure(still(luma))
    assert (row["blockiness"] is None) == (min(shape) < 48)
    assert row["exposure"] == pytest.approx(luma.mean() / 255, abs=0.1)


def test_nothing_observed_is_null():
    row = QUALITY.measure(clip())
    assert set(row) == set(QUALITY.columns)
    assert all(v is None for v in row.values())


@pytest.mark.parametrize(
    ("t_s", "end_s", "near_black", "repeated"),
    [
        ([0, 0.1, 0.2, 0.3], 0.4, 0.25, 0.0),  # even: every frame counts the same
        ([0, 0.1, 0.2, 0.3], 2.3, 0.1 / 2.3, 0.95 / 2.3),  # the last one stands for two seconds
        ([0, 3.0, 3.1, 3.2], 3.3, 3 / 3.3, 1.95 / 3.3),  # the dark one stands for three
        ([0, 10.0, 20.0, 30.0], 40.0, 0.25, 0.895),  # slides
        ([0, 1.0, 2.0, 3.0], 4.0, 0.25, 0.0),  # one frame a second
    ],
)
def test_shares_are_of_the_display_time(t_s, end_s, near_black, repeated):
    made = clip(lumas=[np.zeros((54, 96), np.uint8), *(texture(i) for i in range(3))])
    row = QUALITY.measure(replace(made, signals_t_s=np.asarray(t_s, float), end_s=end_s))
    assert row["near_black"] == pytest.approx(near_black)
    assert row["dup_frame_share"] == pytest.approx(repeated)


def test_a_single_picture_that_stands_is_a_still():
    made = clip(lumas=[texture(1)])
    assert QUALITY.measure(replace(made, end_s=10.0))["dup_frame_share"] == pytest.approx(0.895)
    assert QUALITY.measure(replace(made, end_s=0.04))["dup_frame_share"] is None
