"""Addresses: what is one, what one may hold, and what of it may be shown."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from clipmill.curate.errors import UserError

WEB = ("http", "https")
OBJECTS = ("s3",)
_SCHEMES = (*WEB, *OBJECTS)
_ADDRESS = re.compile(rf"({'|'.join(_SCHEMES)}):/+([^/\s].*)", re.IGNORECASE)
# Signed addresses carry what lets anybody in; tables and logs would, too.
_SECRET = re.compile(
    r"x-amz-.*|x-goog-.*|sig|signature|.*token.*|.*key.*|.*secret.*|password|credential.*", re.IGNORECASE
)


def address_of(given: Path | str) -> str | None:
    """The address that was given, None for a path. `Path` makes one slash of its two."""
    found = _ADDRESS.fullmatch(str(given))
    return None if found is None else f"{found[1].lower()}://{found[2]}"


def is_address(uri: str) -> bool:
    """Whether it is one of those that are fetched; a `file:` URI is none."""
    return uri.partition("://")[0] in _SCHEMES


def check_address(address: str) -> None:
    """Raises UserError for one that holds credentials, or names no object. What it says shows none of them."""
    parts = urlsplit(address)
    if "@" in parts.netloc:
        raise UserError(f"the address of {shown(address)} holds a name or password: they come from the environment")
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.fullmatch(name)]
    if names:
        raise UserError(
            f"the address of {shown(address)} is signed ({names[0]}), which tables would keep: give the object's own"
            " address, s3://BUCKET/KEY, with credentials in the environment"
        )
    if not parts.hostname or parts.path in ("", "/"):
        raise UserError(f"{shown(address)} names no object")


def shown(address: str) -> str:
    """Without user and query: for messages."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def relpath_of(address: str) -> str:
    """`host/folder/video.mp4`, with the query where there is one."""
    parts = urlsplit(address)
    return f"{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
