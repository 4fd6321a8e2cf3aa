"""Loops: what a language model writes when it does not find the end. By characters, so that they are found in any
script.
"""

import re
from collections import defaultdict

# A unit of some characters three times in a row, a very short one five times; dashes, dots and digits repeat by nature.
_LOOP = re.compile(r"((?=[^\n]{0,3}[^\W\d_])[^\n]{5,160}?)\1{2,}|((?=[^\n]{0,2}[^\W\d_])[^\n]{1,4}?)\2{4,}")
_PHRASE_WORDS = 6
_MOST_TIMES = 2
_LONGEST = 8000
_SHORT_BYTES = 12  # `He waves.` may come twice


def without_repeats(text: str) -> tuple[str, bool]:
    """The text with each loop reduced to one turn, sentences that come again left out, and an end where a phrase of six
    words comes for the third time; and whether anything was cut. Only the first 8000 characters are read: no caption is
    longer.
    """
    short = text[:_LONGEST]
    found = _until_third_time(_each_sentence_once(_without_loops(short)))
    return found, found != text


def _without_loops(text: str) -> str:
    place = 0
    while found := _LOOP.search(text, place):
        unit, rest = found[1] or found[2], text[found.end() :]
        if unit.startswith(rest) and re.search(r"\w", rest):  # the last turn broke off
            rest = ""
        place = found.start() + len(unit)
        text = text[: found.start()] + unit + rest
    return text


def _each_sentence_once(text: str) -> str:
    parts = re.split(r"(?<=[.!?])(\s+)|(?<=[。！？])()", text)
    pieces = [part for part in parts if part]
    seen: set[str] = set()
    kept: list[str] = []
    for piece in pieces:
        key = " ".join(re.findall(r"\w+", piece.lower()))
        if key and key in seen and len(key.encode()) > _SHORT_BYTES:
            continue
        seen.add(key)
        kept.append(piece)
    return "".join(kept).rstrip() if len(kept) < len(pieces) else text


def _until_third_time(text: str) -> str:
    words = list(re.finditer(r"\S+", text))
    times: dict[tuple[str, ...], int] = defaultdict(int)
    for i in range(len(words) - _PHRASE_WORDS + 1):
        phrase = tuple(word[0].lower() for word in words[i : i + _PHRASE_WORDS])
        times[phrase] += 1
        if times[phrase] > _MOST_TIMES:
            return text[: words[i].start()].rstrip()
    return text
