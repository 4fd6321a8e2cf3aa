"""A sentence from measured columns. Every word stands for a number; what was not measured is not said."""

from collections.abc import Mapping, Sequence
from typing import Any

# Short sides of the picture per second, as the column `motion`.
_STILL_BELOW, _LITTLE_BELOW, _MUCH_ABOVE = 0.01, 0.06, 0.25
# Mean luma, share of full scale; standard deviation of luma in levels of 255.
_DARK_BELOW, _BRIGHT_ABOVE = 0.25, 0.65
_FLAT_BELOW, _CONTRASTY_ABOVE = 28.0, 72.0
_BLACK_SHARE = 0.5
_CAMERA = {
    "static": "a static camera",
    "left": "the camera moving left",
    "right": "the camera moving right",
    "up": "the camera moving up",
    "down": "the camera moving down",
    "zoom_in": "the view zooming in",
    "zoom_out": "the view zooming out",
    "rotate_cw": "the camera turning clockwise",
    "rotate_ccw": "the camera turning counterclockwise",
    "unsteady": "an unsteady camera",
}
_MOST_LETTERS = 80


def sentence(columns: Mapping[str, Any], contrast: float | None, colours: Sequence[str], read: Sequence[str]) -> str:
    """columns: of motion and quality, and `duration_s`; absent and null ones are left out. contrast: standard deviation
    of luma, levels of 255. colours: names, the most frequent first. read: lines of text on the screen.
    """
    tones = [word for word in (_brightness(columns), _contrast(contrast)) if word]
    first = f"A {'' if not tones else ', '.join(tones) + ' '}shot of {_seconds(columns['duration_s'])}"
    if tones and tones[0][0] in "aeiou":
        first = "An" + first[1:]
    camera, movement = _CAMERA.get(columns.get("camera_direction") or ""), _movement(columns)
    first += "".join(
        f" {word} {part}" for word, part in zip(("with", "and"), filter(None, (camera, movement)), strict=False)
    )
    named = [f"The colours are mostly {' and '.join(colours)}"] if colours and "black" not in tones else []
    sentences = [first, *named, *_reading(read)]
    return ". ".join(sentences) + "."


def _seconds(duration_s: float) -> str:
    whole = max(1, round(duration_s))
    return "one second" if whole == 1 else f"{whole} seconds"


def _movement(columns: Mapping[str, Any]) -> str | None:
    motion = columns.get("motion")
    if motion is None:
        return None
    if motion < _STILL_BELOW:
        return "no visible motion"
    amount = "little motion" if motion < _LITTLE_BELOW else "much motion" if motion > _MUCH_ABOVE else "moderate motion"
    # no camera explains it, so nothing is said of one
    return f"{amount} in more than one direction" if columns.get("camera_direction") == "complex" else amount


def _brightness(columns: Mapping[str, Any]) -> str | None:
    if (columns.get("near_black") or 0.0) > _BLACK_SHARE:
        return "black"
    exposure = columns.get("exposure")
    if exposure is None:
        return None
    return "dark" if exposure < _DARK_BELOW else "bright" if exposure > _BRIGHT_ABOVE else None


def _contrast(levels: float | None) -> str | None:
    if levels is None:
        return None
    return "low-contrast" if levels < _FLAT_BELOW else "high-contrast" if levels > _CONTRASTY_ABOVE else None


def _reading(lines: Sequence[str]) -> list[str]:
    """Text as it was read, in quotes; what does not fit is left out, whole lines first."""
    plain = [" ".join(line.replace('"', "'").split()) for line in lines]
    kept: list[str] = []
    for line in plain:
        if sum(map(len, kept)) + len(line) <= _MOST_LETTERS:
            kept.append(line)
    return [f'Text on the screen reads "{" / ".join(kept)}"'] if kept else []
