"""Objects of `s3://BUCKET/KEY`, through obstore. Region, endpoint and credentials: from the environment (AWS_*)."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipmill.curate.engines.signs import got_on
from clipmill.curate.errors import UserError
from clipmill.curate.storage.facts import Facts

_CHUNK_BYTES = 1 << 20
_TRIES = 4


def facts_of(address: str) -> Facts:
    """What the store says of an object. Raises OSError where it cannot be reached or has no such object, UserError
    without obstore.
    """
    store, key = _opened(address)
    try:
        found = _library().head(store, key)
    except Exception as error:
        raise _reason(error) from None
    return Facts(found["size"], found.get("e_tag") or str(found["last_modified"]))


def fetch(address: str, part: Path) -> None:
    """Complete the file `part`, by ranges where it broke off. Raises OSError."""
    store, key = _opened(address)
    label, done, tries = None, 0, 0
    while True:
        try:
            facts = _library().head(store, key)
            if label != facts.get("e_tag"):
                label, done = facts.get("e_tag"), 0
            done = _rest(store, key, part, done, facts["size"])
            if done == facts["size"]:
                return
            problem: Exception = OSError("the connection was cut")
        except OSError:
            raise
        except Exception as error:
            problem = error
        now = part.stat().st_size if part.exists() else 0
        tries = 0 if now > done else tries + 1
        done = now
        if tries == _TRIES:
            raise _reason(problem) from None


def _rest(store: Any, key: str, part: Path, done: int, size: int) -> int:
    with part.open("ab" if done else "wb") as file:
        if size > done:
            answer = _library().get(store, key, options={"range": (done, size)})
            for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                file.write(chunk)
                got_on()
                done += len(chunk)
    return done


def listed(address: str) -> list[tuple[str, int]]:
    """Address and size of every object below a prefix, whole names of folders. Raises UserError where it cannot be
    listed.
    """
    parts = urlsplit(address)
    store, prefix = _opened(address)
    try:
        found = [
            (row["path"], row["size"]) for rows in _library().list(store, prefix.rstrip("/") or None) for row in rows
        ]
    except Exception as error:
        raise UserError(f"{address} cannot be listed: {_reason(error).strerror}") from None
    return [(f"{parts.scheme}://{parts.netloc}/{path}", size) for path, size in found]


def _library() -> Any:
    try:
        import obstore
    except ImportError:
        raise UserError("s3:// needs obstore: `pip install 'clipmill[s3]'`") from None
    return obstore


def _opened(address: str) -> tuple[Any, str]:
    _library()
    from obstore.store import S3Store

    parts = urlsplit(address)
    try:
        return S3Store(parts.netloc, client_options={"allow_http": True}), parts.path.lstrip("/")
    except Exception as error:
        raise _reason(error) from None


def _reason(error: Exception) -> OSError:
    """One line of what the library says in many; it shows no credentials."""
    if isinstance(error, FileNotFoundError):
        return OSError(0, "there is no such object")
    if isinstance(error, PermissionError) or "Unauthenticated" in type(error).__name__:
        return OSError(0, "the store refuses: credentials come from the environment (AWS_ACCESS_KEY_ID, ...)")
    return OSError(0, f"the store does not answer ({type(error).__name__})")
