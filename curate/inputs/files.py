"""Find the input files, and index them: size, content hash, and which ones are copies of each other."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pyarrow as pa

from clipmill.curate.common.content import Digests, State, cache_home
from clipmill.curate.common.files import check_no_address, fingerprint, write_atomic
from clipmill.curate.common.log import say
from clipmill.curate.contract.schema import video_id
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.inputs.walk import walk
from clipmill.curate.storage import staging
from clipmill.curate.storage.address import is_address, relpath_of
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
# What may say something of the videos beside it.
TEXT_SUFFIXES = frozenset({".txt", ".json", ".jsonl", ".csv", ".tsv", ".parquet"})
INDEX = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64()), ("mtime_ns", pa.int64()), ("sha256", pa.string())])


@dataclass(frozen=True)
class Source:
    """One input file. sha256 is None where the file cannot be read; `problem` says why. duplicate_of: relpath of an
    earlier copy. state: of the file when it had this sha256; None where it was not looked at. address: of an object
    that lies elsewhere, "" for a file; path: where it is staged then.
    """

    path: Path
    relpath: str
    size_bytes: int | None = None
    sha256: str | None = None
    problem: str | None = None
    duplicate_of: str | None = None
    state: State | None = None
    address: str = ""

    @property
    def uri(self) -> str:
        """The address, or the `file:` URI of the path; `path_of` turns it back. Raises ValueError for a relative
        path.
        """
        return self.address or self.path.as_uri()

    @property
    def is_here(self) -> bool:
        """Whether it can be read: a file that is there, or an object that can be fetched when it is needed."""
        return self.address != "" or os.path.exists(self.path)

    @property
    def video_id(self) -> str | None:
        """Id of the file's content; None as long as `sha256` is None."""
        return None if self.sha256 is None else video_id(self.sha256)


def find_sources(inputs: Sequence[Path]) -> tuple[list[Source], Counter[str]]:
    """Every candidate file below the inputs, sorted by relative path, and how many files were passed over as not
    videos, by suffix. A folder that cannot be listed is a source with that problem.

    A file that is named itself is always a candidate. Raises UserError where an input is missing or nothing is found.
    """
    found: dict[Path, Source] = {}
    skipped: Counter[str] = Counter()
    for given in inputs:
        if _is_folder(given):
            for path, problem in walk(given):
                if problem is None and path.suffix.lower() in NOT_VIDEOS:
                    skipped[path.suffix.lower()] += 1
                else:
                    source = Source(Path(os.path.abspath(path)), _relpath(path, given, len(inputs)), problem=problem)
                    found.setdefault(source.path, source)
        else:
            found.setdefault(Path(os.path.abspath(given)), Source(Path(os.path.abspath(given)), printable(given.name)))
    problems = [f"; {s.relpath}: {s.problem}" for s in found.values() if s.problem is not None]
    if len(problems) == len(found):
        where = ", ".join(printable(str(i)) for i in inputs)
        raise UserError(f"no videos below {where} ({skipped.total()} other files){''.join(problems[:3])}")
    return sorted(found.values(), key=by_name), skipped


def passed_over(skipped: Mapping[str, int]) -> str:
    """The line about files that were not tried as videos, text beside videos apart; empty where there are none."""
    others = Counter({suffix: n for suffix, n in skipped.items() if suffix not in TEXT_SUFFIXES})
    if not others:
        return ""
    kinds = ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5))
    return f"{others.total()} files passed over, which by their names are no videos: {kinds}" + (
        ", and others" if len(others) > 5 else ""
    )


def by_name(source: Source) -> tuple[str, str]:
    """The order of sources."""
    return source.relpath, str(source.path)


def _relpath(path: Path, given: Path, n_inputs: int) -> str:
    relpath = path.relative_to(given)
    return printable((relpath if n_inputs == 1 else given.name / relpath).as_posix())


