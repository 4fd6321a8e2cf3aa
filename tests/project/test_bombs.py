"""Some kilobytes that claim gigabytes: one line that says so, before memory is asked for."""

import io
import resource
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipmill.curate.common.files import read_json
from clipmill.curate.common.memory import check_unpacked
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.inputs.sidecars import find_sidecar_tables
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest
from clipmill.curate.video.picture import decode_picture
from clipmill.curate.video.reader import VideoDecoder, open_video
from clipmill.evaluate import score_rows
from clipmill.evaluate.extraction.reference_stats import load
from clipmill.evaluate.sets import open_set

MOST_MORE_KB = 200 << 10


@pytest.fixture(autouse=True)
def little_memory():
    """No test here makes the process grow by 200 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MORE_KB


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    """Some hundred bytes of a picture of any size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


def gif(side: int) -> bytes:
    size = struct.pack("<HH", side, side)
    frame = b"\x21\xf9\x04\0\x0a\0\0\0,\0\0\0\0" + size + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff" + 3 * frame + b";"


@pytest.mark.parametrize("size", [(20_000, 20_000), (1 << 19, 1 << 10), (1 << 30, 1 << 30), (1 << 20, 1 << 9)])
def test_a_picture_says_its_size_before_it_is_decoded(size: tuple[int, int], tmp_path: Path):
    with pytest.raises(ValueError, match=r"a picture of \d+ x \d+ px; up to 268,435,456 px are read|no picture"):
        decode_picture(png(*size))
    for k in range(8):
        (tmp_path / f"{k}.png").write_bytes(png(*size))
    (video,) = open_set(str(tmp_path)).videos
    with video.open() as frames, pytest.raises(DecodeError, match=r"px are read|no picture"):
        frames.read(np.arange(2))


def test_a_video_of_any_size_is_no_video(tmp_path: Path):
    """libav refuses pictures of more than 2^28 px itself."""
    (tmp_path / "a.gif").write_bytes(gif(20_000))
    with (
        pytest.raises(DecodeError, match="no frame could be decoded"),
        open_video(tmp_path / "a.gif") as opened,
    ):
        VideoDecoder(*opened)


def header(kind: bytes, size: int, name: str = "a") -> bytes:
    """512 bytes before a member; a negative or large size as GNU tar writes it."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(kind: bytes, text: bytes) -> bytes:
    return header(kind, len(text)) + text.ljust(-(-len(text) // 512) * 512, b"\0")


def record(key: str, value: str) -> bytes:
    """`LENGTH key=value`, the length with its own digits."""
    rest = f" {key}={value}\n"
    n = len(rest) + 1
    while n != len(rest) + len(str(n)):
        n = len(rest) + len(str(n))
    return f"{n}{rest}".encode()


CLIP = header(tarfile.REGTYPE, 4, "x.mp4") + b"mpeg".ljust(512, b"\0")
TARS = {
    "a long name of 4 GB": header(tarfile.GNUTYPE_LONGNAME, 4 << 30) + bytes(512),
    "attributes of 4 GB": header(tarfile.XHDTYPE, 4 << 30) + bytes(512),
    "attributes of all of 4 GB": header(tarfile.XGLTYPE, 4 << 30) + bytes(512),
    "a member of -1024 bytes": header(tarfile.REGTYPE, -1024, "x.mp4"),
    "a size among the attributes of -512 bytes": pax(tarfile.XHDTYPE, record("size", "-512")) + CLIP,
    "digits": pax(tarfile.XHDTYPE, b"1" * 100_000) + CLIP,
    "headers of headers": pax(tarfile.XHDTYPE, record("a", "b")) * 3000 + CLIP,
    "attributes of all in each": pax(tarfile.XGLTYPE, b"".join(record(f"k{i}", "") for i in range(9000))) + 999 * CLIP,
    "a sparse map without an end": header(tarfile.GNUTYPE_SPARSE, 512, "x.mp4")[:482] + b"\1" + bytes(29),
}  # fmt: skip


@pytest.mark.parametrize("kind", TARS)
@pytest.mark.parametrize("before", [b"", CLIP], ids=["first", "later"])
def test_a_tar_s_headers_are_bounded(kind: str, before: bytes, tmp_path: Path):
    data = bytearray(before + TARS[kind])
    if "sparse" in kind:  # what was put in changes the sum of the header
        head = data[len(before) : len(before) + 512]
        head[148:156] = b" " * 8
        data[len(before) + 148 : len(before) + 156] = b"%06o\0 " % sum(head)
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(data)
        file.truncate(2 << 30 if "GB" in kind else len(data))  # holes: what is claimed is there to be read
    with pytest.raises(UserError, match="not a readable tar") as told:
        open_set(str(tmp_path / "a.tar"))
    assert "\n" not in str(told.value)
    (tmp_path / "b.tar").write_bytes(CLIP + bytes(1024))
    found = open_set(str(tmp_path / "[ab].tar"))
    assert [v.video_id for v in found.videos] == ["b/x"]
    assert [Path(s.video_id).name for s in found.skipped] == ["a.tar"]


def npy(shape: tuple[int, ...], data: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def test_arrays_are_what_their_headers_say(tmp_path: Path):
    huge = npy((10**6, 16, 250, 250, 3), bytes(64))
    (tmp_path / "a.npy").write_bytes(huge)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", huge)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UserError, match="cannot read"):
            open_set(str(tmp_path / name))
    with pytest.raises(UserError, match=r"no readable file of statistics: a.npy claims 3,000,000,000,000 bytes"):
        load(tmp_path / "a.npz")


def test_an_archive_is_not_unpacked_where_it_does_not_fit(tmp_path: Path):
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(500):
            archive.writestr(f"{k}.npy", npy((1, 1, 8, 8, 3), bytes(192)))
    data = bytearray(small.getvalue())
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:  # the list of members: each is said to unpack to 4 GB
        data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFF00)
        at += 4
    (tmp_path / "a.npz").write_bytes(data)
    for reads in (open_set, load):
        with pytest.raises(UserError, match=r"unpacking .* takes 2.15e\+03 GB of memory"):
            reads(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("first", ["", "file,caption\nx.mp4,a dog\n"])
def test_a_line_without_an_end_is_a_warning(name: str, first: str, tmp_path: Path):
    (tmp_path / "x.mp4").write_bytes(b"")
    with (tmp_path / name).open("wb") as file:
        file.write(first.encode())
        file.truncate(900 << 20)
    (warning,) = find_sidecar_tables([tmp_path]).warnings
    assert warning.startswith(f"{name}: cannot be read to its end as a table")


def test_json_of_any_size_is_one_line(tmp_path: Path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(UserError, match="larger than 256 MB"):
        read_json(tmp_path / "a.json")


def many(text: str, n: int) -> pa.Array:
    """One text n times, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([text]))


