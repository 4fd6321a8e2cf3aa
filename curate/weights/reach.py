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
    """The hosts of `urls` that answer no HTTP request within `limit_s`, all asked at once, through the user's proxies."""
    by_host = {urlsplit(url).netloc: url for url in urls}
    answered: set[str] = set()

    def ask(host: str) -> None:
        if _answers(by_host[host], limit_s):
            answered.add(host)

    # Threads, because looking a name up knows no time limit.
    asking = [threading.Thread(target=ask, args=(host,), daemon=True) for host in by_host]
    for thread in asking:
        thread.start()
    end_s = time.monotonic() + limit_s
    for thread in asking:
        thread.join(max(0.0, end_s - time.monotonic()))
    return sorted(set(by_host) - answered)


def _answers(url: str, limit_s: float) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=limit_s):
            return True
    except urllib.error.HTTPError as error:
        return error.code not in _PROXY_PROBLEMS
    except (OSError, ValueError, http.client.HTTPException):
        return False
