"""Motion against textures of known speed and direction, and against real footage that does not move."""

import cv2
import numpy as np
import pytest
from helpers.annotator_clips import clip, of_file, texture

from clipmill.curate.annotators.motion import Motion
from clipmill.curate.errors import AnnotatorError

MOTION = Motion()
HEIGHT, WIDTH = 360, 640


def frame_times(rate):
    if rate == "variable":
        return np.cumsum(np.r_[0, np.random.default_rng(5).uniform(0.01, 0.09, 70)])
    return np.arange(int(3 * rate)) / rate


def on_grid(times, fps=2.0):
    """The first frame with t >= k / fps, for every k."""
    return times[[int(np.argmax(times >= k / fps)) for k in range(int(times[-1] * fps) + 1)]]


def moving(seed, speed, angle, times, bar_px=0, px=MOTION.short_side_px):
    """A window travelling over a texture: the content moves `speed` short sides of the window per second against
    `angle`.
    """
    big, height = texture(seed, 1000, 1600), HEIGHT - 2 * bar_px
    frames = []
    for t in times:
        d = speed * height * (t - 1.5)
        window = cv2.getRectSubPix(big, (WIDTH, height), (800 + d * np.cos(angle), 500 + d * np.sin(angle)))
        full = cv2.copyMakeBorder(window, bar_px, bar_px, 0, 0, cv2.BORDER_CONSTANT, value=16)
        small = cv2.resize(full, (round(WIDTH * px / HEIGHT), px), interpolation=cv2.INTER_AREA)
        bar = -(-bar_px * px // HEIGHT)
        frames.append(small[bar : px - bar])
    return np.stack(frames)


@pytest.mark.parametrize("rate", [24, 30, 60, "variable"])
@pytest.mark.parametrize("speed", [0.02, 0.05, 0.1, 0.2, 0.35, 0.5])
def test_speed_of_a_translating_texture(speed, rate):
    times = on_grid(frame_times(rate))
    for seed, angle in ((0, 0.9), (1, np.pi / 2)):
        row = MOTION.measure(clip(moving(seed, speed, angle, times), times))
        assert row["motion"] == pytest.approx(speed, rel=0.05)
        assert row["pan_x"] == pytest.approx(speed * np.cos(angle), abs=0.05 * speed)
        assert row["pan_y"] == pytest.approx(speed * np.sin(angle), abs=0.05 * speed)


@pytest.mark.parametrize("speed", [0.02, 0.1, 0.5])
def test_speed_inside_a_letterbox_is_in_its_own_short_sides(speed):
    times = on_grid(frame_times(30))
    row = MOTION.measure(clip(moving(3, speed, 0.4, times, bar_px=48), times))
    assert row["motion"] == pytest.approx(speed, rel=0.08)


def test_true_time_between_frames_counts():
    frames = moving(0, 0.1, 0.0, np.array([0.0, 0.5, 1.5]))
    per_pair = MOTION.measure(clip(frames, [0.0, 0.5, 1.5]))["motion_per_pair"]
    assert per_pair == pytest.approx([0.1, 0.1], rel=0.05)


def test_repeated_frames_have_no_pair():
    frames = moving(0, 0.1, 0.0, np.array([0.0, 1.0, 1.0]))
    assert len(MOTION.measure(clip(frames, [0.0, 1.0, 1.0]))["motion_per_pair"]) == 1


@pytest.mark.parametrize(("angle", "name"), [(0, "right"), (np.pi, "left"), (np.pi / 2, "down"), (-np.pi / 2, "up")])
def test_direction_of_a_pan(angle, name):
    times = on_grid(frame_times(30))
    assert MOTION.measure(clip(moving(4, 0.1, angle, times), times))["camera_direction"] == name


@pytest.mark.parametrize(
    ("scale", "degrees", "name"),
    [(1.1, 0, "zoom_in"), (0.9, 0, "zoom_out"), (1.0, 6, "rotate_cw"), (1.0, -6, "rotate_ccw")],
)
def test_zoom_and_roll(scale, degrees, name):
    """Content that grows means the camera zooms in; content that turns counter-clockwise means it turns clockwise."""
    big, times = texture(5, 1000, 1000), np.arange(4) * 0.5
    frames = []
    for k in range(4):
        turn = cv2.getRotationMatrix2D((500, 500), degrees * k, scale**k)  # positive: counter-clockwise on the screen
        turned = cv2.warpAffine(big, turn, (1000, 1000), flags=cv2.INTER_LINEAR)
        frames.append(cv2.resize(turned[320:680, 180:820], (114, 64), interpolation=cv2.INTER_AREA))
    row = MOTION.measure(clip(frames, times))
    assert row["camera_direction"] == name
    assert row["zoom"] == pytest.approx((scale - 1) * 2, abs=0.02)
    assert row["roll"] == pytest.approx(np.deg2rad(degrees) * 2, abs=0.02)


def test_a_moving_object_does_not_move_the_background():
    """A disc crosses a static texture: the camera is static, and most cells stay below the static speed."""
    background, disc = texture(6, HEIGHT, WIDTH), texture(7, HEIGHT, WIDTH)
    frames = []
    for k in range(4):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.circle(mask, (150 + 50 * k, 180), 70, 1, -1)
        frames.append(
            cv2.resize(
                np.where(mask > 0, np.roll(disc, 50 * k, 1), background), (114, 64), interpolation=cv2.INTER_AREA
            )
        )
    row = MOTION.measure(clip(frames, np.arange(4) * 0.5))
    assert row["camera_direction"] == "static"
    assert row["static_share"] > 0.4
    assert abs(row["pan_x"]) < 0.01


def test_noise_is_not_motion():
    still, rng = texture(8, HEIGHT, WIDTH), np.random.default_rng(0)
    noisy = [np.clip(still + rng.normal(0, 8, still.shape), 0, 255).astype(np.uint8) for _ in range(5)]
    frames = [cv2.resize(f, (114, 64), interpolation=cv2.INTER_AREA) for f in noisy]
    row = MOTION.measure(clip(frames, np.arange(5) * 0.5))
    assert row["motion"] < 0.004
    assert row["static_share"] > 0.95


def test_what_cannot_be_measured_is_null():
    one = np.zeros((1, 64, 114), np.uint8)
    for frames, times in ((one, [0.0]), (np.zeros((2, 4, 90), np.uint8), [0.0, 0.5]), (np.zeros((0,)), [])):
        row = MOTION.measure(clip(frames, times))
        assert set(row) == set(MOTION.columns)
        assert all(v is None for v in row.values())


def test_a_flat_picture_is_not_static():
    rng = np.random.default_rng(0)
    black = rng.integers(0, 6, (3, 64, 114), np.uint8)
    with pytest.raises(AnnotatorError, match="too little contrast"):
        MOTION.measure(clip(black, [0.0, 0.5, 1.0]))


def test_strip_of_extreme_aspect_is_bounded():
    strip = np.stack([np.roll(texture(9, 16, 4000), 4 * k, axis=1) for k in range(2)])
    assert MOTION.measure(clip(strip, [0.0, 0.5]))["motion"] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("intel_classroom.gif", 0.0, 0.003),
        ("cotracker_paragliding.mp4", 0.15, 0.5),
        ("datajuicer_video3.mp4", 0.0, 0.02),
    ],
)
def test_real_footage(shared_videos, name, low, high):
    """A still classroom, a glider followed by the camera, a person talking before a still camera."""
    row = MOTION.measure(of_file(MOTION, shared_videos / "dev" / name, last=300))
    assert low <= row["motion"] <= high
