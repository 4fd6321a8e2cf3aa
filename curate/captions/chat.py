"""A client of OpenAI's chat endpoint, which vLLM, SGLang, llama.cpp, Ollama and the paid services speak: tries, waits,
and reads answers.

Any number of threads may ask at once. A key is sent to the server and nowhere else; it never appears in a message.
"""

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipmill.curate.captions.rate_limit import RateLimit
from clipmill.curate.captions.transport import ChatError, json_request

_LONGEST_BACKOFF_S = 30.0
_LONGEST_WAIT_S = 120.0
# So many tries in a row without any answer, and the server is taken for dead: one try per clip from then on, until it
# answers.
_SILENCES = 24
_SILENT = ("refused", "unreachable", "timeout", "dropped")


@dataclass(frozen=True)
class Endpoint:
    """base_url: up to and with `/v1`. key: sent as a bearer token. retries: tries after the first. backoff_s: before
    the second try, at most; twice as much before each further one. requests_per_minute: over all threads, None for no
    limit.
    """

    base_url: str
    model: str
    key: str | None = None
    timeout_s: float = 60.0
    retries: int = 4
    backoff_s: float = 1.0
    requests_per_minute: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Header with the key as bearer token; empty without a key."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def url(self, path: str) -> str:
        """Of `models` or `chat/completions`."""
        return f"{self.base_url.rstrip('/')}/{path}"


@dataclass(frozen=True)
class Answer:
    """text: not empty. finished: whether the model came to an end by itself, None where the server does not say."""

    text: str
    finished: bool | None


class Chat:
    """One server, for many threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._rate = RateLimit(endpoint.requests_per_minute)
        self._silences = 0
        self._lock = threading.Lock()

    def ask(self, key: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Answer:
        """The answer to `messages`. key: what the pauses between tries are drawn from, a clip's id. options: further
        fields of the request.

        Raises ChatError where it is no use trying again, or after the last try; its message says how many there were.
        """
        tries = 1
        while True:
            self._rate.wait()
            try:
                return self._once(messages, options)
            except ChatError as error:
                if not self._again(error, tries):
                    raise _counted(error, tries) from None
                self._rate.pause(error.wait_s or 0.0)
            time.sleep(backoff_s(self.endpoint.backoff_s, key, tries))
            tries += 1

    def _once(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Answer:
        body = {"model": self.endpoint.model, "messages": list(messages), **options}
        try:
            tree = json_request(
                self.endpoint.url("chat/completions"), body, self.endpoint.headers, self.endpoint.timeout_s
            )
        except ChatError as error:
            self._heard(error.kind not in _SILENT)
            if self.endpoint.key:  # some servers quote it
                error.message = error.message.replace(self.endpoint.key, "...")
            raise
        self._heard(True)
        return read_answer(tree)

    def _heard(self, answered: bool) -> None:
        with self._lock:
            self._silences = 0 if answered else self._silences + 1

    def _again(self, error: ChatError, tries: int) -> bool:
        dead = error.kind in _SILENT and self._silences >= _SILENCES
        return error.again and tries <= self.endpoint.retries and not dead and (error.wait_s or 0.0) <= _LONGEST_WAIT_S


def backoff_s(first_s: float, key: str, tries: int) -> float:
    """Seconds before the next try, after `tries` of them: half to all of first_s * 2^(tries - 1), at most 30, the same
    for a key.
    """
    draw = int.from_bytes(hashlib.sha256(f"{key}:{tries}".encode()).digest()[:4], "big") / 2**32
    return min(first_s * 2.0 ** (tries - 1), _LONGEST_BACKOFF_S) * (0.5 + 0.5 * draw)


def read_answer(tree: Any) -> Answer:
    """The text of an answer. Raises ChatError, garbage or refusal, where there is none."""
    choice = (
        tree["choices"][0]
        if isinstance(tree, dict) and isinstance(tree.get("choices"), list) and tree["choices"]
        else None
    )
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ChatError("garbage", "the answer holds no choice")
    reason = choice.get("finish_reason")
    if message.get("refusal") or reason == "content_filter":
        raise ChatError("refusal", " ".join(str(message.get("refusal") or reason).split())[:120], again=False)
    text = _plain(message.get("content"))
    if not text.strip():
        raise ChatError("garbage", "the answer is empty", again=reason != "length")
    return Answer(text, {"stop": True, "length": False}.get(str(reason)))


def _plain(content: Any) -> str:
    """A string, or the text among the parts of an answer."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _counted(error: ChatError, tries: int) -> ChatError:
    return error if tries == 1 else ChatError(error.kind, f"{error.message} ({tries} tries)", error.again, error.wait_s)
