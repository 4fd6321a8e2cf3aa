"""One HTTP request with JSON in and out, by the standard library, and what can become of it in words that rows and
retries go by.
"""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from clipmill.curate.common.files import parse_json

KINDS = {
    "refused": "no server listens there",
    "unreachable": "no such host, no route, or no secure connection",
    "timeout": "no whole answer in timeout_s",
    "dropped": "the connection ended in the middle of an answer",
    "http N": "the server answered with status N, 429 or 500 say",
    "garbage": "the answer is not JSON, holds no choice, or no text",
    "refusal": "the model declined to describe anything",
}
# Worth another try: the server is busy, starting, or behind a gateway that lost it.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LARGEST_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 16
_SAID_CHARACTERS = 160


@dataclass
class ChatError(Exception):
    """kind: of `KINDS`. again: another try may do better. wait_s: how long the server asks to be left alone."""

    kind: str
    message: str
    again: bool = True
    wait_s: float | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key goes to the server that the user named and to no other."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def json_request(url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str], timeout_s: float) -> Any:
    """The JSON that a POST of `body` (None: a GET) brings, in `timeout_s` altogether. Raises ChatError."""
    deadline_s = time.monotonic() + timeout_s
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/json", "Accept": "application/json", **headers}
    )
    try:
        with _opener(url).open(request, timeout=timeout_s) as response:
            answer = _read(response, deadline_s)
    except urllib.error.HTTPError as error:
        raise _of_status(error) from None
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise _of_connection(error) from None
    try:
        return parse_json(answer)
    except ValueError:
        raise ChatError("garbage", f"not JSON: {_said(answer)}") from None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Through the user's proxies, but never to this machine itself."""
    here = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    return urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({} if here else None))


def _read(response: http.client.HTTPResponse, deadline_s: float) -> bytes:
    """The whole body. A server that sends a byte now and then has until the deadline, too."""
    chunks, size = [], 0
    while chunk := response.read1(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_BYTES:
            raise ChatError("garbage", f"the answer is larger than {_LARGEST_BYTES >> 20} MB")
        if time.monotonic() > deadline_s:
            raise TimeoutError
    if response.length:  # `read1` does not mind
        raise http.client.IncompleteRead(b"".join(chunks), response.length)
    return b"".join(chunks)


def _of_status(error: urllib.error.HTTPError) -> ChatError:
    try:
        said = error.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException):
        said = b""
    return ChatError(
        f"http {error.code}", _reason(said) or str(error.reason), error.code in _PASSING, _wait_s(error.headers)
    )


def _reason(said: bytes) -> str:
    """What the server says went wrong: `{"error": {"message": ...}}`, or the start of the page."""
    try:
        tree = parse_json(said)
        inner = tree.get("error", tree)
        found = inner.get("message", inner.get("detail", inner)) if isinstance(inner, dict) else inner
        return _said(str(found).encode())
    except (ValueError, AttributeError):
        return _said(said)


def _said(answer: bytes) -> str:
    return " ".join(answer.decode("utf-8", "replace").split())[:_SAID_CHARACTERS]


def _wait_s(headers: Message) -> float | None:
    """`Retry-After`, in seconds or as a date."""
    given = headers.get("Retry-After")
    if given is None:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _of_connection(error: Exception) -> ChatError:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return ChatError("timeout", "no answer in time")
    if isinstance(reason, ConnectionRefusedError):
        return ChatError("refused", "no server listens there")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ChatError("unreachable", "its certificate is not trusted", again=False)
    if isinstance(reason, (ConnectionError, http.client.HTTPException)):
        return ChatError("dropped", "the connection ended before the answer did")
    return ChatError("unreachable", _said(str(getattr(reason, "strerror", None) or reason).encode()))
