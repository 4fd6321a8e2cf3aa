"""Objects over HTTP. Lists may be anybody's: hosts of private networks are asked only where the user named them."""

import contextlib
import http.client
import ipaddress
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipmill.curate.engines.signs import got_on
from clipmill.curate.errors import UserError
from clipmill.curate.storage.facts import Facts
from clipmill.curate.weights.download import WAIT_S, download

HOSTS_VARIABLE = "CLIPMILL_HOSTS"
_TRIES = 6


class _Private(OSError):
    """The host is of a private network, and nobody named it."""


def _check_peer(connection: Any) -> None:
    """By the address that was connected to, not by a name that may lead elsewhere the next time."""
    peer = ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0])
    mapped = getattr(peer, "ipv4_mapped", None) or peer
    named = os.environ.get(HOSTS_VARIABLE, "").split(",")
    if not mapped.is_global and connection.host not in [name.strip() for name in named]:
        connection.close()
        raise _Private(
            0, f"{connection.host} is a host of a private network; {HOSTS_VARIABLE}={connection.host} allows to ask it"
        )


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self)


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_Connection, request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, request)


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS, redirects between them; no other scheme, no proxy."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        _Handler,
        _SecureHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def facts_of(address: str) -> Facts:
    """What the server says of an object without sending it; nothing where it does not answer to that. Raises OSError
    where it cannot be reached, refuses, or has no such object.
    """
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "clipmill"})
    try:
        with contextlib.closing(_opener().open(request, timeout=WAIT_S)) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404, 410):
            raise OSError(0, f"the server says {error.code} {error.reason}") from None
        return Facts()  # 405, 503, ...: the object itself may come all the same
    except (OSError, http.client.HTTPException) as error:
        raise _reason(error) from None
    length, label = headers.get("Content-Length", ""), headers.get("ETag") or headers.get("Last-Modified") or ""
    return Facts(int(length) if length.isdigit() else None, label)


def fetch(address: str, part: Path) -> None:
    """Complete the file `part`; what broke off goes on where it stopped. Raises OSError."""
    try:
        download(address, part, report=lambda done, total: got_on(), pause_s=0.3, open_=_opener().open, tries=_TRIES)
    except UserError as error:
        raise OSError(0, str(error).replace(address, urlsplit(address).netloc)) from None


def _reason(error: Exception) -> OSError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, _Private):
        return reason
    if isinstance(reason, socket.gaierror):
        return OSError(0, "there is no such host")
    return OSError(0, " ".join(str(getattr(reason, "strerror", None) or reason or type(error).__name__).split())[:120])
