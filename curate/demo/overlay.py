"""Text laid over a picture, with the tight box of every rendered line."""

from dataclasses import dataclass

import numpy as np

WORDS = (
    "HARBOUR", "MORNING", "NEWS", "LIVE", "EPISODE", "SUMMER", "TONIGHT", "WATCH", "STORY", "GARDEN", "WINTER",
    "FOLLOW",
    "MUSIC", "TRAVEL", "COFFEE", "SIMPLE", "RECIPE", "PART TWO", "BREAKING", "OFFER", "SUBSCRIBE", "TOMORROW",
    "MARKET", "RIVER",
)  # fmt: skip
EM_MAX = 0.15  # of the short side


@dataclass(frozen=True)
class Overlay:
    """cover: float32 [h, w, 4] premultiplied RGBA (0 to 255, alpha 0 to 1), laid with its corner at (x, y) px.

    boxes_px: float [N, 4] x0, y0, x1, y1 of the ink of each line, in picture pixels; boxes do not overlap.
    """

    cover: np.ndarray
    x: int
    y: int
    boxes_px: np.ndarray

    def apply(self, picture: np.ndarray) -> None:
        """Draw onto uint8 [H, W, 3] in place."""
        h, w = self.cover.shape[:2]
        region = picture[self.y : self.y + h, self.x : self.x + w]
        region[:] = (region * (1 - self.cover[..., 3:]) + self.cover[..., :3] + 0.5).astype(np.uint8)


def _ink(text: str, em_px: float) -> np.ndarray:
    """Coverage uint8 [h, w] of one line of text, cut to its ink."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(em_px)
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(canvas).text((4 - left, 4 - top), text, fill=255, font=font)
    mask = np.asarray(canvas)
    rows, columns = np.flatnonzero(mask.max(1) > 127), np.flatnonzero(mask.max(0) > 127)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _lines(rng: np.random.Generator, width_px: int, height_px: int, share: float | None) -> list[np.ndarray]:
    """Ink of as many lines as it takes to fill `share` of the picture; one short line at the size of a subtitle for
    None.
    """
    short = min(width_px, height_px)
    if share is None:
        return [_ink(" ".join(rng.choice(WORDS, 2, replace=False)).capitalize(), 0.065 * short)]
    letters = 14 if width_px > height_px else 8
    words = iter(rng.permutation(np.array(WORDS)))
    lines: list[np.ndarray] = []
    while sum(i.size for i in lines) < share * width_px * height_px:
        text = str(next(words))
        while len(text) < letters - 5:
            text += f" {next(words)}"
        ink = _ink(text, EM_MAX * short)
        lines.append(_ink(text, EM_MAX * short * min(1, 0.86 * width_px / ink.shape[1])))
    return lines


def make_overlay(rng: np.random.Generator, width_px: int, height_px: int, share: float | None) -> Overlay:
    """White lines on a dark translucent panel. `share`: of the picture inside the lines' tight boxes, at least; None: a
    caption line.
    """
    lines = _lines(rng, width_px, height_px, share)
    gap = max(4, round(0.035 * min(width_px, height_px)))
    panel_w, panel_h = max(i.shape[1] for i in lines) + 2 * gap, sum(i.shape[0] + gap for i in lines) + gap
    x = (width_px - panel_w) // 2
    y = height_px - panel_h - gap if share is None else int(rng.integers(gap, max(gap + 1, height_px - panel_h - gap)))
    ink = np.zeros((panel_h, panel_w), np.float32)
    boxes, top = [], gap
    for line in lines:
        h, w = line.shape
        left = (panel_w - w) // 2
        ink[top : top + h, left : left + w] = line / 255
        boxes.append((x + left, y + top, x + left + w, y + top + h))
        top += h + gap
    alpha = ink + (1 - ink) * 0.6
    white = np.repeat(245 * ink[..., None], 3, 2)
    return Overlay(np.dstack([white, alpha]).astype(np.float32), x, y, np.array(boxes, float))
