"""Stock phrases that language models write around a caption, or in its place. Patterns of the languages captions are
mostly asked in.
"""

import re
from collections.abc import Sequence

_PICTURE = r"(?:video|clip|footage|image|picture|photo(?:graph)?|scene|shot|frame)s?"
_SHOWS = (
    r"(?:show|depict|feature|capture|display|showcase|present|illustrate|portray|contain)(?:s|ed)?"
    r"|(?:open|begin|start)s with|is (?:of|about|showing)"
)
_SEE = r"(?:we|you|one) (?:can |could )?(?:clearly )?see|there (?=is|are)"
_WHICH = r"(?:this|the|these|the (?:provided|given|first|middle)) (?:short |brief |provided |given )?"


def _compiled(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    return [re.compile(pattern, re.IGNORECASE) for pattern in patterns]


# What may stand before a caption. Each needs its verb or its comma: "the video game" is no opening.
OPENINGS = _compiled(
    [
        r"(?:sure|certainly|of course|okay|ok|absolutely)[,.!:]+\s*",
        r"here(?:'s| is| are)\b[^.:!?\n]{0,80}:\s*",
        r"(?:caption|description|answer|output|summary|response|video description)\s*:\s*",
        rf"(?:in|throughout) {_WHICH}{_PICTURE}(?: clip)?(?:,\s*|\s+)(?:{_SEE})\s*",
        rf"(?:in|throughout) {_WHICH}{_PICTURE}(?: clip)?,\s*",
        rf"{_WHICH}{_PICTURE}(?: clip)? (?:{_SHOWS})(?: (?:us|that))?\s+",
        rf"(?:a|an) (?:short )?{_PICTURE}(?: clip)? of\s+",
        rf"(?:{_SEE})\s+",
        r"(?:das|dieses) (?:video|bild) zeigt\s+",
        r"(?:in dem|im|auf dem) (?:video|bild) (?:sieht man|ist zu sehen)[,:]?\s+",
        r"(?:la|cette) vidéo montre\s+|l['’]image montre\s+|(?:on|nous) (?:voit|voyons)\s+",
        r"(?:el|este) v[ií]deo muestra\s+|la imagen muestra\s+|(?:se ve|vemos)\s+",
        r"(?:这段|该|这个|此)?(?:视频|影片|画面|图片|图像)(?:中|里)?(?:展示|显示|呈现|描绘)(?:了)?[,，:：]?\s*",
        r"在(?:这段|该|这个)?(?:视频|影片|画面|图片|图像)(?:中|里)[,，]?\s*",
    ]
)

# At the start of the text or of a sentence; inside one (a sign that reads so) it is content.
_I_CANNOT = (
    r"i(?:'m| am)? ?(?:really )?(?:can't|cannot|can not|unable to|not able to|not allowed to|don't have|do not"
    r" have|won't|will not)"
)
_DO = (
    r"(?:assist|help|view|see|watch|access|analy[sz]e|describe|provide|identify|process|create|generate|fulfil|comply|answer|the"
    r" ability)"
)
REFUSALS = _compiled(
    [
        r"^(?:i'm|i am|we're|we are) (?:very |so |truly )?sorry\b(?!-)",
        r"^(?:sorry|apologies|unfortunately)[,.]? (?:but )?i\b",
        r"^(?:i|we) apologi[sz]e\b",
        r"(?:^|[.!?]\s+)as an? (?:ai\b|artificial intelligence|(?:large )?(?:language|text-based) model)",
        rf"(?:^|[.!?]\s+)(?:but |unfortunately,? )?{_I_CANNOT} {_DO}\b",
        (
            r"^(?:please (?:provide|upload|share)|no (?:image|video|picture)s? (?:was|were|has been|have been)"
            r" (?:provided|uploaded|attached))"
        ),
        r"^(?:es )?tut mir leid\b|^ich kann (?:das|dieses|dieser|diese)? ?\w* ?(?:nicht|leider)",
        r"^(?:je suis )?désolée?\b|^je ne peux pas\b|^lo siento\b|^no puedo\b",
        r"^(?:很|非常)?抱歉|^对不起|^我无法|^作为(?:一个|一名)?\s*(?:ai|人工智能|语言模型)",
    ]
)

# Words after which no caption ends.
DANGLING = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "but",
        "with",
        "of",
        "at",
        "to",
        "from",
        "for",
        "as",
        "is",
        "are",
        "was",
        "were",
        "its",
        "his",
        "their",
        "while",
        "which",
    ]
)
ABBREVIATIONS = frozenset(
    ["mr", "mrs", "ms", "dr", "st", "vs", "no", "prof", "jr", "sr", "e.g", "i.e", "etc", "approx"]
)
