"""Colours by the names that people use, of pictures."""

from collections.abc import Sequence

import numpy as np

# Where a colour's name begins, degrees of hue; orange that is dark is brown, red that is light is pink.
_HUES = (
    (0, "red"),
    (16, "orange"),
    (42, "yellow"),
    (68, "green"),
    (160, "teal"),
    (190, "blue"),
    (255, "purple"),
    (292, "pink"),
    (342, "red"),
)
_BLACK_BELOW, _WHITE_ABOVE = 0.14, 0.86
_GREY_CHROMA = 0.10
_DARK_BELOW, _LIGHT_ABOVE = 0.34, 0.70
_TONES = ("dark ", "", "light ")
NAMES = (
    "black",
    "white",
    *(t + n for n in ("grey", *dict.fromkeys(name for _, name in _HUES), "brown") for t in _TONES),
)


def colour_shares(pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """Name -> share of the pixels of uint8 [H, W, 3] RGB pictures, largest first, then by name."""
    counts = np.sum([np.bincount(_names(picture), minlength=len(NAMES)) for picture in pictures], axis=0)
    shares = counts / counts.sum()
    return {NAMES[i]: float(shares[i]) for i in sorted(np.flatnonzero(shares), key=lambda i: (-shares[i], NAMES[i]))}


def _names(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> int [H * W], places in `NAMES`. Hue and lightness as in HSL; grey where the channels are
    about the same.
    """
    import cv2

    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32) / 255
    high, low = small.max(axis=1), small.min(axis=1)
    chroma, lightness = high - low, (high + low) / 2
    hue = cv2.cvtColor(small[:, None], cv2.COLOR_RGB2HLS)[:, 0, 0]
    kind = _kinds(hue, lightness)
    kind[chroma < _GREY_CHROMA] = NAMES.index("grey")
    tone = np.where(lightness < _DARK_BELOW, -1, np.where(lightness > _LIGHT_ABOVE, 1, 0))
    found = kind + tone
    found[lightness < _BLACK_BELOW] = NAMES.index("black")
    found[(lightness > _WHITE_ABOVE) & (chroma < 2 * _GREY_CHROMA)] = NAMES.index("white")
    return np.asarray(found)


def _kinds(hue_deg: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    starts = np.asarray([start for start, _ in _HUES])
    kind = np.asarray([NAMES.index(name) for _, name in _HUES])[
        np.searchsorted(starts, hue_deg % 360, side="right") - 1
    ]
    kind[(kind == NAMES.index("orange")) & (lightness < 0.42)] = NAMES.index("brown")
    return kind
