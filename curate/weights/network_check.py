"""Is there a network? Asked before anything is downloaded, because the usual clients try for minutes."""

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from urllib.parse import urlsplit

OFFLINE_VARIABLES = ("CLIPMILL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
ANSWER_S = 1.5
_PROXY_PROBLEMS = (407, 502, 503, 504)


def offline() -> bool:
    """True where the user has switched the network off, by any of `OFFLINE_VARIABLES`."""
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in OFFLINE_VARIABLES)


def silent_hosts(urls: Iterable[str], limit_s: float = ANSWER_S) -> list[str]:
    """The hosts of `urls` that answer no HTTP request within `limit_s`, all asked at once, through the user's
    proxies.
    """
    by_host = {urlsplit(url).netloc: url for url in urls}
    found = statuses(by_host.values(), limit_s)
    return sorted(host for host, url in by_host.items() if found[url] is None or found[url] in _PROXY_PROBLEMS)


def statuses(urls: Iterable[str], limit_s: float = ANSWER_S) -> dict[str, int | None]:
    """url -> the status of its answer to a HEAD request, after redirects; None where none came within `limit_s`. All
    asked at once.
    """
    found: dict[str, int | None] = dict.fromkeys(urls)

    def ask(url: str) -> None:
        found[url] = _status(url, limit_s)

    # Threads, because looking a name up knows no time limit.
    asking = [threading.Thread(target=ask, args=(url,), daemon=True) for url in found]
    for thread in asking:
        thread.start()
    end_s = time.monotonic() + limit_s
    for thread in asking:
        thread.join(max(0.0, end_s - time.monotonic()))
    return dict(found)


def _status(url: str, limit_s: float) -> int | None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=limit_s) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, http.client.HTTPException):
        return None
