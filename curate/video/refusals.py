"""What a file is that is no video: files that only name other files, and pieces of one. Nothing but the file itself is
read; of the files that it names only those beside it are looked for.
"""

import mmap
import re
import shlex
import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

_HEAD_BYTES = 1 << 16
_MAX_LIST_BYTES = 4 << 20  # no playlist or reference movie is longer
_INSIDE = frozenset({b"moov", b"trak", b"mdia", b"minf", b"dinf", b"rmra", b"rmda"})
_MOST_BOXES = 4096
_JOIN = "join them first: ffmpeg {how} -c copy joined.mkv"


def refusal(source: Path | bytes) -> str | None:
    """In one line what the file is, if it only names other files or is a piece of a video; None for anything else."""
    return indirection(source) or _piece(source)


def indirection(source: Path | bytes) -> str | None:
    """In one line what the file is, if its pictures lie in other files: playlists (HLS, DASH), lists (concat, ASX),
    session descriptions (SDP), reference movies. Their bytes do not tell which video they stand for. None for anything
    else, and where the file cannot be read.
    """
    try:
        with _opened(source) as file:
            if file.seek(0, 2) > _MAX_LIST_BYTES:
                return None
            file.seek(0)
            head = file.read(_HEAD_BYTES)
            if head[4:8] in (b"ftyp", b"moov", b"wide", b"free", b"skip"):
                return _reference_movie(file)
    except OSError:
        return None
    return _list(head, source if isinstance(source, Path) else None)


def _opened(source: Path | bytes) -> BinaryIO:
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _list(head: bytes, path: Path | None) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    name = shlex.quote(path.name) if path else "LIST"
    if text.startswith(b"#EXTM3U"):
        return f"an HLS playlist{_missing(text, path)}, its pictures lie in other files: " + _JOIN.format(
            how=f"-i {name}"
        )
    if text.startswith(b"ffconcat version"):
        return "a concat list, its pictures lie in other files: " + _JOIN.format(how=f"-f concat -i {name}")
    if re.match(rb"v=0\r?\n", text) and b"\nm=" in text:
        return "a session description (SDP), its pictures come over the network: record the stream to a file"
    if not text.startswith(b"<"):
        return "a list of other files: give those files" if re.match(rb"(?i)\[reference\]\s", text) else None
    for mark, kind in ((b"<MPD", "a DASH manifest"), (b"<SmoothStreamingMedia", "a Smooth Streaming manifest")):
        if mark in text:
            return f"{kind}, its pictures lie in other files: " + _JOIN.format(how=f"-i {name}")
    if re.match(rb"(?i)<(asx|smil)\b", text):
        return "a list of other files: give those files"
    return None


def _missing(text: bytes, path: Path | None) -> str:
    """` (2 of 5 segments are missing)`, for those that should lie beside the playlist."""
    lines = (line.strip().decode("utf-8", "replace") for line in text.splitlines())
    names = [line for line in lines if line and not line.startswith("#")]
    if path is None or not names or not all(re.fullmatch(r"[^/\\:\0]{1,200}", name) for name in names):
        return ""
    gone = sum(not (path.parent / name).is_file() for name in names)
    return f" ({gone} of {len(names)} segments are missing)" if gone else ""


def _reference_movie(file: BinaryIO) -> str | None:
    """A movie whose pictures lie elsewhere; sound may."""
    handler = b""
    for kind, body in _boxes(file, 0, file.seek(0, 2), 0):
        if kind == b"hdlr" and body[4:8] != b"dhlr":  # of the track, not of its data
            handler = body[8:12]
        # Entries of `dref`: size, type, version, flags. Without flag 1 the data lie in the file that the entry names.
        outside = (
            kind == b"dref" and len(body) >= 20 and body[12:16] in (b"alis", b"url ", b"urn ") and not body[19] & 1
        )
        if kind == b"rdrf" or (outside and handler == b"vide"):
            return "a reference movie, its pictures lie in other files: save it as a self-contained movie"
    return None


def _boxes(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[tuple[bytes, bytes]]:
    """(type, the first kilobyte of the body) of the boxes between two places, with what containers hold."""
    while start + 8 <= end and depth < 8:
        file.seek(start)
        head = file.read(16)
        size, kind, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1 and len(head) == 16:
            (size,), skip = struct.unpack(">Q", head[8:16]), 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + skip:
            return
        file.seek(start + skip)
        yield kind, file.read(min(stop - start - skip, 1024))
        if kind in _INSIDE:
            yield from _boxes(file, start + skip, stop, depth + 1)
        start = stop


def second_recording(path: Path, start: int) -> bool:
    """Whether an FLV holds the header of another one behind byte `start`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return re.compile(rb"FLV\x01[\x00-\x05]\0\0\0\x09\0\0\0\0").search(data, start) is not None
    except (OSError, ValueError):
        return False


def _piece(source: Path | bytes) -> str | None:
    """Segments of a fragmented MP4 without what tells how to decode them, and the other way round."""
    try:
        with _opened(source) as file:
            if file.read(8)[4:8] not in (b"styp", b"sidx", b"moof", b"ftyp", b"moov", b"emsg", b"prft"):
                return None
            kinds = {kind for kind, _ in islice(_boxes(file, 0, file.seek(0, 2), 0), _MOST_BOXES)}
    except OSError:
        return None
    if b"moof" in kinds and b"moov" not in kinds:
        return (
            "a segment of a fragmented MP4 without its initialisation segment: join them first, as in"
            " `cat init.mp4 segment*.m4s > joined.mp4`"
        )
    if b"mvex" in kinds and not {b"moof", b"mdat"} & kinds:
        return "only the initialisation of an MP4, its pictures lie in other files"
    return None
