"""What is opened as a video, and what a file is said to be that is none."""

import re
import shutil
import socket
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import barcode

from clipmill.curate.dataset import decode_window
from clipmill.curate.errors import DecodeError
from clipmill.curate.inputs.files import find_sources, index_sources
from clipmill.curate.video.reader import VideoDecoder, open_video

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
)
ART = "".join(f"\x1b[{31 + i % 6}m .:*#@ RELEASE {i:03} @#*:. {'#' * (i % 40)}\x1b[0m\r\n" for i in range(400))


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with somebody's video, not an input."""
    folder = tmp_path_factory.mktemp("private")
    barcode.write_video(folder / "film.ts", [40 * i for i in range(25)], Fraction(1, 1000))
    barcode.write_video(folder / "film.mov", [40 * i for i in range(25)], Fraction(1, 1000))
    return folder


def decoded(path: Path) -> int:
    """Frames of a file."""
    with open_video(path) as (container, stream):
        return sum(1 for _ in VideoDecoder(container, stream))


def texts(film: Path) -> dict[str, tuple[str, str]]:
    """name -> (text, what is said of it): files that name `film`."""
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"
    return {
        "absolute.m3u8": (hls.format(film), "an HLS playlist"),
        "uri.m3u8": (hls.format(film.as_uri()), "an HLS playlist"),
        "relative.m3u8": (hls.format(f"../{film.parent.name}/{film.name}"), "an HLS playlist"),
        "web.m3u8": (hls.format("http://127.0.0.1:9/a.ts"), "an HLS playlist"),
        "playlist.mp4": (hls.format(film), "an HLS playlist"),
        "gone.m3u8": (hls.format("a.ts\n#EXTINF:1.0,\nb.ts"), "2 of 2 segments are missing"),
        "list.mp4": (f"ffconcat version 1.0\nfile '{film}'\n", "a concat list"),
        "list.ffconcat": (f"ffconcat version 1.0\nfile {film.name}\n", "a concat list"),
        "a.mpd": (f'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">{film}</MPD>', "a DASH manifest"),
        "a.sdp": (SDP, "a session description (SDP)"),
        "sdp.mp4": (SDP, "a session description (SDP)"),
        "a.asx": (f'<ASX version="3.0"><entry><ref href="{film.as_uri()}"/></entry></ASX>', "a list of other files"),
        "art.nfo": (ART, "not a video format"),
        "art.diz": (ART, "not a video format"),
        "art.ans": (ART, "not a video format"),
    }


@pytest.mark.parametrize("name", texts(Path("/a/b")))
def test_a_text_opens_no_other_file(name: str, private: Path, tmp_path: Path):
    text, said = texts(private / "film.ts")[name]
    (tmp_path / name).write_text(text)
    began = time.monotonic()
    with pytest.raises(DecodeError, match=said.replace("(", r"\(").replace(")", r"\)")), open_video(tmp_path / name):
        pass
    with pytest.raises(DecodeError):
        decode_window(text.encode(), None, 1, np.random.default_rng(0))
    assert time.monotonic() - began < 2, "nobody waits for a network"


OTHERS = {
    "bom.ts": "\ufeff#EXTM3U\n#EXTINF:1,\nFILM\n#EXT-X-ENDLIST\n",
    "spaces.mp4": "\n\n  #EXTM3U\n#EXTINF:1,\nFILM\n#EXT-X-ENDLIST\n",
    "concat.m3u8": "#EXTM3U\n#EXTINF:1,\nconcat:FILM|FILM\n#EXT-X-ENDLIST\n",
    "key.ts": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="FILM"\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n',
    "map.ts": '#EXTM3U\n#EXT-X-MAP:URI="FILM"\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n',
    "base.mpd": "<MPD><BaseURL>FILM</BaseURL></MPD>",
    "a.idx": "# VobSub index file, v7 (do not modify this line!)\ntimestamp: 00:00:01:000, filepos: 000000000\n",
    "a.sub": "{1}{25}{f:FILM}FILM\n",
    "a.ass": "[Script Info]\nVideo File: FILM\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,0,0,0,,x\n",
    "a.smi": "<SAMI><BODY><SYNC Start=1><P><img src=FILM></BODY></SAMI>",
    "a.cue": 'FILE "FILM" BINARY\n',
    "cpl.xml": "<CompositionPlaylist xmlns='http://www.smpte-ra.org/schemas/2067-3/2016'>FILM</CompositionPlaylist>",
    "a.ram": "file://FILM\n",
    "a.pls": "[playlist]\nFile1=FILM\n",
    "a.vpy": "import vapoursynth as vs\nvs.core.ffms2.Source('FILM').set_output()\n",
    "a.avs": 'DirectShowSource("FILM")\n',
    "rtsp.mov": "rtsptext\r\nrtsp://127.0.0.1:9/x\r\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_programs_write_that_names_a_film_is_no_film(name: str, private: Path, tmp_path: Path):
    (tmp_path / name).write_text(OTHERS[name].replace("FILM", str(private / "film.ts")))
    began = time.monotonic()
    with pytest.raises(DecodeError), open_video(tmp_path / name):
        pass
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "name",
    ["concat:film.ts", "subfile,,start,0,end,0,,:film.ts", "file:film.ts", "pipe:0", "crypto:film.ts", "fil%1d.ts"],
)
def test_a_name_that_libav_would_read_as_another_is_a_name(name: str, private: Path):
    with pytest.raises(DecodeError), open_video(private / name):
        pass


