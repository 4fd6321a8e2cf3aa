"""The demo's truth against what the rendered files really show."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from clipmill.curate.demo import render, render_video
from clipmill.curate.demo.plan import DEFECTS, FORMATS, make_plan
from clipmill.curate.demo.scene import Path as MotionPath
from clipmill.curate.demo.shot import Shot
from clipmill.curate.demo.timeline import make_timeline
from clipmill.curate.errors import UserError

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
from _truth import crop_iou, cut_scores, defect_scores, match_clips

SEED = 5  # of plans that are rendered here


@pytest.fixture(scope="module")
def demo(demo_videos) -> Path:
    return demo_videos


@pytest.fixture(scope="module")
def truth(demo) -> pd.DataFrame:
    return pd.read_parquet(demo / "truth.parquet")


@pytest.fixture(scope="module")
def pictures(demo, truth) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """file -> (seconds from the first frame [N], upright gray uint8 [N, H, W])."""
    return {file: _decode(demo / file) for file in truth["file"].unique()}


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    times, frames = [], []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                for frame in packet.decode():
                    times.append(frame.time)
                    frames.append(np.rot90(frame.to_ndarray(format="gray"), frame.rotation // 90))
            except av.FFmpegError:
                continue
    return np.array(times) - times[0], np.stack(frames)


def _shots(truth: pd.DataFrame) -> pd.DataFrame:
    shots = truth[truth["row"] == "shot"].astype({f"crop_{c}": int for c in "xywh"})
    return shots[shots["decodable_frames"] == shots["end_frame"] - shots["start_frame"]]


def test_same_seed_same_bytes_other_seed_other_pictures(tmp_path):
    digests = []
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        plan = make_plan(0.5, seed)
        for index in (3, 4, 5):
            render_video(
                plan, replace(plan[index], shots=(replace(plan[index].shots[0], clean_s=0.5),)), tmp_path / run
            )
        files = sorted((tmp_path / run).iterdir())
        digests.append([hashlib.sha256(f.read_bytes()).hexdigest() for f in files])
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_rendering_does_not_depend_on_the_order_of_frames():
    plan = make_plan(2, 3)[0].shots[0]
    forward, backward = Shot(plan, plan.picture), Shot(plan, plan.picture)
    times = (0.0, 0.7, 1.9)
    a = [forward.frame(t, i) for i, t in enumerate(times)]
    b = [backward.frame(times[i], i) for i in (2, 1, 0)][::-1]
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_every_file_opens_and_holds_the_frames_the_truth_promises(demo, truth, pictures):
    for file, rows in truth.groupby("file"):
        times, frames = pictures[file]
        promised = rows["n_frames"].iloc[0]
        decodable = sum(rows["decodable_frames"] * (rows["end_frame"] > rows["start_frame"]))
        assert len(frames) == decodable, file
        assert (len(frames) < promised) == file.startswith("broken"), file
        assert frames.shape[1:] == (rows["height"].iloc[0], rows["width"].iloc[0]), file
        starts = rows[rows["start_frame"] < len(frames)]
        np.testing.assert_allclose(times[starts["start_frame"]], starts["start_s"], atol=6e-4, err_msg=file)


def test_the_folder_has_the_variety_of_real_ones(demo):
    facts = {}
    for fmt in FORMATS:
        with av.open(str(demo / fmt.name)) as container:
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            facts[fmt.name] = (
                container.format.name,
                stream.codec_context.name,
                bool(container.streams.audio),
                -frame.rotation % 360,
            )
    assert {f[2] for f in facts.values()} == {True, False}
    assert {f[3] for f in facts.values()} == {0, 90}
    assert facts["phone_portrait.mp4"][3] == 90
    assert len({f[0] for f in facts.values()}) == 4
    assert {"h264", "hevc", "vp9", "mpeg4"} <= {f[1] for f in facts.values()}
    assert any("av1" in f[1] or "dav1d" in f[1] for f in facts.values())
    gaps = np.diff(_decode(demo / "phone_vfr.mp4")[0])
    assert gaps.max() > 1.5 * np.median(gaps)


def test_sidecar_texts_are_read_back(demo):
    from clipmill.curate.inputs.sidecars import find_sidecar_tables, sidecar_text

    tables = find_sidecar_tables([demo])
    texts = {f.name: sidecar_text(demo / f.name, f.name, tables) for f in FORMATS}
    assert all(not warnings for _, warnings in texts.values())
    captioned = {name for name, (text, _) in texts.items() if text["caption"]}
    assert captioned == {f.name for f in FORMATS[:5]}
    assert texts["meadow_hevc.mp4"][0]["license"] == "CC0-1.0"
    assert texts["lagoon_vp9.webm"][0]["tags"] == ["synthetic", "sprites"]


def test_every_defect_class_is_planted_and_about_half_is_clean():
    for minutes in (2, 4):
        shots = [s for v in make_plan(minutes, 0) for s in v.shots]
        counts = {d: sum(d in s.defects for s in shots) for d in DEFECTS}
        assert min(counts.values()) >= (3 if minutes == 2 else 5)
        good = sum(set(s.defects) <= {"letterbox", "duplicate"} for s in shots)
        assert 0.4 <= good / len(shots) <= 0.65
        assert sum(len(s.defects) > 1 for s in shots) >= 2


def test_plan_duration_is_about_what_was_asked():
    for minutes in (1, 2, 5, 12):
        planned_s = sum(s.clean_s + s.entry_s for v in make_plan(minutes, 0) for s in v.shots)
        assert planned_s == pytest.approx(60 * minutes, rel=0.12)


def test_cuts_are_at_the_frames_the_truth_names(truth, pictures):
    """A hard cut is the greatest change around it; inside a dissolve no single step explains the change of picture."""
    for row in truth[(truth["row"] == "transition") & (truth["decodable_frames"] > 0)].itertuples():
        frames = pictures[row.file][1].astype(np.int16)
        if row.transition == "hard":
            steps = [
                np.abs(frames[i] - frames[i - 1]).mean()
                for i in range(row.start_frame - 3, min(row.start_frame + 4, len(frames)))
            ]
            assert np.argmax(steps) == 3, (row.file, row.start_frame)
            # The next largest is a flicker beside the cut, in a clip that was planted to have it.
            assert steps[3] > 1.5 * sorted(steps)[-2], (row.file, row.start_frame)
        elif row.end_frame < len(frames):
            steps = [np.abs(frames[i] - frames[i - 1]).mean() for i in range(row.start_frame, row.end_frame + 1)]
            total = np.abs(frames[row.end_frame] - frames[row.start_frame - 1]).mean()
            assert max(steps) < 0.5 * total, (row.file, row.start_frame)


def test_fades_go_through_black(truth, pictures):
    fades = truth[(truth["transition"] == "fade") & (truth["row"] == "transition") & (truth["decodable_frames"] > 20)]
    assert len(fades)
    for row in fades.itertuples():
        levels = pictures[row.file][1][row.start_frame : row.end_frame].mean((1, 2))
        assert levels.min() < 8
        assert pictures[row.file][1][row.start_frame - 1].mean() > 40


def test_measured_pan_is_the_true_speed_within_2_percent():
    """Phase correlation of windowed patches between frames 0.3 s apart, on shots rendered as they come."""
    plans = [s for v in make_plan(5, SEED) for s in v.shots if s.law == "pan" and not s.defects and not s.caption_line]
    assert len(plans) >= 3
    for plan in plans[:4]:
        shot = Shot(plan, plan.picture)
        before, after = (cv2.cvtColor(shot.frame(t, 0), cv2.COLOR_RGB2GRAY).astype(np.float32) for t in (1.0, 1.3))
        moved, _ = cv2.phaseCorrelate(before, after, cv2.createHanningWindow(before.shape[::-1], cv2.CV_32F))
        speed = np.hypot(*moved) / 0.3 / min(plan.picture)
        truth = shot.motion()
        assert speed == pytest.approx(truth.law_speed, rel=0.02)
        assert truth.mean_speed == pytest.approx(truth.law_speed, rel=1e-6)


def test_mean_speed_of_a_zoom_matches_its_integral():
    """|v| = rate * |x| for every point of a zoom: the mean over the rectangle has a closed form to compare with."""
    plan = next(s for v in make_plan(5, SEED) for s in v.shots if s.law == "zoom" and not s.defects)
    width, height = np.array(plan.picture) / min(plan.picture)
    x, y = np.meshgrid((np.arange(400) + 0.5) / 400 - 0.5, (np.arange(400) + 0.5) / 400 - 0.5)
    motion = Shot(plan, plan.picture).motion()
    assert motion.mean_speed == pytest.approx(motion.law_rate * np.hypot(x * width, y * height).mean(), rel=0.01)


def test_bounce_stays_inside_and_keeps_its_speed():
    path = MotionPath(origin=(0.2, -0.1), velocity=(0.5, 0.3), bounds=(0.6, 0.25))
    t = np.arange(0, 10, 0.001)
    points = np.array([path.position(x) for x in t])
    assert (np.abs(points).max(0) <= (0.6 + 1e-9, 0.25 + 1e-9)).all()
    assert (np.abs(points).max(0) > (0.59, 0.24)).all()
    assert np.allclose(points[0], (0.2, -0.1))
    speed = np.hypot(*np.diff(points, axis=0).T) / 0.001
    assert np.median(speed) == pytest.approx(np.hypot(0.5, 0.3), rel=1e-6)


def test_clean_shots_move_and_are_lit(truth, pictures):
    for row in _shots(truth).itertuples():
        if set(row.defects) & {"static", "near_black"}:
            continue
        assert row.mean_speed > 0.03, (row.file, row.shot_index)
        frames = pictures[row.file][1][row.start_frame : row.end_frame, row.crop_y : row.crop_y + row.crop_h]
        assert 60 < frames[:, :, row.crop_x : row.crop_x + row.crop_w].mean() < 200


def test_text_boxes_hold_the_ink_tightly(truth):
    """The boxes against the pictures with and without the overlay: every bright letter is inside, and touches each
    side.
    """
    plans = [s for v in make_plan(4, 0) for s in v.shots if "text" in s.defects or s.caption_line]
    assert len(plans) >= 6
    for plan in plans[:6]:
        shot = Shot(plan, plan.picture)
        with_text = shot.scene.render(0.0)
        without = with_text.copy()
        shot.overlay.apply(with_text)
        ink = (with_text.min(2) > 190) & (with_text.astype(int).min(2) > without.astype(int).min(2))
        covered = np.zeros(ink.shape, bool)
        for x0, y0, x1, y1 in shot.text_boxes_px().astype(int):
            box = ink[y0:y1, x0:x1]
            assert box[:2].any()
            assert box[-2:].any()
            assert box[:, :2].any()
            assert box[:, -2:].any()
            covered[y0:y1, x0:x1] = True
        panel = np.zeros_like(ink)
        h, w = shot.overlay.cover.shape[:2]
        panel[shot.overlay.y : shot.overlay.y + h, shot.overlay.x : shot.overlay.x + w] = True
        assert not (ink & panel & ~covered).any()
        share = covered.mean()
        assert share > 0.07 if "text" in plan.defects else share < 0.04
    areas = truth["text_area"].dropna()
    assert ((areas == 0) | ((areas > 0.002) & (areas < 0.04)) | (areas > 0.1)).all()


def test_borders_are_black_and_the_picture_inside_is_not(truth, pictures):
    bordered = _shots(truth)[_shots(truth)["defects"].map(lambda d: "letterbox" in d)]
    assert len(bordered) >= 2
    for row in bordered.itertuples():
        frame = pictures[row.file][1][(row.start_frame + row.end_frame) // 2].copy()
        inside = frame[row.crop_y : row.crop_y + row.crop_h, row.crop_x : row.crop_x + row.crop_w]
        edges = (inside[2:4], inside[-4:-2], inside[:, 2:4], inside[:, -4:-2])
        assert min(np.median(e) for e in edges) > 30
        inside[:] = 0
        assert np.percentile(frame, 99) < 6
        assert row.crop_w * row.crop_h < row.width * row.height


def test_planted_defects_show_in_the_pixels(truth, pictures):
    seen = set()
    for row in _shots(truth).itertuples():
        frames = pictures[row.file][1][row.start_frame : row.end_frame]
        mean = frames.mean((1, 2))
        seen |= set(row.defects)
        if "near_black" in row.defects:
            assert np.percentile(frames, 99.5) < 20
        if "static" in row.defects:
            assert np.abs(frames[3:].astype(int) - frames[-1]).mean() < 3
        wobble = np.abs(np.diff(mean, 2)).mean() / mean.mean()
        assert (wobble > 0.15) == ("flicker" in row.defects), (row.file, row.shot_index, wobble)
    assert {"near_black", "static", "flicker"} <= seen


def test_a_duplicate_shows_the_same_pictures_in_another_file(truth, pictures):
    shots = _shots(truth)
    copies = shots[shots["duplicate_of"].notna()]
    assert len(copies)
    for row in copies.itertuples():
        file, _, index = row.duplicate_of.rpartition("#")
        source = shots[(shots["file"] == file) & (shots["shot_index"] == int(index))].iloc[0]
        assert file != row.file
        assert source["codec"] != row.codec
        a, b = (
            cv2.resize(pictures[r.file][1][r.start_frame], (96, 54), interpolation=cv2.INTER_AREA).astype(float)
            for r in (row, source)
        )
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.97


def test_shots_do_not_look_alike_to_a_perceptual_hash(truth, pictures):
    import imagehash
    from PIL import Image

    shots = _shots(truth)
    shots = shots[shots["duplicate_of"].isna() & shots["defects"].map(lambda d: "near_black" not in d)]
    middles = [pictures[r.file][1][(r.start_frame + r.end_frame) // 2] for r in shots.itertuples()]
    hashes = [imagehash.phash(Image.fromarray(np.ascontiguousarray(m))) for m in middles]
    assert min(a - b for i, a in enumerate(hashes) for b in hashes[:i]) > 12


def test_timeline_covers_every_frame_once():
    for video in make_plan(3, 9):
        timeline = make_timeline(video)
        edges = [(s.start, s.end) for s in timeline.spans]
        assert edges[0][0] == 0
        assert edges[-1][1] == timeline.n_frames
        assert all(a[1] == b[0] for a, b in pairwise(edges))
        assert all(e > s for s, e in (x for x, span in zip(edges, timeline.spans, strict=True) if span.kind != "hard"))


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match="minutes"):
        render(tmp_path, minutes=0)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        render(tmp_path / "file", minutes=1)


def _perfect_run(truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables of an imaginary run that finds exactly the truth: (videos, manifest, decisions)."""
    columns = {"static": "motion", "text": "text_area", "blur": "sharpness"} | {
        d: d for d in ("blockiness", "flicker", "near_black")
    }
    videos, clips, decisions = [], [], []
    for number, (file, rows) in enumerate(truth.groupby("file")):
        marks = rows[(rows["row"] == "transition") & (rows["decodable_frames"] > 0)]
        kinds = ["hard" if k == "hard" else "gradual" for k in marks["transition"]]
        middles = ((marks["start_s"] + marks["end_s"]) / 2 * 1000).round().astype(int) + 500
        cuts = [{"pts": p, "kind": k} for p, k in zip(middles, kinds, strict=True)]
        videos.append(
            {
                "video_id": str(number),
                "relpath": file,
                "start_pts": 500,
                "time_base_num": 1,
                "time_base_den": 1000,
                "cuts": cuts,
            }
        )
        for shot in rows[(rows["row"] == "shot") & (rows["decodable_frames"] > 0)].itertuples():
            name = f"{file}#{shot.shot_index}"
            crop = {c: getattr(shot, c) for c in ("crop_x", "crop_y", "crop_w", "crop_h")}
            times = {"start_s": shot.start_s + 0.05, "end_s": shot.end_s - 0.05}
            group = shot.duplicate_of if isinstance(shot.duplicate_of, str) else name
            clips.append(
                {"clip_id": name, "video_id": str(number), "relpath": file, "dup_group_id": group} | crop | times
            )
            decisions.append({"clip_id": name, "failed_filters": [columns[d] for d in shot.defects if d in columns]})
    return pd.DataFrame(videos), pd.DataFrame(clips), pd.DataFrame(decisions)