def captions(text: str, n: int) -> pa.Array:
    records = pa.StructArray.from_arrays([many(text, n)], ["text"])
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32)), records)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of 2 GB in some kilobytes."""
    folder = tmp_path_factory.mktemp("unpacked")
    n, long = 100_000, "a" * 20_000
    for name, texts in (("a text, many times", many(long, n)), ("texts in lists", captions(long, n))):
        table = pa.table({"file": many("x.mp4", n), "caption": texts})
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    zeros = pa.table({"file": many("x.mp4", 1 << 20), "caption": many("a", 1 << 20), "n": np.zeros(1 << 20)})
    with pq.ParquetWriter(folder / "many rows.parquet", zeros.schema, compression="zstd") as writer:
        for _ in range(40):
            writer.write_table(zeros)
    return folder


@pytest.mark.parametrize("kind", ["a text, many times", "texts in lists", "many rows"])
def test_a_table_is_not_unpacked_where_it_does_not_fit(kind: str, unpacked: Path, tmp_path: Path):
    data = (unpacked / f"{kind}.parquet").read_bytes()
    assert len(data) < 500_000
    for name in ("manifest", "scores"):
        (tmp_path / f"{name}.parquet").write_bytes(data)
    for read in (
        lambda: read_manifest(RunDir(tmp_path)),
        lambda: open_set(str(tmp_path)),
        lambda: score_rows.read(tmp_path / "scores.parquet"),
    ):
        with pytest.raises(UserError, match="bytes and takes more than 268,435,456 when it is read"):
            read()


def test_a_table_of_captions_is_not_unpacked_where_it_does_not_fit(unpacked: Path, tmp_path: Path):
    (tmp_path / "x.mp4").write_bytes(b"")
    (tmp_path / "captions.parquet").write_bytes((unpacked / "a text, many times.parquet").read_bytes())
    (warning,) = find_sidecar_tables([tmp_path]).warnings
    assert "takes more than 268,435,456 when it is read" in warning


def test_honest_tables_are_read(tmp_path: Path):
    """Texts that repeat, in lists and not, and many rows: more than the file's bytes, and no bomb."""
    n = 40_000
    rows = {"clip_id": [f"{i:08x}" for i in range(n)], "uri": many("file:///a/b/c.mp4", n), "c": captions("a dog", n)}
    pq.write_table(pa.table(rows | {"keep": [True] * n}), tmp_path / "a.parquet", compression="zstd")
    check_unpacked(tmp_path / "a.parquet")
    check_unpacked(tmp_path / "a.parquet", ["uri"])
