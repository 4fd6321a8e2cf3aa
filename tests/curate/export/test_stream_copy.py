"""Stream copies: whole groups of pictures of the shot, decodable alone, or an error with the reason."""

from fractions import Fraction
from pathlib import Path

import pytest
from helpers.barcode import boxes, clip_row, decoded, indices, video_row, write_video

from clipmill.curate.errors import DecodeError
from clipmill.curate.export.stream_copy import copy_clip, copy_suffix

TICKS = Fraction(1, 15360)
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}


@pytest.fixture(scope="module")
def barcoded(tmp_path_factory) -> Path:
    """30 frames at 30 fps."""
    return write_video(tmp_path_factory.mktemp("barcoded") / "thirty.mp4", [i * 512 for i in range(30)], TICKS, gop=20)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mkv", "libx264", OPEN_GOP),
        ("a.webm", "libvpx", {"deadline": "realtime"}),
        ("a.ts", "mpeg2video", {"bf": "2"}),
    ],
)
def test_copy_takes_whole_groups_of_the_shot_only(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, list(range(100)), Fraction(1, 25), codec, (160, 90), **options)
    video, pts = video_row(path)
    clip = clip_row(video, pts, 30, 70)
    done = copy_clip(path, video, clip, tmp_path / f"out{copy_suffix(video['video_codec'])}")
    first, stop = (pts.index(clip[k]) for k in ("keyframe_start_pts", "keyframe_end_pts"))
    found = indices(done.path)
    assert found == list(range(first, first + len(found)))
    assert stop - 3 <= first + len(found) <= stop  # open groups lose the frames that need the next keyframe
    assert done.n_frames == len(found)
    assert Fraction(done.fps_num, done.fps_den) == 25
    if done.path.suffix == ".mp4":
        assert b"elst" not in boxes(done.path.read_bytes())


def test_copy_without_keyframes_is_an_error_with_the_reason(barcoded, tmp_path):
    video, pts = video_row(barcoded)
    clip = clip_row(video, pts, 1, 5)
    with pytest.raises(DecodeError, match="no keyframe span"):
        copy_clip(barcoded, video, clip, tmp_path / "out.mp4")


def test_copy_from_the_first_packet_of_a_stream_that_cannot_seek_there(shared_videos, tmp_path):
    """MPEG-TS whose clock wraps: seeking to the first keyframe lands behind it."""
    path = shared_videos / "hard" / "derived_huge_ts.ts"
    video, pts = video_row(path)
    clip = clip_row(video, pts, 0, len(pts)) | {"keyframe_start_pts": pts[0], "keyframe_end_pts": video["end_pts"]}
    assert copy_clip(path, video, clip, tmp_path / "out.mp4").n_frames == len(pts)


def test_copy_of_a_codec_without_a_home_is_an_error(shared_videos, tmp_path):
    path = shared_videos / "dev" / "intel_classroom.gif"
    video, pts = video_row(path)
    clip = clip_row(video, pts, 0, len(pts)) | {"keyframe_start_pts": pts[0], "keyframe_end_pts": pts[-1]}
    with pytest.raises(DecodeError, match=r"gif.*with --no-copy"):
        copy_clip(path, video, clip, tmp_path / f"out{copy_suffix(video['video_codec'])}")
    assert list(tmp_path.iterdir()) == []


def test_copy_of_a_rotated_video_stays_rotated(shared_videos, tmp_path):
    path = shared_videos / "hard" / "torchcodec_nasa_rot.mp4"
    video, pts = video_row(path)
    clip = clip_row(video, pts, 0, len(pts)) | {"keyframe_start_pts": pts[0], "keyframe_end_pts": video["end_pts"]}
    done = copy_clip(path, video, clip, tmp_path / "out.mp4")
    assert (done.width, done.height) == (video["width"], video["height"])
    assert [f.rotation for f in decoded(done.path)] == [f.rotation for f in decoded(path)][: done.n_frames]
