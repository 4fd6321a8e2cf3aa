"""Find the input files, and index them: size, content hash, and which ones are copies of each other."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pyarrow as pa

from clipmill.curate.common.content import Digests, State
from clipmill.curate.common.files import write_atomic
from clipmill.curate.common.log import say
from clipmill.curate.contract.schema import video_id
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.video.refusals import indirection

# Files that lie beside videos and are never videos. Everything else is tried, whatever its name: names lie.
NOT_VIDEOS = frozenset(
    {
        ".txt",
        ".json",
        ".jsonl",
        ".csv",
        ".tsv",
        ".parquet",
        ".md",
        ".rst",
        ".srt",
        ".vtt",
        ".ass",
        ".xml",
        ".yaml",
        ".yml",
        ".toml",
        ".html",
        ".htm",
        ".pdf",
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".svg",
        ".npy",
        ".npz",
        ".zip",
        ".tar",
        ".gz",
        ".xz",
        ".zst",
        ".7z",
        ".py",
        ".ipynb",
        ".sh",
        ".log",
        ".wav",
        ".mp3",
        ".flac",
        ".aac",
        ".m4a",
        ".opus",
        ".part",
        ".tmp",
        ".ini",
        ".db",
    }
)
INDEX = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64()), ("mtime_ns", pa.int64()), ("sha256", pa.string())])


@dataclass(frozen=True)
class Source:
    """One input file. sha256 is None where the file cannot be read; `problem` says why. duplicate_of: relpath of an
    earlier copy. state: of the file when it had this sha256; None where it was not looked at.
    """

    path: Path
    relpath: str
    size_bytes: int | None = None
    sha256: str | None = None
    problem: str | None = None
    duplicate_of: str | None = None
    state: State | None = None

    @property
    def uri(self) -> str:
        """`file:` URI of the path; `path_of` turns it back. Raises ValueError for a relative path."""
        return self.path.as_uri()

    @property
    def video_id(self) -> str | None:
        """Id of the file's content; None as long as `sha256` is None."""
        return None if self.sha256 is None else video_id(self.sha256)


def find_sources(inputs: Sequence[Path]) -> tuple[list[Source], int]:
    """Every candidate file below the inputs, sorted by relative path, and how many files were passed over as not
    videos.

    A file that is named itself is always a candidate. Raises UserError where an input is missing or nothing is found.
    """
    found: dict[Path, str] = {}
    skipped = 0
    for given in inputs:
        if given.is_file():
            found.setdefault(Path(os.path.abspath(given)), given.name)
        elif given.is_dir():
            for path in _walk(given, set()):
                if path.suffix.lower() in NOT_VIDEOS:
                    skipped += 1
                else:
                    relpath = path.relative_to(given).as_posix()
                    found.setdefault(
                        Path(os.path.abspath(path)), relpath if len(inputs) == 1 else f"{given.name}/{relpath}"
                    )
        else:
            raise UserError(f"there is no file or folder {printable(str(given))}")
    if not found:
        raise UserError(f"no videos below {', '.join(printable(str(i)) for i in inputs)} ({skipped} other files)")
    sources = [Source(path, printable(relpath)) for path, relpath in found.items()]
    return sorted(sources, key=lambda s: (s.relpath, str(s.path))), skipped


def path_of(uri: str) -> Path:
    """The file of a `file:` URI, whatever bytes its name holds."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def printable(text: str) -> str:
    """File names may hold bytes that are no UTF-8: show them escaped, so that they can be stored and printed."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files below a folder, links followed, each real folder once (so a loop of links ends), hidden names left out."""
    try:
        facts = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:
        return
    if (facts.st_dev, facts.st_ino) in seen:
        return
    seen.add((facts.st_dev, facts.st_ino))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:
            is_folder = False
        if is_folder:
            yield from _walk(Path(entry.path), seen)
        else:
            yield Path(entry.path)


def index_sources(
    sources: Sequence[Source],
    index: Path,
    threads: int,
    tick: Callable[[int], None],
    digests: Digests | None = None,
) -> list[Source]:
    """Hash every file, mark copies of earlier files, and list them in `index`. One that only names other files is no
    video and nobody's copy: its bytes do not tell which video it means.

    `tick` is told the bytes of each file as it is done. digests: remembers files that were hashed before; None: one
    whose memory lies beside `index`.
    """
    digests = digests or Digests(index.with_suffix(".content"), say)
    rows: list[dict] = []
    indexed: list[Source] = []
    first: dict[str, str] = {}
    with ThreadPoolExecutor(threads) as pool:
        for source in pool.map(lambda s: _hash(s, digests), sources):
            tick(source.size_bytes or 0)
            if source.sha256 is not None and source.state is not None:
                rows.append(dict(zip(INDEX.names, _index_row(source), strict=True)))
                copy_of = first.setdefault(source.sha256, source.relpath)
                if copy_of != source.relpath:
                    source = replace(source, duplicate_of=copy_of)
            indexed.append(source)
    digests.save()
    write_atomic(index, pa.Table.from_pylist(rows, schema=INDEX))
    return indexed


def _index_row(source: Source) -> tuple[str, int | None, int, str | None]:
    return source.uri, source.size_bytes, source.state.mtime_ns if source.state else 0, source.sha256


def _hash(source: Source, digests: Digests) -> Source:
    try:
        content = digests.of(source.path)
        if (names_others := indirection(source.path)) is not None:
            return replace(source, size_bytes=content.state.size_bytes, problem=names_others)
    except OSError as error:
        return replace(source, problem=one_line(error))
    return replace(source, size_bytes=content.state.size_bytes, sha256=content.sha256, state=content.state)
