"""Out of what a language model answered, the sentences: no JSON, markdown, lists, thoughts, control characters or
broken encoding.
"""

import re
import unicodedata
from typing import Any

from clipmill.curate.common.files import parse_json

_KEYS = ("caption", "description", "text", "summary", "answer", "output")
_FENCE = re.compile(r"^\s*```[\w-]*\s*\n?(.*?)\n?\s*```\s*$", re.DOTALL)
_CUT_OFF_JSON = re.compile(rf'"(?:{"|".join(_KEYS)})"\s*:\s*"((?:[^"\\]|\\.)+)', re.IGNORECASE)
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_TOKEN = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?(?:s|pad|bos|eos|unk|start_of_text|end_of_text|image|video)>", re.IGNORECASE
)
_BULLET = re.compile(r"^\s*(?:[-*+•·]\s+|\d{1,2}[.)]\s+|#{1,6}\s+|>\s+)")
_EMPHASIS = re.compile(r"(\*\*|__|`)(?=\S)(.+?)(?<=\S)\1|(?<!\w)\*(?=\S)([^*\n]+?)(?<=\S)\*(?!\w)")
_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "'": "'", "‘": "’", "「": "」"}
# Characters that bytes from 128 on are in Windows-1252; where it has none, in Latin-1.
_HIGH_BYTES = {bytes([i]).decode("cp1252", "ignore") or chr(i): i for i in range(0x80, 0x100)}
_HIGH_RUN = re.compile(f"[{''.join(map(re.escape, _HIGH_BYTES))}]{{2,}}")


def mended(text: str) -> tuple[str, list[str]]:
    """Text of plain characters in NFC; flags `mojibake` (mended, or characters lost) and `control` (some were taken
    out).
    """
    flags = []
    fixed = _mended_encoding(text)
    plain = fixed.replace("\ufffd", "")
    if plain != text:
        flags.append("mojibake")
    kept = "".join(
        c if c in "\n\t\u200c\u200d" or unicodedata.category(c)[0] != "C" else " " for c in plain.replace("\r\n", "\n")
    )
    if kept != plain.replace("\r\n", "\n"):
        flags.append("control")
    return unicodedata.normalize("NFC", kept), flags


def _mended_encoding(text: str) -> str:
    """UTF-8 that was read as Windows-1252 is two or more such characters in a row that make sense as UTF-8, which no
    language writes.
    """

    def of_run(run: re.Match[str]) -> str:
        try:
            return bytes(_HIGH_BYTES[c] for c in run[0]).decode("utf-8")
        except UnicodeDecodeError:
            return run[0]

    return _HIGH_RUN.sub(of_run, text)


def unwrapped(text: str) -> tuple[str, list[str]]:
    """The sentences in one line; flag `markup` where something was around them, `unfinished` where JSON breaks off in
    the text.
    """
    bare = _TOKEN.sub(" ", _THOUGHT.sub(" ", text)).strip()
    flags = ["markup"] if bare != text.strip() else []
    fenced = _FENCE.match(bare)
    inner = fenced[1].strip() if fenced else bare
    sentences, broken_off = _of_json(inner)
    line = _one_line(sentences)
    if fenced or sentences != inner or line != " ".join(inner.split()):
        flags = ["markup"]
    return line, [*flags, "unfinished"] if broken_off else flags


def _of_json(text: str) -> tuple[str, bool]:
    if text[:1] not in ("{", "["):
        return text, False
    try:
        return _strings(parse_json(text)) or "", False
    except ValueError:
        pass
    found = _CUT_OFF_JSON.search(text)
    if found is None:
        return text, False
    try:
        return str(parse_json(f'"{found[1]}"')), text[found.end() : found.end() + 1] != '"'
    except ValueError:
        return found[1], True


def _strings(tree: Any) -> str:
    """The text of a tree: under a key that says so, else all strings one after the other."""
    if isinstance(tree, str):
        return tree
    if isinstance(tree, list):
        return " ".join(filter(None, map(_strings, tree)))
    if isinstance(tree, dict):
        named = [value for key, value in tree.items() if str(key).lower() in _KEYS]
        return " ".join(filter(None, map(_strings, named or tree.values())))
    return ""


def _one_line(text: str) -> str:
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not re.fullmatch(r"\s*(?:[-*_=]\s*){3,}|\s*```\w*\s*", line)
    ]
    bulleted = [_BULLET.match(line) is not None for line in lines]
    plain = [_EMPHASIS.sub(lambda m: m[2] or m[3], _BULLET.sub("", line)).strip() for line in lines]
    ended = [_ended(line) if mark and len(lines) > 1 else line for line, mark in zip(plain, bulleted, strict=True)]
    return without_quotes(" ".join(" ".join(ended).split()))


def _ended(line: str) -> str:
    """An item of a list as a sentence."""
    return line if not line or line[-1] in ".!?:;,。！？…" else line + "."


def without_quotes(line: str) -> str:
    """Without the one pair of quotes around it."""
    if len(line) > 2 and _QUOTES.get(line[0]) == line[-1] and line[0] not in line[1:-1] and line[-1] not in line[1:-1]:
        return line[1:-1].strip()
    return line