def test_scores_of_a_perfect_run_are_one(truth):
    videos, manifest, decisions = _perfect_run(truth)
    matches = match_clips(truth, videos, manifest)
    assert (matches["clip_id"] == matches["file"] + "#" + matches["shot_index"].astype(str)).all()
    assert matches[["best_of_shot", "best_of_clip"]].all(axis=None)
    cuts = cut_scores(truth, videos)
    assert cuts["hard_f1"] == cuts["gradual_precision"] == cuts["gradual_recall"] == cuts["kind_agreement"] == 1
    scores = defect_scores(truth, manifest, decisions)
    assert set(scores.index) == set(DEFECTS)
    assert (scores[["precision", "recall"]] == 1).all(axis=None)


def test_scores_fall_with_every_kind_of_mistake(truth):
    videos, manifest, decisions = _perfect_run(truth)
    videos["cuts"] = [[*c, {"pts": 900, "kind": "hard"}] if i == 0 else c[1:] for i, c in enumerate(videos["cuts"])]
    cuts = cut_scores(truth, videos)
    n_hard = cuts["hard_tp"] + cuts["hard_fn"]
    assert cuts["hard_fp"] == 1
    assert cuts["hard_fn"] + cuts["gradual_fn"] == sum(len(c) >= 0 for c in videos["cuts"][1:]) - _uncounted(truth)
    assert cuts["hard_recall"] == pytest.approx(cuts["hard_tp"] / n_hard)
    clean = next(i for i, f in enumerate(decisions["failed_filters"]) if not f)
    blurred = next(i for i, f in enumerate(decisions["failed_filters"]) if "sharpness" in f)
    decisions.at[clean, "failed_filters"] = ["motion"]
    decisions.at[blurred, "failed_filters"] = ["motion"]
    lost = decisions["clip_id"][next(i for i, f in enumerate(decisions["failed_filters"]) if "near_black" in f)]
    manifest["dup_group_id"] = manifest["clip_id"]
    manifest["crop_w"] -= 2
    scores = defect_scores(truth, manifest[manifest["clip_id"] != lost], decisions)
    assert (scores.loc["static", ["fp", "fp_clean"]] == (2, 1)).all()
    assert scores.loc["blur", "fn"] == 1
    assert scores.loc["near_black", "fn"] == 1
    assert scores.loc["duplicate", "recall"] == 0
    assert scores.loc["letterbox", "recall"] == 1
    assert scores.loc["letterbox", "precision"] < 0.5


