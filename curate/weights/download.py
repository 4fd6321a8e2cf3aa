"""One file over HTTP, with range requests: a download that broke off goes on where it stopped, in this run or the
next.
"""

import contextlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipmill.curate.errors import UserError

Report = Callable[[int, int | None], None]
WAIT_S = 20.0
_CHUNK_BYTES = 1 << 18
_FRUITLESS_TRIES = 4


Open = Callable[..., Any]


def download(
    url: str,
    part: Path,
    report: Report | None = None,
    pause_s: float = 0.5,
    open_: Open | None = None,
    tries: int = _FRUITLESS_TRIES,
) -> None:
    """Complete the file `part` from `url`. report: called with (bytes so far, bytes in all or None). pause_s: before
    the second of several tries that bring nothing more, longer before each further one. open_: opens a request, None:
    as urllib does. tries: that may bring nothing more, in a row.

    A part of an earlier run is kept only where the server says that the file is still the same (`If-Range`).
    Raises UserError where the server refuses, or breaks off again and again without sending anything more.
    """
    fruitless = 0
    while True:
        before = _size(part)
        try:
            if _complete(url, part, report, open_ or urllib.request.urlopen):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{url}: the server says {error.code} {error.reason}") from None
            problem = f"the server says {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            if part.parent.exists() and isinstance(error, PermissionError | IsADirectoryError | FileNotFoundError):
                raise
            problem = str(getattr(error, "reason", None) or error or type(error).__name__)
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless == tries:
            why = " ".join(problem.split())[:120]
            raise UserError(f"{url} broke off after {_size(part)} bytes, the same command goes on from there: {why}")
        time.sleep(pause_s * fruitless)


def _complete(url: str, part: Path, report: Report | None, open_: Open) -> bool:
    """One request for what is missing. False where the answer ended early."""
    label = _label_file(part)
    start = _size(part) if label.is_file() else 0
    headers = {"User-Agent": "clipmill", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": label.read_text(encoding="ascii")}
    try:
        with open_(urllib.request.Request(url, headers=headers), timeout=WAIT_S) as answer:
            start = start if _continues(answer, start) else 0
            return _store(answer, part, start, report)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(start):
            return True
        part.unlink()
        return False


def _continues(answer: Any, start: int) -> bool:
    return answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _store(answer: Any, part: Path, start: int, report: Report | None) -> bool:
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length is not None and length.isdigit() else None
    if start == 0:
        _keep_label(answer, part)
    done = start
    with part.open("ab" if start else "wb") as file:
        while chunk := answer.read(_CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            if report is not None:
                report(done, total)
    return total is None or done == total


def _keep_label(answer: Any, part: Path) -> None:
    """What tells this version of the file from another; without it, nothing is resumed."""
    label = answer.headers.get("ETag") or ""
    if not label or label.startswith("W/"):
        label = answer.headers.get("Last-Modified") or ""
    with contextlib.suppress(FileNotFoundError):
        _label_file(part).unlink()
    if label:
        _label_file(part).write_text(label, encoding="ascii", errors="ignore")


def _label_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.label")


def discard(part: Path) -> None:
    """Delete a part and what is known of it."""
    for path in (part, _label_file(part)):
        path.unlink(missing_ok=True)


def forget_label(part: Path) -> None:
    """After the part has become a file."""
    _label_file(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