def test_attachments_stay_where_they_are(tmp_path: Path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.add_attachment("../climbed.ts", "video/mp2t", b"x" * 100)
        for i in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(barcode.painted(i, 64, 48), format="rgb24")))
        out.mux(stream.encode(None))
    assert decoded(tmp_path / "a.mkv") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
    assert not (tmp_path.parent / "climbed.ts").exists()


def test_bytes_open_no_socket(monkeypatch: pytest.MonkeyPatch):
    """Port 5004 of the SDP is ours: whoever opened it for this text would fail otherwise."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DecodeError, match="SDP"):
            decode_window(SDP.replace("5004", str(port)).encode(), None, 1, np.random.default_rng(0))


def test_a_movie_by_reference_is_refused(private: Path, tmp_path: Path):
    data = (private / "film.mov").read_bytes()
    own = re.search(rb"dref\x00{7}\x01\x00{3}\x0c(url |alis)\x00{3}\x01", data)
    assert own
    (tmp_path / "reference.mov").write_bytes(data[: own.end() - 1] + b"\0" + data[own.end() :])
    with pytest.raises(DecodeError, match="a reference movie"):
        decoded(tmp_path / "reference.mov")
    (source,) = index_sources(find_sources([tmp_path])[0], tmp_path / "index.parquet", 1, lambda _: None)
    assert "a reference movie" in (source.problem or "")


def segments(folder: Path) -> None:
    """A fragmented MP4 in pieces: init.mp4, 0.m4s, 1.m4s and a playlist."""
    whole = folder / "whole.mp4"
    with av.open(str(whole), "w", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 64, 48, "yuv420p", 5
        for i in range(10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(barcode.painted(i, 64, 48), format="rgb24")))
        out.mux(stream.encode(None))
    data = whole.read_bytes()
    parts = data.split(b"moof")
    starts = [sum(len(p) + 4 for p in parts[:i]) - 8 for i in range(1, len(parts))]
    pieces = [data[a:b] for a, b in zip([0, *starts], [*starts, len(data)], strict=True)]
    for name, piece in zip(("init.mp4", "0.m4s", "1.m4s"), pieces, strict=False):
        (folder / name).write_bytes(piece)
    whole.unlink()
    (folder / "index.m3u8").write_text(
        '#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:1,\n0.m4s\n#EXTINF:1,\n1.m4s\n#EXT-X-ENDLIST\n'
    )


def test_pieces_of_a_video_say_what_they_are(tmp_path: Path):
    segments(tmp_path)
    with pytest.raises(DecodeError, match=r"without its initialisation segment: .*cat init.mp4"):
        decoded(tmp_path / "0.m4s")
    with pytest.raises(DecodeError, match="only the initialisation of an MP4"):
        decoded(tmp_path / "init.mp4")


def test_equal_playlists_are_nobody_s_copies(tmp_path: Path):
    """Two folders whose playlists have the same bytes: each is a row with its reason, none a copy of the other."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        segments(tmp_path / name)
    (tmp_path / "two" / "0.m4s").write_bytes((tmp_path / "two" / "0.m4s").read_bytes() + b"\0\0\0\x08free")
    sources, _ = find_sources([tmp_path])
    for _ in range(2):  # the second time from the index of the first
        found = {s.relpath: s for s in index_sources(sources, tmp_path / "index.parquet", 1, lambda _: None)}
        for name in ("one/index.m3u8", "two/index.m3u8"):
            source = found[name]
            assert (source.sha256, source.duplicate_of) == (None, None)
            assert "an HLS playlist" in (source.problem or "")
        assert found["two/0.m4s"].duplicate_of is None
        assert found["two/1.m4s"].duplicate_of == "one/1.m4s"


def test_what_names_no_other_file_is_opened(private: Path, tmp_path: Path):
    """Names with colons and percent signs are names."""
    for name in ("http:a.ts", "concat:b.ts", "a%d.ts", "-.ts", "f#a?b.ts"):
        shutil.copy(private / "film.ts", tmp_path / name)
        with open_video(tmp_path / name) as (container, _):
            assert container.format.name == "mpegts"
