"""The staging folder: objects that were fetched, as many as its quota takes, the longest unused ones away first.

STAGED/ab/ab12...        the object, at the hash of its address
STAGED/ab/ab12....facts  its size, label and sha256; stays when the object goes, so that it need not be fetched to
                         be known
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from clipmill.curate.common.content import cache_home
from clipmill.curate.common.files import parse_json, write_text
from clipmill.curate.common.lock import in_turn
from clipmill.curate.errors import UserError
from clipmill.curate.storage import objects, web
from clipmill.curate.storage.address import OBJECTS, check_address
from clipmill.curate.storage.facts import Facts

FOLDER_VARIABLE, QUOTA_VARIABLE = "CLIPMILL_STAGED", "CLIPMILL_STAGED_GB"
_QUOTA_GB = 50.0
_PER_HOST = 4
_POLL_S = 0.05


def folder() -> Path:
    """CLIPMILL_STAGED, or a folder of the user's cache."""
    return Path(os.environ.get(FOLDER_VARIABLE) or cache_home() / "staged")


def place_of(address: str) -> Path:
    """Where an object lies once it is fetched."""
    name = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
    return folder() / name[:2] / name


@contextmanager
def at_hand(address: str) -> Iterator[Path]:
    """The object as a file, fetched where it is not there; while it lasts it is not taken away. Raises OSError where it
    cannot be fetched.
    """
    place = place_of(address)
    with _fetched(address, place, None) as path:
        yield path


@contextmanager
def newest(address: str, facts: Facts) -> Iterator[Path]:
    """As `at_hand`, of the version that these facts tell of."""
    place = place_of(address)
    if _recorded(place)[0] != facts or not facts.tell:
        with _turn(place):
            place.unlink(missing_ok=True)
    with _fetched(address, place, facts.size_bytes) as path:
        yield path


def facts_of(address: str) -> Facts:
    """What is known before it is fetched. Raises OSError where it cannot be reached, UserError for an address that
    must not be.
    """
    check_address(address)
    with _of_host(address):
        return objects.facts_of(address) if _is_of_store(address) else web.facts_of(address)


def known_sha256(address: str, facts: Facts) -> str | None:
    """Of the version that these facts tell of, where it was fetched before."""
    recorded, sha256 = _recorded(place_of(address))
    return sha256 if facts.tell and recorded == facts else None


def remember(address: str, facts: Facts, sha256: str) -> None:
    """For `known_sha256`. Raises OSError."""
    text = json.dumps({"size_bytes": facts.size_bytes, "label": facts.label, "sha256": sha256})
    write_text(_record(place_of(address)), text)


def _is_of_store(address: str) -> bool:
    return urlsplit(address).scheme in OBJECTS


def _record(place: Path) -> Path:
    return place.with_name(f"{place.name}.facts")


def _recorded(place: Path) -> tuple[Facts, str | None]:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = parse_json(_record(place).read_text(encoding="utf-8"))
        return Facts(found["size_bytes"], str(found["label"])), str(found["sha256"])
    return Facts(), None


@contextmanager
def _fetched(address: str, place: Path, size_bytes: int | None) -> Iterator[Path]:
    with _turn(place):
        if not place.exists():
            _fetch(address, place, size_bytes)
        descriptor = os.open(place, os.O_RDONLY)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            os.utime(place)
    try:
        yield place
    finally:
        os.close(descriptor)


@contextmanager
def _turn(place: Path) -> Iterator[None]:
    place.parent.mkdir(parents=True, exist_ok=True)
    with in_turn(place):
        yield


def _fetch(address: str, place: Path, size_bytes: int | None) -> None:
    check_address(address)
    if size_bytes is None:
        size_bytes = facts_of(address).size_bytes
    _make_room(size_bytes or 0)
    part = place.with_name(f"{place.name}.part")
    with _of_host(address):
        (objects.fetch if _is_of_store(address) else web.fetch)(address, part)
    os.replace(part, place)


def _quota_bytes() -> float:
    text = os.environ.get(QUOTA_VARIABLE) or str(_QUOTA_GB)
    try:
        return float(text) * 1e9
    except ValueError:
        raise UserError(f"{QUOTA_VARIABLE} is a number of gigabytes; got {text!r}") from None


def _make_room(n_bytes: int) -> None:
    """Raises OSError where an object is larger than all that may be staged."""
    quota = _quota_bytes()
    if n_bytes > quota:
        raise OSError(0, f"it has {n_bytes / 1e9:.1f} GB, and {QUOTA_VARIABLE} allows {quota / 1e9:g} in all")
    staged = [(path.stat(), path) for path in folder().glob("??/*") if len(path.name) == 64]
    held = sum(facts.st_size for facts, _ in staged)
    for facts, path in sorted(staged, key=lambda one: (one[0].st_mtime, one[1])):
        if held + n_bytes <= quota:
            break
        if _is_unused(path):
            path.unlink(missing_ok=True)
            held -= facts.st_size


def _is_unused(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def _of_host(address: str) -> Iterator[None]:
    """While it lasts no more than four of this machine ask the host."""
    name = hashlib.sha256(urlsplit(address).netloc.encode()).hexdigest()[:16]
    hosts = folder() / ".hosts"
    hosts.mkdir(parents=True, exist_ok=True)
    descriptor = None
    while descriptor is None:
        descriptor = next(filter(None, (_slot(hosts / f"{name}-{n}") for n in range(_PER_HOST))), None)
        if descriptor is None:
            time.sleep(_POLL_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _slot(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        pass  # no such locks here: nobody is counted
    return descriptor
