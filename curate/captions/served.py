"""What the caption annotators that ask a server have in common: its settings, the check before a run, many requests at
once.
"""

import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from clipmill.curate.captions import CaptionAnnotator
from clipmill.curate.captions.chat import Answer, Chat, Endpoint
from clipmill.curate.captions.transport import ChatError, json_request
from clipmill.curate.contract.annotator import ClipFrames, Measure, Rows
from clipmill.curate.errors import AnnotatorError, UserError, one_line

_ANSWER_S = 2.0
_CLIPS_PER_THREAD = 4
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# These change when and where a caption is made, not which.
_HOW = (
    "base_url",
    "prompt_file",
    "concurrency",
    "timeout_s",
    "retries",
    "backoff_s",
    "requests_per_minute",
    "key_variable",
)


@dataclass(frozen=True)
class ServedCaptions(CaptionAnnotator):
    """Base of the annotators that ask an OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama, paid services).

    base_url: of the server, up to `/v1`. model: as the server calls it. prompt: what it is asked; prompt_file: a file
    that holds that instead. max_tokens, temperature, seed: of the answer (`none` leaves a seed out, for servers that
    know none).
    concurrency: requests at once. timeout_s: for one try. retries: tries after the first, for what may pass (no
    connection, 429, 5xx, garbage), after `backoff_s`, then twice as long each time; `Retry-After` is respected.
    requests_per_minute: none for no limit.
    key_variable: name of the environment variable that holds the key, none for no key.
    """

    max_workers: ClassVar[int | None] = 1

    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = ""  # type: ignore[assignment]  # a setting in place of the property
    prompt: str = ""
    prompt_file: str | None = None
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int | None = 0
    concurrency: int = 8
    timeout_s: float = 60.0
    retries: int = 4
    backoff_s: float = 1.0
    requests_per_minute: float | None = None
    key_variable: str | None = None

    @property
    def weights(self) -> tuple[str, ...]:
        """The prompt's file, whose content then counts as weights do: found before a run, its sha256 in the fingerprint
        and in run.json.
        """
        if self.prompt_file is None:
            return ()
        bare = os.sep not in self.prompt_file and "/" not in self.prompt_file  # as a path, whether it exists or not
        return (os.path.join(os.curdir, self.prompt_file) if bare else self.prompt_file,)

    @property
    def batch_clips(self) -> int:
        return self.concurrency * _CLIPS_PER_THREAD

    def params(self) -> dict[str, Any]:
        """What decides the text; the prompt's file counts by its content."""
        kept = {key: value for key, value in super().params().items() if key not in _HOW}
        return kept | {"prompt": self.prompt if self.prompt_file is None else None}

    def check(self) -> None:
        """Raise UserError, within two seconds, where a setting is missing or the server does not answer."""
        self._check_settings()
        found = _models(self._endpoint())
        if isinstance(found, ChatError) and not found.kind.startswith(("http", "garbage")):
            raise UserError(
                f"{self.name}: no server at {self.base_url} ({found}); start it (for example `vllm serve MODEL`), "
                f"or --set {self.name}.base_url=http://HOST:PORT/v1"
            )
        if not self.model:
            there = f"; the server has {', '.join(found)}" if isinstance(found, list) and found else ""
            raise UserError(f"{self.name} needs the name of a model: --set {self.name}.model=NAME{there}")

    def _check_settings(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise UserError(f"{self.name}.base_url is an address such as http://127.0.0.1:8000/v1")
        if address.username or address.password or address.query:
            raise UserError(
                f"{self.name}.base_url holds a secret; settings are saved: name an environment variable by"
                f" {self.name}.key_variable"
            )
        for field in ("concurrency", "max_tokens", "timeout_s"):
            if getattr(self, field) <= 0:
                raise UserError(f"{self.name}.{field} is more than 0, not {getattr(self, field)}")
        if self.requests_per_minute is not None and self.requests_per_minute <= 0:
            raise UserError(f"{self.name}.requests_per_minute is more than 0, or none for no limit")
        self._key()

    def _key(self) -> str | None:
        if self.key_variable is None:
            return None
        if not _VARIABLE.fullmatch(self.key_variable):
            raise UserError(f"{self.name}.key_variable is the name of an environment variable, not the key itself")
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise UserError(
                f"the environment variable {self.key_variable}, which {self.name}.key_variable names, is not set"
            )
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"the environment variable {self.key_variable} holds what cannot be sent as a key")
        return key

    def _endpoint(self) -> Endpoint:
        how = {
            name: getattr(self, name)
            for name in ("base_url", "model", "timeout_s", "retries", "backoff_s", "requests_per_minute")
        }
        return Endpoint(**how, key=self._key())

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Reads the prompt. Raises UserError where its file cannot be read."""
        prompt = self.prompt if self.prompt_file is None else _text(files[self.weights[0]])
        return partial(self._captions, Chat(self._endpoint()), prompt)

    def _captions(self, chat: Chat, prompt: str, clips: Sequence[ClipFrames]) -> Rows:
        """One dict of the columns per clip, or why the server gave none: `kind: message`, see
        `clipmill.curate.captions.transport.KINDS`.
        """
        with ThreadPoolExecutor(min(self.concurrency, max(1, len(clips)))) as threads:
            return list(threads.map(partial(self._caption, chat, prompt), clips))

    def content(self, clip: ClipFrames, prompt: str) -> Any:
        """What the server is asked of a clip: the content of a user's message. Raises AnnotatorError where there is
        nothing to ask.
        """
        raise TypeError(f"{type(self).__name__} has no content()")

    def _caption(self, chat: Chat, prompt: str, clip: ClipFrames) -> dict[str, Any] | Exception:
        try:
            message = {"role": "user", "content": self.content(clip, prompt)}
            options = {"max_tokens": self.max_tokens, "temperature": self.temperature}
            options |= {} if self.seed is None else {"seed": self.seed}
            answer: Answer = chat.ask(clip.clip_id, [message], options)
            return self.row(answer.text, answer.finished)
        except ChatError as error:
            return AnnotatorError(str(error))
        except Exception as error:  # of one clip among many whose answers are paid for
            return error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the prompt {path}: {one_line(error)}") from None


def _models(endpoint: Endpoint) -> list[str] | ChatError:
    """The server's models, or why it did not say; in two seconds, whatever it does: looking a name up knows no time
    limit.
    """
    found: list[Any] = [ChatError("timeout", f"no answer in {_ANSWER_S:g} s")]

    def ask() -> None:
        try:
            found.append(json_request(endpoint.url("models"), None, endpoint.headers, _ANSWER_S))
        except ChatError as error:
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWER_S)
    listed = found[-1]
    if isinstance(listed, ChatError):
        return listed
    rows = listed.get("data") if isinstance(listed, dict) else None
    return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []
