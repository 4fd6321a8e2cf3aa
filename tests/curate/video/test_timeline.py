"""Time stamps that start anew or leap: one line of time in every reader."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers import barcode

from clipmill.curate.annotation.collector import Collector
from clipmill.curate.decode.decode_pass import decode_pass, video_facts
from clipmill.curate.export.encode import encode_clip
from clipmill.curate.settings.decode import FramesConfig
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.settings.scenes import ScenesConfig
from clipmill.curate.video.reader import VideoDecoder, frames_at, open_video
from clipmill.curate.video.span_reader import SpanReader
from clipmill.evaluate.sets.files import FileFrames

N = 30
KINDS = {
    "h264.ts": ("libx264", {"bf": "2"}),
    "hevc.ts": ("libx265", {"x265-params": "log-level=none"}),
    "mpeg2.ts": ("mpeg2video", {"bf": "2"}),
    "h264.m2ts": ("libx264", {"bf": "0"}),
    "mpeg2.vob": ("mpeg2video", {"bf": "2"}),
    "mpeg1.mpg": ("mpeg1video", {}),
    "h264.flv": ("libx264", {"bf": "2"}),
    "h264.mkv": ("libx264", {"bf": "2"}),
}
FLV_HEADER_BYTES = 13


def joined(folder: Path, name: str, starts: tuple[int, ...]) -> Path:
    """Recordings of N frames at 25 fps, one per entry of `starts` (its first frame's number), joined byte by byte."""
    codec, options = KINDS[name]
    data = b""
    for start in starts:
        part = folder / f"{start}{name}"
        barcode.write_video(part, [start + i for i in range(N)], Fraction(1, 25), codec, size=(96, 64), **options)
        data += part.read_bytes()[FLV_HEADER_BYTES if data and name.endswith("flv") else 0 :]
    whole = folder / name
    whole.write_bytes(data)
    return whole


def sequential(path: Path):
    with open_video(path) as (container, stream):
        decoder = VideoDecoder(container, stream)
        return decoder, [(frame.pts, barcode.read(frame.luma())) for frame in decoder]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("starts", [(0, 0), (0, 0, 0), (250000, 0)], ids=["again", "twice again", "back"])
def test_joined_recordings_go_on(name: str, starts: tuple[int, ...], tmp_path: Path):
    if name.endswith("mkv") and len(starts) > 2:
        pytest.skip("libav reads two joined Matroska files, no third one")
    decoder, read = sequential(joined(tmp_path, name, starts))
    assert [number for _, number in read] == [*range(N)] * len(starts)
    steps_s = np.diff([pts for pts, _ in read]) * float(decoder.info.time_base)
    assert steps_s == pytest.approx(0.04, abs=0.0011)
    assert decoder.log.n_jumps == len(starts) - 1


@pytest.mark.parametrize("name", [n for n in KINDS if not n.endswith("mkv")])
def test_a_leap_of_a_broadcast_is_taken_out(name: str, tmp_path: Path):
    decoder, read = sequential(joined(tmp_path, name, (0, 5000)))
    assert [number for _, number in read] == [*range(N)] * 2
    steps_s = np.diff([pts for pts, _ in read]) * float(decoder.info.time_base)
    assert steps_s == pytest.approx(0.04, abs=0.0011)
    assert decoder.log.n_jumps == 1


def test_a_long_standing_frame_of_a_file_is_none(tmp_path: Path):
    """200 s between two frames of an MP4 are what they say."""
    path = barcode.write_video(tmp_path / "a.mp4", [0, 1, 2, 5002, 5003], Fraction(1, 25))
    decoder, read = sequential(path)
    assert decoder.log.n_jumps == 0
    assert (read[3][0] - read[2][0]) * float(decoder.info.time_base) == 200


@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.vob", "h264.flv", "h264.mkv"])
def test_every_reader_has_the_same_times(name: str, tmp_path: Path):
    path = joined(tmp_path, name, (0, 0))
    decoder, read = sequential(path)
    pts = [p for p, _ in read]
    wanted = [3, N - 1, N, N + 7, 2 * N - 1]
    numbers = [i % N for i in wanted]
    for keys in (None, decoder.log.keyframe_pts):
        found = list(frames_at(path, [pts[i] for i in wanted], keys, continuous=keys is None))
        assert [f.pts for f in found] == [pts[i] for i in wanted]
        assert [barcode.read(f.luma()) for f in found] == numbers
    with SpanReader(path, decoder.log.keyframe_pts, continuous=False) as reader:
        for first, stop in ((2, 9), (N + 5, N + 12), (N - 3, N + 3)):
            spans = [(f.pts, barcode.read(f.luma())) for f in reader.frames(pts[first], pts[stop])]
            assert spans == read[first:stop]
    frames = FileFrames(path, (pts[N], pts[N + 10]))
    assert len(frames.times_s()) == 10
    assert [barcode.read(picture) for picture in frames.read(np.arange(10))] == list(range(10))


@pytest.mark.parametrize("name", ["h264.ts", "h264.mkv"])
def test_a_clip_behind_the_jump_is_exported_with_its_own_pictures(name: str, tmp_path: Path):
    path = joined(tmp_path, name, (0, 0))
    video, pts = barcode.video_row(path)
    clip = barcode.clip_row(video, pts, N, 2 * N)
    done = encode_clip(path, video | {"n_discontinuities": 1}, clip, ExportConfig(fps=None), tmp_path / "out.mp4")
    assert barcode.indices(done.path) == list(range(N))


def test_a_second_flv_with_its_header_is_mentioned(tmp_path: Path):
    """libav stops at the header: half the pictures are not there, and that is said."""
    one = joined(tmp_path, "h264.flv", (0,))
    two = tmp_path / "two.flv"
    two.write_bytes(one.read_bytes() * 2)
    assert not sequential(one)[0].log.has_second_recording
    assert sequential(two)[0].log.has_second_recording
    collector = Collector([], FramesConfig(), tmp_path / "scratch")
    row = video_facts(decode_pass(two, "pyav", ScenesConfig(detector="cascade"), collector, None))
    collector.close()
    assert row["status"] == "partial"
    assert "second recording" in row["error_message"]
