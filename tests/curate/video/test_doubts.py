"""Damage that a decoder conceals: frames that differ from the whole file's are marked, whatever the codec."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from clipmill.curate.annotation.collector import Collector
from clipmill.curate.decode.decode_pass import decode_pass, video_facts
from clipmill.curate.settings.decode import FramesConfig
from clipmill.curate.settings.scenes import ScenesConfig
from clipmill.curate.video.damage import after_corrupt
from clipmill.curate.video.reader import VideoDecoder, open_video

N_FRAMES, GOP, HIT = 48, 16, 20
X265 = {"x265-params": f"log-level=none:keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=0"}
CODECS = {
    "ffv1": ("ffv1", {"level": "3", "slicecrc": "1", "g": str(GOP)}),
    "mjpeg": ("mjpeg", {}),
    "mpeg2": ("mpeg2video", {"g": str(GOP)}),
    "mpeg4": ("mpeg4", {"g": str(GOP)}),
    "hevc": ("libx265", X265),
    "vp9": ("libvpx-vp9", {"g": str(GOP), "cpu-used": "8", "deadline": "realtime"}),
}


def written(path: Path, codec: str, options: dict[str, str]) -> Path:
    """A picture that moves by two pixels a frame."""
    world = np.kron(np.random.default_rng(0).integers(0, 256, (14, 40, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(N_FRAMES):
            picture = np.ascontiguousarray(world[:96, 2 * i : 2 * i + 160])
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=stream.pix_fmt)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def hurt(path: Path, share: float = 0.6, width: float = 0.2) -> Path:
    """Zeros in the middle of one packet; the container stays as it is."""
    with av.open(str(path)) as container:
        packet = [bytes(p) for p in container.demux(video=0) if p.size][HIT]
    data, n = bytearray(path.read_bytes()), len(packet)
    at = data.find(packet) + int(share * n)
    data[at : at + int(width * n)] = bytes(int(width * n))
    out = path.with_stem("hurt")
    out.write_bytes(data)
    return out


def decoded(path: Path):
    collector = Collector([], FramesConfig(), path.parent / "scratch")
    result = decode_pass(path, "pyav", ScenesConfig(detector="cascade"), collector, None)
    collector.close()
    return result


def lumas(path: Path) -> dict[int, np.ndarray]:
    with open_video(path) as (container, stream):
        return {frame.pts: frame.luma().copy() for frame in VideoDecoder(container, stream)}


@pytest.mark.parametrize("kind", ["ffv1", "mjpeg", "mpeg2", "mpeg4"])
def test_frames_that_differ_from_the_whole_file_are_marked(kind: str, tmp_path: Path):
    path = written(tmp_path / "a.mkv", *CODECS[kind])
    broken = hurt(path)
    whole, result = decoded(path), decoded(broken)
    assert not whole.corrupt.any()
    assert video_facts(whole)["status"] == "ok"
    clean, found = lumas(path), lumas(broken)
    wrong = {pts for pts, luma in found.items() if not np.array_equal(luma, clean[pts])}
    marked = set(result.pts[result.corrupt > 0].tolist())
    assert wrong
    assert wrong <= marked <= {pts for i, pts in enumerate(sorted(clean)) if HIT - 2 <= i < 2 * GOP}
    row = video_facts(result)
    assert (row["status"], row["n_corrupt_frames"] > 0) == ("partial", True)


def test_a_picture_that_is_left_out_without_an_error_counts_as_lost(tmp_path: Path):
    """HEVC: a packet whose header says a kind that does not exist is passed over."""
    path = written(tmp_path / "a.mkv", *CODECS["hevc"])
    with av.open(str(path)) as container:
        packet = [bytes(p) for p in container.demux(video=0) if p.size][HIT]
    data = bytearray(path.read_bytes())
    data[data.find(packet) + 4] = 0x5E  # the type of the unit: reserved
    broken = tmp_path / "hurt.mkv"
    broken.write_bytes(data)
    n_gone = 2 * GOP - HIT  # those that refer to it are left out, too
    assert len(lumas(broken)) == N_FRAMES - n_gone
    row = video_facts(decoded(broken))
    assert (row["status"], row["n_decode_errors"]) == ("partial", n_gone)
    assert video_facts(decoded(path))["n_decode_errors"] == 0


def test_a_gap_in_a_broadcast_marks_its_picture(tmp_path: Path):
    path = written(tmp_path / "a.ts", *CODECS["mpeg2"])
    data = path.read_bytes()
    middle = len(data) // 188 // 2
    broken = tmp_path / "hurt.ts"
    broken.write_bytes(data[: middle * 188] + data[(middle + 1) * 188 :])
    assert video_facts(decoded(broken))["n_corrupt_frames"] > 0
    for name, whole in (("whole.ts", data), ("joined.ts", data + data)):  # at the joint a counter starts anew, too
        (tmp_path / name).write_bytes(whole)
        row = video_facts(decoded(tmp_path / name))
        assert (row["status"], row["n_corrupt_frames"]) == ("ok", 0)


def test_what_a_decoder_does_not_tell_is_null(tmp_path: Path):
    path = written(tmp_path / "a.mkv", *CODECS["vp9"])
    for one in (path, hurt(path)):
        row = video_facts(decoded(one))
        assert (row["status"], row["n_corrupt_frames"]) == ("ok", None)


def test_the_log_of_libav_is_as_it_was_afterwards(tmp_path: Path):
    decoded(hurt(written(tmp_path / "a.mkv", *CODECS["ffv1"])))
    assert av.logging.get_level() is None


def test_a_lost_picture_before_a_key_frame_touches_none():
    assert not after_corrupt(8, [], [0, 4], lost=[4]).any()
    assert after_corrupt(8, [], [0, 4], lost=[2]).tolist() == [False] * 2 + [True] * 2 + [False] * 4
    assert after_corrupt(8, [4], [0, 4], lost=[4])[4:].all()


def element(name: str, body: bytes) -> bytes:
    """Of Matroska: an id, the length in eight bytes, the body."""
    return bytes.fromhex(name) + struct.pack(">Q", (1 << 56) | len(body)) + body


def chapter(start_ns: int, end_ns: int, of_segment: bytes = b"") -> bytes:
    times = element("91", struct.pack(">Q", start_ns)) + element("92", struct.pack(">Q", end_ns))
    return element("b6", element("73c4", b"\1") + times + (element("6e67", of_segment) if of_segment else b""))


def test_linked_segments_and_ordered_chapters_change_no_frame(tmp_path: Path):
    """Matroska may say that chapters are played in another order, that some lie in another file (its segment's UID),
    and which file comes next. The frames of a file are those in it, in their order; no other file is read.
    """
    path = written(tmp_path / "a.mkv", *CODECS["mpeg4"])
    uid = b"U" * 16
    links = element("1549a966", element("73a4", uid) + element("3eb923", uid) + element("3cb923", uid))
    chapters = chapter(10**9, 15 * 10**8) + chapter(0, 5 * 10**8) + chapter(0, 10**9, uid)
    ordered = element("1043a770", element("45b9", element("45dd", b"\1") + chapters))
    data = path.read_bytes()
    segment, cluster = data.index(bytes.fromhex("18538067")) + 4, data.index(bytes.fromhex("1f43b675"))
    unknown = b"\x01" + b"\xff" * 7
    linked = data[:segment] + unknown + data[segment + 8 : cluster] + ordered + links + data[cluster:]
    (tmp_path / "b.mkv").write_bytes(linked)
    one, other = decoded(path), decoded(tmp_path / "b.mkv")
    assert other.pts.tolist() == one.pts.tolist()
    assert video_facts(other)["status"] == "ok"
    clean = lumas(path)
    assert all(np.array_equal(luma, clean[pts]) for pts, luma in lumas(tmp_path / "b.mkv").items())
