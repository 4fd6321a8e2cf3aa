"""What one decode says of files that are not as plain as they look: lengths, damage, slides, several streams."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import barcode

from clipmill.curate.annotation.collector import Collector
from clipmill.curate.decode.decode_pass import decode_pass, video_facts
from clipmill.curate.errors import DecodeError
from clipmill.curate.scenes import detect
from clipmill.curate.settings.decode import FramesConfig
from clipmill.curate.settings.scenes import ScenesConfig
from clipmill.curate.video.reader import VideoDecoder, open_video
from clipmill.curate.video.x264 import steady_x264

CASCADE = ScenesConfig(detector="cascade")


def decoded(path: Path):
    collector = Collector([], FramesConfig(), path.parent / "scratch")
    result = decode_pass(path, "pyav", CASCADE, collector, None)
    collector.close()
    return result


def facts(path: Path) -> dict:
    return video_facts(decoded(path))


def noise(seed: int, size=(160, 120)) -> np.ndarray:
    """uint8 [H, W, 3]: a picture of its own for every seed, with some structure."""
    import cv2

    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 12, 3), np.uint8)
    return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


def write(
    path: Path,
    pictures: list[np.ndarray],
    pts: list[int],
    codec: str = "libx264",
    last: int | None = None,
    **options: str,
) -> Path:
    """Pictures at times in 1/1000 s; last: how long the last one is shown."""
    with av.open(str(path), "w") as out:
        # Always the same bytes: damage must hit the same place.
        steady = steady_x264() if codec == "libx264" else {}
        stream = out.add_stream(codec, rate=25, options=options | steady)
        stream.codec_context.thread_count = 1
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100 if codec == "gif" else 1000)
        packets = []
        for picture, when in zip(pictures, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = when, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if last is not None:
            packets[-1].duration = int(last * Fraction(1, 1000) / packets[-1].time_base)
        out.mux(packets)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_a_last_frame_that_stands_long_is_known(name: str, tmp_path: Path):
    pictures = [noise(i) for i in range(11)]
    row = facts(write(tmp_path / name, pictures, [40 * i for i in range(11)], last=5000, bf="0"))
    assert (row["status"], row["error_message"]) == ("ok", None)
    assert row["duration_s"] == pytest.approx(5.4, abs=0.002)


def test_a_last_picture_of_a_gif_that_stands_long_is_known(tmp_path: Path):
    path = tmp_path / "a.gif"
    from PIL import Image

    first, *rest = [Image.fromarray(noise(i)) for i in range(8)]
    first.save(path, save_all=True, append_images=rest, duration=[40] * 7 + [3000], loop=0)
    row = facts(path)
    assert (row["status"], row["duration_s"]) == ("ok", pytest.approx(3.28))


def test_a_longer_track_beside_the_picture_is_not_its_length(tmp_path: Path):
    """A subtitle at 15 s over a picture of 2 s."""
    source = write(tmp_path / "a.mkv", [noise(i) for i in range(50)], [40 * i for i in range(50)], bf="0")
    subtitles = tmp_path / "a.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\na\n\n2\n00:00:14,000 --> 00:00:15,000\nb\n")
    path = tmp_path / "longer.mkv"
    with av.open(str(source)) as video, av.open(str(subtitles)) as text, av.open(str(path), "w") as out:
        pairs = [(s, out.add_stream_from_template(s)) for s in (video.streams.video[0], text.streams[0])]
        for (stream, target), container in zip(pairs, (video, text), strict=True):
            for packet in container.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    row = facts(path)
    assert (row["status"], row["error_message"]) == ("ok", None)
    assert row["duration_s"] == pytest.approx(2.0, abs=0.002)


def test_a_late_start_is_no_truncation(tmp_path: Path):
    pts = [3_600_000 + 40 * i for i in range(50)]
    row = facts(write(tmp_path / "late.mkv", [noise(i) for i in range(50)], pts))
    assert (row["status"], row["duration_s"]) == ("ok", pytest.approx(2.0, abs=0.002))


def damaged(path: Path, first: float, last: float) -> Path:
    """Some bytes of the pictures changed, between two shares of the file."""
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + 64 if path.suffix == ".mp4" else 0
    rng = np.random.default_rng(3)
    span = len(data) - start
    for at in rng.integers(start + int(first * span), start + int(last * span), 8):
        data[at] ^= 0x55
    hurt = path.with_stem(path.stem + "_hurt")
    hurt.write_bytes(data)
    return hurt


def moving(n: int) -> list[np.ndarray]:
    picture = noise(5, (480, 200))
    return [np.ascontiguousarray(picture[20:180, 2 * i : 2 * i + 240]) for i in range(n)]


def test_corrupt_frames_are_counted_and_reach_to_the_next_key_frame(tmp_path: Path):
    path = write(tmp_path / "a.mp4", moving(75), [40 * i for i in range(75)], g="25", keyint_min="25", sc_threshold="0",
                 movflags="faststart")  # fmt: skip
    hurt = decoded(damaged(path, 0.4, 0.6))
    whole = decoded(path)
    row, marks = video_facts(hurt), hurt.corrupt
    assert marks is not None
    assert whole.corrupt is not None
    assert row["n_corrupt_frames"] == np.sum(marks == 1) > 0
    assert row["status"] == "partial"
    assert not marks[:25].any(), "before the damage"
    assert not marks[50:].any() or marks[50:].argmax() > 0, "a key frame ends it"
    assert video_facts(whole)["n_corrupt_frames"] == 0
    assert not whole.corrupt.any()


def test_every_frame_that_differs_from_the_clean_one_is_marked(tmp_path: Path):
    """Bidirectional frames and all: what was decoded from a corrupt frame is not trusted."""
    path = write(tmp_path / "a.mp4", moving(100), [40 * i for i in range(100)], g="50", bf="3", sc_threshold="0",
                 movflags="faststart")  # fmt: skip
    hurt_path = damaged(path, 0.2, 0.8)
    hurt = decoded(hurt_path)
    assert hurt.corrupt is not None
    clean = dict(lumas(path))
    wrong = [pts for pts, luma in lumas(hurt_path) if np.abs(luma - clean[pts]).max() > 0]
    assert wrong
    assert set(wrong) <= set(hurt.pts[hurt.corrupt > 0].tolist())


def lumas(path: Path) -> list[tuple[int, np.ndarray]]:
    """(PTS, int [H, W]) of every frame that can be decoded."""
    with open_video(path) as (container, stream):
        return [(frame.pts, frame.luma().astype(int)) for frame in VideoDecoder(container, stream)]


def test_slides_are_cut(tmp_path: Path):
    photos = [noise(i) for i in range(6)]
    result = decoded(write(tmp_path / "slides.mp4", photos, [10_000 * i for i in range(6)], last=10_000, bf="0"))
    found, _ = detect(result.curves, result.t_s, CASCADE)
    assert [t.frame for t in found] == [1, 2, 3, 4, 5]
    assert result.duration_s == pytest.approx(60)


def test_a_still_camera_at_one_frame_a_second_is_not_cut(tmp_path: Path):
    result = decoded(write(tmp_path / "lapse.mp4", moving(20), [1000 * i for i in range(20)], last=1000, bf="0"))
    assert not [t for t in detect(result.curves, result.t_s, CASCADE)[0] if t.detector == "slow frames"]


def test_only_a_cover_picture_says_so(tmp_path: Path):
    from PIL import Image

    Image.fromarray(noise(1)).save(tmp_path / "cover.png")
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=44100)
        cover = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 160, 120, "rgb24"
        cover.disposition = int(av.stream.Disposition.attached_pic)
        out.mux(cover.encode(av.VideoFrame.from_ndarray(noise(1), format="rgb24")))
        for i in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44100, 1024 * i
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    with pytest.raises(DecodeError, match=r"^only a cover picture beside audio$"):
        decoded(path)


def test_a_still_beside_a_moving_picture_is_not_the_video(tmp_path: Path):
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as out:
        still, movie = (out.add_stream("libx264", rate=25, options={"bf": "0"}) for _ in range(2))
        for stream in (still, movie):
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for stream, n in ((still, 1), (movie, 25)):
            for i in range(n):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(barcode.painted(i, 160, 120), format="rgb24")))
            out.mux(stream.encode(None))
    assert facts(path)["n_frames_decoded"] == 25


def test_a_broadcast_cut_in_the_middle_says_so(tmp_path: Path):
    """MPEG-TS from the middle of a group of pictures."""
    path = write(
        tmp_path / "a.ts", moving(100), [40 * i for i in range(100)], g="50", keyint_min="50", sc_threshold="0"
    )
    data = path.read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[: 188 * 3] + data[len(data) // 4 // 188 * 188 :])
    row = facts(cut)
    assert row["status"] == "partial"
    assert "starts without a key frame" in row["error_message"]


@pytest.mark.parametrize(("number", "name"), [(8, "YCgCo"), (14, "ICtCp"), (10, "BT.2020 CL")])
def test_a_colour_matrix_that_cannot_be_converted_is_named(number: int, name: str, tmp_path: Path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"x264-params": f"colormatrix={MATRIX_OF_X264[number]}"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noise(i), format="rgb24")))
        out.mux(stream.encode(None))
    with pytest.raises(DecodeError, match=f"the colour matrix {name} .* cannot be converted"):
        decoded(path)


MATRIX_OF_X264 = {8: "YCgCo", 10: "bt2020c", 14: "ICtCp"}


def test_files_of_before_are_read_with_the_new_columns(tmp_path: Path):
    from clipmill.curate.common.files import read_table
    from clipmill.curate.contract import schema

    stored = next((Path(__file__).parents[2] / "data" / "run_before_move" / "run" / "videos").glob("6*.parquet"))
    shutil.copy(stored, tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet", schema.VIDEOS)
    assert table.schema.names == schema.VIDEOS.names
    assert table["mirrored"].to_pylist() == [None]


def test_a_picture_that_ends_before_its_own_length_is_short_beside_longer_sound(tmp_path: Path):
    """A truncated picture track: the sound beside it does not hide that, and sound that goes on is no fault."""
    for name, n, said in (("whole.mkv", 50, None), ("short.mkv", 50, "truncated")):
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            picture = out.add_stream("libx264", rate=25, options={"bf": "0"})
            picture.width, picture.height, picture.pix_fmt = 160, 120, "yuv420p"
            sound = out.add_stream("aac", rate=44100)
            for i in range(n):
                out.mux(picture.encode(av.VideoFrame.from_ndarray(noise(i), format="rgb24")))
            out.mux(picture.encode(None))
            for i in range(200):
                frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 44100, 1024 * i
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
        if said:  # the tag of the picture's length, written over
            data = path.read_bytes()
            assert data.count(b"00:00:02.0") == 1
            path.write_bytes(data.replace(b"00:00:02.0", b"00:00:04.0"))
        message = facts(path)["error_message"]
        assert message is None if said is None else said in message, name