def _uncounted(truth: pd.DataFrame) -> int:
    """Files without a whole transition: dropping their first cut is no mistake; the first file by name keeps all of its
    cuts.
    """
    marks = truth[truth["row"] == "transition"]
    first = marks.sort_values("start_s").drop_duplicates("file")
    partial = first["decodable_frames"] < (first["end_frame"] - first["start_frame"]).clip(lower=1)
    return int(partial.sum())


def test_crop_iou():
    assert crop_iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert crop_iou((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert crop_iou((0, 0, 10, 10), (20, 0, 5, 5)) == 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are looked at in /proc")
def test_the_encoder_of_av1_leaves_the_process_scheduled_as_it_was(tmp_path):
    """As root, SVT-AV1 makes its caller real-time, which starves every other process."""
    code = (
        "import os, sys; import numpy as np; from fractions import Fraction; from pathlib import Path\n"
        "from clipmill.curate.demo.plan import Format; from clipmill.curate.demo.writer import open_writer\n"
        "fmt = Format('a.mkv', 'matroska', 'libsvtav1', 256, 144, Fraction(30))\n"
        "with open_writer(Path(sys.argv[1]), fmt, Fraction(1, 30)) as writer:\n"
        "    writer.frame(np.zeros((144, 256, 3), np.uint8), 0)\n"
        "    print({os.sched_getscheduler(int(thread)) for thread in os.listdir('/proc/self/task')})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mkv"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"{{{os.SCHED_OTHER}}}", done.stderr
