"""Captions as training should read them: what a model wrote around, instead of, or again and again in its description
is taken away.

Nothing is put in: a text that comes out is a part of what went in (but for mended encoding and a capital letter at its
start).
"""

import re
import unicodedata
from collections import Counter

from clipmill.curate.captions.llm_answer_text import mended, unwrapped, without_quotes
from clipmill.curate.captions.phrases import ABBREVIATIONS, DANGLING, OPENINGS, REFUSALS
from clipmill.curate.captions.repeats import without_repeats

FLAGS = {
    "refusal": "the model declined to describe anything; there is no text",
    "empty": "nothing was said; there is no text",
    "boilerplate": "an opening such as `The video shows` was cut",
    "markup": "JSON, markdown, a list, quotes, thoughts or special tokens were taken away",
    "control": "control characters were taken out",
    "mojibake": "broken encoding was mended, or characters were lost to it",
    "repeat": "the same words came again and again, and were cut",
    "unfinished": "the end is missing; the last sentence was cut where there is one before it",
    "scripts": "a good part is written in another script than the rest",
    "short": "fewer than three words",
    "long": "it was cut to the longest length allowed, at the end of a sentence",
}
MAX_CHARACTERS = 2000
_REFUSAL_WITHIN = 240
_MIN_WORDS = 3
_DENSE_LETTERS = 2
_OTHER_SCRIPT_SHARE = 0.1
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s|$)|[。！？]["”’」）]*""")
_DENSE = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR")
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "KATAKANA-HIRAGANA")


def clean(
    text: str, finished: bool | None = None, max_characters: int = MAX_CHARACTERS
) -> tuple[str | None, list[str]]:
    """(the caption in one line, or None where there is none; words of `FLAGS`, in the order of that table).

    finished: whether the model came to an end by itself (False: its limit of tokens cut it off); None: not known, it
    shows in the text.
    """
    plain, flags = mended(text)
    line, found = unwrapped(plain)
    flags += found
    if _is_refusal(line):
        return None, _ordered([*flags, "refusal"])
    line, found = _without_opening(line)
    flags += found
    line, repeated = without_repeats(line)
    flags += ["repeat"] if repeated else []
    line, found = _ended(line, False if "unfinished" in flags else None if repeated else finished)
    flags += found
    line, found = _of_length(line, max_characters)
    flags += found
    if not any(c.isalpha() for c in line):
        return None, _ordered([*flags, "empty"])
    return _capitalised(line), _ordered([*flags, *_scripts(line), *_shortness(line)])


def _ordered(flags: list[str]) -> list[str]:
    return [name for name in FLAGS if name in flags]


def _is_refusal(line: str) -> bool:
    start = line[:_REFUSAL_WITHIN].replace("’", "'")
    return any(pattern.search(start) for pattern in REFUSALS)


def _without_opening(line: str) -> tuple[str, list[str]]:
    """Openings are cut one after the other, but never to nothing."""
    flags: list[str] = []
    while True:
        rests = (line[found.end() :] for pattern in OPENINGS if (found := pattern.match(line)))
        rest = next((rest for rest in rests if any(c.isalpha() for c in rest)), None)
        if rest is None:
            return without_quotes(line) if flags else line, flags
        line, flags = rest, ["boilerplate"]


def _ended(line: str, finished: bool | None) -> tuple[str, list[str]]:
    line = line.rstrip()
    if not line or _sentence_ends(line)[-1:] == [len(line)]:
        return line, ["unfinished"] if finished is False else []
    before = _sentence_ends(line)
    if finished is not True and before:
        return line[: before[-1]], ["unfinished"]
    words = line.split()
    dangling = words[-1].lower() in DANGLING or line[-1] in ",;:-–—(（、，"
    if finished is False or dangling:
        while len(words) > 1 and words[-1].lower().strip(",;:-–—(") in {*DANGLING, ""}:
            words.pop()
        return " ".join(words).rstrip(" ,;:-–—(（、，"), ["unfinished"]
    return line, []


def _sentence_ends(line: str) -> list[int]:
    """Where sentences end: not behind an abbreviation or an initial."""
    ends = []
    for found in _SENTENCE_END.finditer(line):
        word = line[: found.start()].split()[-1:] or [""]
        bare = word[0].lower().strip("(\"'“‘")
        abbreviated = (
            found[0] == "."
            and found.end() < len(line)
            and (bare in ABBREVIATIONS or (len(bare) == 1 and bare.isalpha()))
        )
        if not abbreviated and any(c.isalnum() for c in line[: found.start()]):
            ends.append(found.end())
    return ends


def _of_length(line: str, most: int) -> tuple[str, list[str]]:
    if len(line) <= most:
        return line, []
    ends = [end for end in _sentence_ends(line) if end <= most]
    cut = line[: ends[-1]] if ends else line[:most].rsplit(" ", 1)[0]
    return cut, ["long"]


def _capitalised(line: str) -> str:
    return line[:1].upper() + line[1:]


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "").split(" ")[0]
    return "EAST ASIAN" if name in _EAST_ASIAN else name


def _scripts(line: str) -> list[str]:
    letters = Counter(_script(c) for c in line if c.isalpha())
    others = sum(letters.values()) - max(letters.values())
    return ["scripts"] if others > _OTHER_SCRIPT_SHARE * sum(letters.values()) else []


def _shortness(line: str) -> list[str]:
    """Scripts without blanks are counted by letters, two to a word."""
    dense = sum(unicodedata.name(c, "").startswith(_DENSE) for c in line)
    words = sum(not any(unicodedata.name(c, "").startswith(_DENSE) for c in word) for word in line.split())
    return ["short"] if words + dense / _DENSE_LETTERS < _MIN_WORDS else []