def _is_folder(given: Path) -> bool:
    """Whether an input is a folder, and not a file. Raises UserError where it is neither."""
    shown = printable(str(given))
    check_no_address(given)
    try:
        mode = given.stat().st_mode
    except FileNotFoundError as error:
        raise UserError(f"there is no file or folder {shown}") from error
    except OSError as error:
        raise UserError(f"{shown} cannot be opened: {one_line(error)}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise UserError(f"{shown} is neither a file nor a folder")
    return stat.S_ISDIR(mode)


def source_at(uri: str, relpath: str = "", **facts: Any) -> Source:
    """The source of a `file:` URI or an address. relpath: "": as the address has it. facts: fields of `Source`."""
    address = uri if is_address(uri) else ""
    return Source(path_of(uri), relpath or printable(relpath_of(uri)), address=address, **facts)


def path_of(uri: str) -> Path:
    """The file of a `file:` URI, whatever bytes its name holds; of an address, the file that it is when staged."""
    if is_address(uri):
        return staging.place_of(uri)
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def printable(text: str) -> str:
    """File names may hold bytes that are no UTF-8: show them escaped, so that they can be stored and printed."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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
    with ThreadPoolExecutor(threads) as pool:
        for source in pool.map(lambda s: _hash(s, digests), sources):
            tick(source.size_bytes or 0)
            if source.sha256 is not None and source.state is not None:
                rows.append(dict(zip(INDEX.names, _index_row(source), strict=True)))
            indexed.append(source)
    digests.save()
    write_atomic(index, pa.Table.from_pylist(rows, schema=INDEX))
    return mark_copies(indexed)


def memory_of(inputs: Sequence[str]) -> Path:
    """The memory (see `Digests`) of the files of these absolute inputs."""
    return cache_home() / "sources" / fingerprint({"inputs": list(inputs)})


def known_state(digests: Digests, path: Path, sha256: str | None) -> State | None:
    """The file's state where it is remembered that it holds these bytes in it, else None: it must be read."""
    content = digests.known(path)
    return content.state if content is not None and content.sha256 == sha256 else None


def _index_row(source: Source) -> tuple[str, int | None, int, str | None]:
    return source.uri, source.size_bytes, source.state.mtime_ns if source.state else 0, source.sha256


def mark_copies(sources: Sequence[Source]) -> list[Source]:
    """The sources, each that has the content of an earlier one marked as its copy, and no other."""
    first: dict[str, Source] = {}
    for source in sources:
        if source.sha256 is not None:
            first.setdefault(source.sha256, source)
    return [
        replace(s, duplicate_of=None if (one := first.get(s.sha256 or "", s)) is s else one.relpath) for s in sources
    ]


def _hash(source: Source, digests: Digests) -> Source:
    if source.problem is not None:
        return source
    if source.address:
        return _hash_object(source, digests)
    try:
        content = digests.of(source.path)
        if (names_others := indirection(source.path)) is not None:
            return replace(source, size_bytes=content.state.size_bytes, problem=names_others)
    except OSError as error:
        return replace(source, problem=_why(source.path, error))
    return replace(source, size_bytes=content.state.size_bytes, sha256=content.sha256, state=content.state)


def _hash_object(source: Source, digests: Digests) -> Source:
    """Fetched only where its content is not known by address, size and label."""
    try:
        facts = staging.facts_of(source.address)
        known = staging.known_sha256(source.address, facts)
        if known is not None:
            state = known_state(digests, source.path, known)
            return replace(source, size_bytes=facts.size_bytes, sha256=known, state=state)
        with staging.newest(source.address, facts) as path:
            content = digests.of(path)
            if (names_others := indirection(path)) is not None:
                return replace(source, size_bytes=content.state.size_bytes, problem=names_others)
            staging.remember(source.address, facts, content.sha256)
    except (OSError, UserError) as error:
        return replace(source, problem=f"it cannot be fetched: {one_line(error)}")
    return replace(source, size_bytes=content.state.size_bytes, sha256=content.sha256, state=content.state)


def _why(path: Path, error: OSError) -> str:
    """The reason, and what is wrong with a link where it is one."""
    if not os.path.islink(path):
        return one_line(error)
    if error.errno == errno.ELOOP:
        return "a link that leads in a circle"
    target = printable(os.readlink(path))
    return f"a link to {target}, which is not there" if error.errno == errno.ENOENT else f"{one_line(error)} ({target})"
