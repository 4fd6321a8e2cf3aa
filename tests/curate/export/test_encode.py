"""Kept spans to clips: exactly the right frames, sizes, colours and bytes, on bar-coded and on real footage."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.barcode import boxes, clip_row, decoded, indices, video_row, write_video

from clipmill.curate.errors import DecodeError
from clipmill.curate.export.encode import ClipError, encode_clip, encode_clips, verify_clip
from clipmill.curate.export.filter_graph import geometry
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.video.reader import open_video
from clipmill.curate.video.span_reader import SpanReader

TICKS = Fraction(1, 15360)
SAME_RATE = ExportConfig(fps=None, short_side_px=90, preset="ultrafast")
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}


@pytest.fixture(scope="module")
def barcoded(tmp_path_factory) -> Path:
    """200 frames at 30 fps, H.264 with B-frames, a keyframe every 12 to 20 frames."""
    path = tmp_path_factory.mktemp("barcoded") / "thirty.mp4"
    return write_video(path, [i * 512 for i in range(200)], TICKS, gop=20)


def test_each_span_gives_its_own_frames_and_no_neighbours(barcoded, tmp_path):
    video, pts = video_row(barcoded)
    spans = [(0, 7), (7, 40), (41, 42), (97, 153), (153, 200)]
    clips = [clip_row(video, pts, a, b) for a, b in spans]
    done = list(encode_clips(barcoded, video, clips[::-1], SAME_RATE, tmp_path))
    assert [indices(d.path) for d in done] == [list(range(a, b)) for a, b in spans]
    assert [d.n_frames for d in done] == [b - a for a, b in spans]
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", OPEN_GOP),
        ("a.ts", "libx264", {}),
        ("a.ts", "mpeg2video", {"bf": "2"}),
        ("a.avi", "mpeg4", {}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.mov", "libx264", OPEN_GOP),
    ],
)
def test_containers_and_codecs(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, list(range(80)), Fraction(1, 25), codec, (160, 90), **options)
    video, pts = video_row(path)
    for first, stop in ((5, 33), (50, 79)):
        encode_clip(path, video, clip_row(video, pts, first, stop), SAME_RATE, tmp_path / "out.mp4")
        assert indices(tmp_path / "out.mp4") == list(range(first, stop))


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (24, [100, 101, 102, 104, 105, 106, 107, 109, 110]),  # 30 -> 24: every fifth frame goes
        (15, [100, 102, 104, 106, 108, 110]),
        (60, [i // 2 for i in range(200, 224)]),
        (20, [100, 101, 103, 104, 106, 107, 109, 110]),
        (12.5, [100, 102, 105, 107, 109]),
    ],
)
def test_resampling_shows_the_frame_on_screen(barcoded, tmp_path, fps, expected):
    video, pts = video_row(barcoded)
    clip = clip_row(video, pts, 100, 112)
    done = encode_clip(barcoded, video, clip, replace(SAME_RATE, fps=fps), tmp_path / "out.mp4")
    assert indices(done.path) == expected
    assert Fraction(done.fps_num, done.fps_den) == Fraction(fps)
    assert done.n_frames == int(Fraction(12, 30) * Fraction(fps))


def test_variable_frame_rate_follows_the_clock_not_the_frame_count(tmp_path):
    gaps = [512, 512, 4096, 512, 1536, 512, 512, 3072, 512, 512]
    pts = [0, *np.cumsum(gaps).tolist()]
    path = write_video(tmp_path / "vfr.mp4", pts, TICKS)
    video, found = video_row(path)
    assert found == pts
    clip = clip_row(video, pts, 1, 10)
    encode_clip(path, video, clip, replace(SAME_RATE, fps=30), tmp_path / "out.mp4")
    expected = [np.searchsorted(pts, pts[1] + k * 512, side="right") - 1 for k in range((pts[10] - pts[1]) // 512)]
    assert indices(tmp_path / "out.mp4") == expected


def test_the_file_is_what_a_trainer_expects(barcoded, tmp_path):
    video, pts = video_row(barcoded)
    done = encode_clip(
        barcoded, video, clip_row(video, pts, 30, 150), ExportConfig(preset="ultrafast"), tmp_path / "out.mp4"
    )
    data = done.path.read_bytes()
    kinds = boxes(data)
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    assert b"elst" not in kinds
    assert b"ctts" not in kinds  # no B-frames: decode order is display order
    with av.open(str(done.path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 24)
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        assert len(container.streams) == 1
        packets = [p for p in container.demux(stream) if p.size]
    keys = [float(p.pts * stream.time_base) for p in packets if p.is_keyframe]
    assert keys == [0, 1, 2, 3]
    assert (done.width, done.height, done.n_frames) == (456, 256, 96)


def test_same_bytes_alone_or_together(barcoded, tmp_path):
    video, pts = video_row(barcoded)
    clips = [clip_row(video, pts, a, b) for a, b in ((3, 20), (25, 60), (120, 160))]
    together = {d.clip_id: d.sha256 for d in encode_clips(barcoded, video, clips, SAME_RATE, tmp_path)}
    (tmp_path / "alone").mkdir()
    alone = {
        c["clip_id"]: encode_clip(barcoded, video, c, SAME_RATE, tmp_path / "alone" / "x.mp4").sha256 for c in clips
    }
    assert alone == together


def test_one_bad_clip_does_not_lose_the_others(barcoded, tmp_path):
    video, pts = video_row(barcoded)
    good = [clip_row(video, pts, 10, 30), clip_row(video, pts, 100, 120)]
    bad = [clip_row(video, pts, 50, 60, n_frames=11), clip_row(video, pts, 60, 70) | {"start_pts": pts[60] - 3}]
    first, wrong_count, wrong_start, last = encode_clips(barcoded, video, [*good, *bad], SAME_RATE, tmp_path)
    assert isinstance(wrong_count, ClipError)
    assert "10 of 11 frames" in wrong_count.message
    assert isinstance(wrong_start, ClipError)
    assert (indices(first.path), indices(last.path)) == (list(range(10, 30)), list(range(100, 120)))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([first.path.name, last.path.name])


def test_wrong_keyframe_table_still_gives_the_rightdecoded(barcoded, tmp_path):
    """Seeking is an optimisation: with keyframes that are not there, the frames are the same."""
    video, pts = video_row(barcoded)
    video["keyframe_pts"] = [p + 100 for p in pts]
    for path in encode_clips(
        barcoded, video, [clip_row(video, pts, 61, 75), clip_row(video, pts, 130, 140)], SAME_RATE, tmp_path
    ):
        assert indices(path.path)[0] in (61, 130)


def picture(path: Path) -> np.ndarray:
    """The first frame, RGB uint8 [H, W, 3]."""
    with open_video(path) as (container, stream):
        return next(container.decode(stream)).to_ndarray(format="rgb24")


def test_colours_survive_from_bt601_and_full_range(tmp_path):
    """A red, green, blue and grey picture, coded as BT.601: back within 6 of 255."""
    colours = np.array([[200, 30, 30], [30, 180, 40], [40, 50, 190], [128, 128, 128]], np.uint8)
    source = np.repeat(np.repeat(colours[None], 90, 0), 40, 1)
    path = tmp_path / "colours.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for _ in range(3):
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(source, format="rgb24").reformat(
                        format="yuv420p", dst_colorspace="itu601"
                    )
                )
            )
        container.mux(stream.encode(None))
    video, pts = video_row(path)
    done = encode_clip(
        path, video, clip_row(video, pts, 0, 3), ExportConfig(short_side_px=None, crf=4), tmp_path / "out.mp4"
    )
    with open_video(done.path) as (container, stream):
        shown = next(container.decode(stream)).to_ndarray(format="rgb24").astype(int)
    for i, colour in enumerate(colours):
        assert np.abs(shown[20:70, i * 40 + 10 : i * 40 + 30].mean((0, 1)) - colour).max() < 6


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_real_rotated_video_comes_out_upright(shared_videos, tmp_path, turn):
    path = shared_videos / "hard" / f"decord_rot{turn}.mov"
    video, pts = video_row(path)
    done = encode_clip(
        path, video, clip_row(video, pts, 0, 3), ExportConfig(short_side_px=None, fps=None), tmp_path / "out.mp4"
    )
    with open_video(path) as (container, stream):
        coded = next(container.decode(stream)).to_ndarray(format="rgb24")
    upright = np.rot90(coded, -(video["rotation_deg"] // 90))
    assert (done.width, done.height) == (upright.shape[1], upright.shape[0])
    assert np.abs(picture(done.path).astype(int) - upright).mean() < 6
    assert all(f.rotation == 0 for f in decoded(done.path))


@pytest.mark.parametrize(
    ("name", "config", "size"),
    [
        ("hard/autoeditor_sar2by3.mp4", ExportConfig(), (304, 256)),  # 640x360 at 2:3 is 427x360 square
        ("hard/derived_odd_479x269.mp4", ExportConfig(), (456, 256)),
        ("hard/torchcodec_odd_wh_444.mp4", ExportConfig(short_side_px=None), (320, 240)),
        ("hard/torchcodec_odd_wh_vp9_10bit.mp4", ExportConfig(multiple=16), (336, 256)),
        ("hard/moviepy_1x1.mp4", ExportConfig(short_side_px=None, fps=None), (2, 2)),
        ("hard/derived_vfr.mp4", ExportConfig(short_side_px=128, multiple=16), (224, 128)),
        ("hard/torchcodec_start8s.mp4", ExportConfig(fps=None), (456, 256)),
        ("hard/torchcodec_vp9.webm", ExportConfig(fps=60), (456, 256)),
        ("hard/derived_raw.h264", ExportConfig(), (456, 256)),
        ("hard/torchcodec_discard_key.mp4", ExportConfig(fps=None), (256, 256)),
        ("hard/derived_hevc10_hdr.mp4", ExportConfig(), (456, 256)),
        ("hard/derived_res_change.ts", ExportConfig(), (456, 256)),
        ("hard/derived_huge_ts.ts", ExportConfig(), (456, 256)),
        ("dev/mmaction2_test.avi", ExportConfig(), (342, 256)),
        ("dev/intel_classroom.gif", ExportConfig(), (456, 256)),
    ],
)
def test_real_footage_sizes_and_counts(shared_videos, tmp_path, name, config, size):
    path = shared_videos / name
    video, pts = video_row(path)
    first, stop = len(pts) // 3, max(len(pts) // 3 + 1, len(pts) // 3 * 2)
    clip = clip_row(video, pts, first, min(stop, first + 60))
    done = encode_clip(path, video, clip, replace(config, preset="ultrafast"), tmp_path / "out.mp4")
    promised = clip["duration_s"] * done.fps_num / done.fps_den
    assert (done.width, done.height) == size
    assert done.n_frames == max(1, int(promised + 0.0625))
    assert verify_clip(done.path).even


def small(frame: av.VideoFrame) -> np.ndarray:
    """int [54, 96, 3] RGB: luma alone differs between BT.601 and BT.709."""
    return frame.reformat(width=96, height=54, format="rgb24", interpolation="AREA", threads=1).to_ndarray().astype(int)


@pytest.mark.parametrize(
    "name", ["hard/derived_vfr.mp4", "hard/torchcodec_start8s.mp4", "dev/cotracker_cat.mp4", "hard/derived_huge_ts.ts"]
)
def test_real_footage_pictures_are_the_sources(shared_videos, tmp_path, name):
    """No source frame of the whole video is clearly nearer to an output frame than the one on screen then."""
    path = shared_videos / name
    video, pts = video_row(path)
    first = len(pts) // 4
    clip = clip_row(video, pts, first, min(len(pts), first + 20))
    done = encode_clip(
        path, video, clip, ExportConfig(short_side_px=None, fps=None, crf=8, preset="ultrafast"), tmp_path / "out.mp4"
    )
    source = [small(frame) for frame in decoded(path)[: first + 40]]
    period = Fraction(done.fps_den * video["time_base_den"], done.fps_num * video["time_base_num"])
    for k, frame in enumerate(decoded(done.path)):
        errors = [np.abs(picture - small(frame)).mean() for picture in source]
        earliest, latest = (
            np.searchsorted(pts, clip["start_pts"] + float((k + early) * period), side="right") - 1
            for early in (0, 0.375)
        )
        on_screen = min(errors[earliest : latest + 1])
        assert on_screen < 2.5
        assert on_screen <= min(errors) + 0.1


def test_interlaced_footage_is_deinterlaced(shared_videos, tmp_path):
    path = shared_videos / "hard" / "derived_interlaced.ts"
    video, pts = video_row(path)
    clips = [clip_row(video, pts, 10, 30), clip_row(video, pts, 30, 50)]
    assert video["interlaced"]
    assert [
        done.n_frames for done in encode_clips(path, video, clips, ExportConfig(short_side_px=None, fps=None), tmp_path)
    ] == [20, 20]


def test_deinterlacing_removes_the_comb(tmp_path):
    """Fields 1/50 s apart of a bar that moves 8 px per frame: rows differ from their neighbours until they are
    deinterlaced.
    """
    path = tmp_path / "fields.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "tff=1", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(30):
            fields = np.full((180, 320, 3), 40, np.uint8)
            fields[0::2, 20 + 8 * index : 60 + 8 * index] = 220
            fields[1::2, 24 + 8 * index : 64 + 8 * index] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(fields, format="rgb24")))
        container.mux(stream.encode(None))
    video, pts = video_row(path)

    def combing(interlaced: bool) -> float:
        config = ExportConfig(short_side_px=None, fps=None)
        done = encode_clip(
            path, video | {"interlaced": interlaced}, clip_row(video, pts, 5, 25), config, tmp_path / "out.mp4"
        )
        luma = np.stack([f.to_ndarray(format="gray").astype(float) for f in decoded(done.path)])
        assert len(luma) == 20
        return float(np.abs(luma[:, 1:-1] * 2 - luma[:, 2:] - luma[:, :-2]).mean())

    assert video["interlaced"]
    assert combing(True) < 0.2 * combing(False)


def test_crop_box_is_cut_out_before_scaling(barcoded, tmp_path):
    """The left half of the picture holds bars 0 to 4: bright where those bits of the index are set."""
    video, pts = video_row(barcoded)
    clip = clip_row(video, pts, 21, 22, crop_x=0, crop_y=20, crop_w=160, crop_h=140)
    done = encode_clip(barcoded, video, clip, ExportConfig(short_side_px=None, fps=None), tmp_path / "out.mp4")
    luma = picture(done.path).mean((0, 2))
    assert (done.width, done.height) == (160, 140)
    assert [luma[int((b + 0.5) * 32)] > 128 for b in range(5)] == [bool(21 >> b & 1) for b in range(5)]


def row(width: int, height: int, sar: tuple[int, int] = (1, 1), rotation: int = 0) -> dict:
    return {"width": width, "height": height, "sar_num": sar[0], "sar_den": sar[1], "rotation_deg": rotation}


def test_geometry_keeps_the_aspect_within_a_pixel():
    for width, height, sar, multiple in (
        (854, 480, (1, 1), 16),
        (720, 576, (64, 45), 16),
        (568, 320, (1, 1), 8),
        (1080, 1920, (1, 1), 32),
    ):
        plan = geometry(row(width, height, sar), {}, ExportConfig(multiple=multiple))
        x, y, w, h = plan.crop
        assert min(plan.out) == 256
        assert all(side % multiple == 0 for side in plan.out)
        assert min(x, y) >= 0
        assert x + w <= width
        assert y + h <= height
        assert w * sar[0] / sar[1] / h == pytest.approx(plan.out[0] / plan.out[1], abs=4 / height)


def test_a_picture_that_would_become_absurd_is_an_error():
    with pytest.raises(DecodeError, match="64000x256"):
        geometry(row(4000, 16), {}, ExportConfig())


def test_spans_in_any_order_and_overlapping(barcoded):
    """The reader never loses a frame, also after the end of the file was reached, with and without seeking."""
    video, pts = video_row(barcoded)
    ends = [*pts, video["end_pts"]]
    for keys in (video["keyframe_pts"], []):
        with SpanReader(barcoded, keys) as reader:
            for first, stop in ((150, 200), (100, 160), (0, 200), (199, 200), (30, 31), (31, 50), (45, 200), (0, 1)):
                assert [f.pts for f in reader.frames(ends[first], ends[stop])] == pts[first:stop]


def test_verify_refuses_a_damaged_clip(barcoded, tmp_path):
    video, pts = video_row(barcoded)
    done = encode_clip(barcoded, video, clip_row(video, pts, 0, 60), SAME_RATE, tmp_path / "out.mp4")
    assert verify_clip(done.path).n_frames == 60
    data = done.path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DecodeError, match="does not decode"):
        verify_clip(tmp_path / "cut.mp4")


def test_a_full_disk_is_the_users_to_mend(barcoded, tmp_path):
    """A file-size limit of the process stands in for the disk: one line that names the file, and nothing left
    behind.
    """
    script = (
        "import resource, sys; from pathlib import Path; sys.path[:0] = sys.argv[3:]\n"
        "from helpers.barcode import *; from clipmill.curate.export.encode import encode_clip\n"
        "from clipmill.curate.errors import UserError; from clipmill.curate.settings.export import ExportConfig\n"
        "video, pts = video_row(Path(sys.argv[1])); clip = clip_row(video, pts, 0, 150)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: encode_clip(Path(sys.argv[1]), video, clip, ExportConfig(crf=1), Path(sys.argv[2]))\n"
        "except UserError as error: print(error)\n"
    )
    tests = Path(__file__).resolve().parents[2]
    out = subprocess.run(
        [sys.executable, "-c", script, barcoded, tmp_path / "o.mp4", tests],
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.stdout.startswith("cannot write"), out.stderr
    assert len(out.stdout.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "values",
    [
        {"fps": 0.01},
        {"crf": 99},
        {"multiple": 3},
        {"preset": "warp"},
        {"split": {"train": 0.5}},
        {"split": {"dev": 1.0}},
    ],
)
def test_config_refuses_what_cannot_work(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ExportConfig(**values)
