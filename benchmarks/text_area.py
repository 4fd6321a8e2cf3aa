"""Text area against the truth on rendered text: `python benchmarks/text_area.py` prints its table of docs/measured.md.

Lines of several sizes and two faces on plain, smooth and textured backgrounds of 1280 x 720, seen as stored role frames
(JPEG at 360 px). Truth: the union of the lines' ink boxes. Printed: ratio of measured to true area, share within 15 %,
ms per frame.
"""

import argparse
import time

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clipmill.curate.annotators.text import Text
from clipmill.curate.contract.annotator import ClipFrames
from clipmill.curate.video.picture import decode_jpeg, encode_jpeg

HEIGHT, WIDTH = 720, 1280
WORDS = [
    "subscribe",
    "now",
    "watch",
    "the",
    "next",
    "episode",
    "breaking",
    "news",
    "2024",
    "channel",
    "five",
    "hello",
    "river",
    "market",
]
SIZES_PX = (30, 40, 56, 80, 110)


def background(rng: np.random.Generator, kind: str) -> np.ndarray:
    """uint8 [720, 1280, 3]."""
    if kind == "plain":
        return np.full((HEIGHT, WIDTH, 3), rng.integers(0, 256, 3), np.uint8)
    total = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for octave in range(6 if kind == "smooth" else 3, 9):
        step = 2**octave
        noise = rng.standard_normal((HEIGHT // step + 2, WIDTH // step + 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * step**0.5
    return np.clip(rng.integers(60, 196) + 25 * total / total.std(), 0, 255).astype(np.uint8)


def ink(words: str, em_px: int, face: str) -> np.ndarray:
    """bool [h, w], cut to the bounds of the letters."""
    canvas = np.zeros((240, 3000), np.uint8)
    if face == "pillow":
        image = Image.fromarray(canvas)
        ImageDraw.Draw(image).text((20, 40), words, fill=255, font=ImageFont.load_default(em_px))
        canvas = np.asarray(image)
    else:
        cv2.putText(
            canvas, words, (20, 140), cv2.FONT_HERSHEY_DUPLEX, em_px / 30, 255, max(2, em_px // 12), cv2.LINE_AA
        )
    rows, cols = np.flatnonzero((canvas > 127).any(axis=1)), np.flatnonzero((canvas > 127).any(axis=0))
    return canvas[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] > 127


def render(seed: int, kind: str, em_px: int, face: str) -> tuple[np.ndarray, float]:
    """(frame as stored, true text area)."""
    rng = np.random.default_rng(seed)
    picture, mask = background(rng, kind), np.zeros((HEIGHT, WIDTH), bool)
    y = int(rng.integers(20, 120))
    for _ in range(int(rng.integers(1, 4))):
        letters = ink(" ".join(rng.choice(WORDS, int(rng.integers(1, 4)))), em_px, face)[:, : WIDTH - 120]
        h, w = letters.shape
        x = int(rng.integers(10, WIDTH - w - 10))
        if y + h > HEIGHT - 10:
            break
        dark = picture[y : y + h, x : x + w].mean() < 128
        picture[y : y + h, x : x + w][letters] = 255 if dark else 0
        mask[y : y + h, x : x + w] = True
        y += h + int(em_px * rng.uniform(0.3, 1.0))
    small = cv2.resize(picture, (640, 360), interpolation=cv2.INTER_AREA)
    return decode_jpeg(encode_jpeg(small, 90)), float(mask.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--side-px", type=int, default=Text.side_px)
    args = parser.parse_args()
    text, none = Text(side_px=args.side_px), np.zeros(0)
    measure = text.load("cpu", {})
    print("| background | em | ratio, mean | within 15 % | ms |\n|---|---|---|---|---|")
    for kind in ("plain", "smooth", "textured"):
        for em_px in SIZES_PX:
            cases = [render(seed, kind, em_px, face) for seed in range(args.seeds) for face in ("pillow", "hershey")]
            clips = [
                ClipFrames(
                    "c",
                    "v",
                    0,
                    1,
                    WIDTH,
                    HEIGHT,
                    (0, 0, 1, 1),
                    np.zeros(1),
                    frame[None],
                    ("first",),
                    none,
                    none,
                    none,
                    {},
                )
                for frame, _ in cases
            ]
            start = time.perf_counter()
            ratio = np.array([row["text_area"] for row in measure(clips)]) / [truth for _, truth in cases]
            ms = 1000 * (time.perf_counter() - start) / len(cases)
            good = float(np.mean(np.abs(ratio - 1) <= 0.15))
            print(f"| {kind} | {em_px / HEIGHT:.3f} | {ratio.mean():.2f} | {good:.0%} | {ms:.0f} |", flush=True)


if __name__ == "__main__":
    main()
