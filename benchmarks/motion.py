"""Motion score against the truth on translating textures: `python benchmarks/motion.py` prints its table of
docs/measured.md.

A window travels over noise with equal energy per octave, at known speed, in eight directions, sampled at 2 fps from 24,
30 and 60 fps and from a variable rate, with and without a letterbox. Printed: mean and worst relative error per speed.
"""

import argparse

import cv2
import numpy as np

from clipmill.curate.annotators.motion import Motion
from clipmill.curate.contract.annotator import ClipFrames

HEIGHT, WIDTH = 360, 640
SPEEDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def texture(seed: int) -> np.ndarray:
    """uint8 [1000, 1600]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((1000, 1600), np.float32)
    for octave in range(2, 9):
        step = 2**octave
        noise = rng.standard_normal((1000 // step + 3, 1600 // step + 3)).astype(np.float32)
        total += cv2.resize(noise, (1600, 1000), interpolation=cv2.INTER_CUBIC) * step**0.5
    return np.clip(128 + 45 * (total - total.mean()) / total.std(), 0, 255).astype(np.uint8)


def sample_times(rate: str) -> np.ndarray:
    """Times of the frames that a 2 fps grid picks from three seconds at `rate`."""
    if rate == "variable":
        times = np.cumsum(np.r_[0, np.random.default_rng(5).uniform(0.01, 0.09, 70)])
    else:
        times = np.arange(3 * int(rate)) / int(rate)
    return times[[int(np.argmax(times >= k / 2)) for k in range(int(times[-1] * 2) + 1)]]


def clip(picture: np.ndarray, speed: float, angle: float, times: np.ndarray, bar_px: int, side_px: int) -> ClipFrames:
    """What the annotator gets for a window that moves `speed` of its short sides per second."""
    height, frames = HEIGHT - 2 * bar_px, []
    for t in times:
        d = speed * height * (t - 1.5)
        window = cv2.getRectSubPix(picture, (WIDTH, height), (800 + d * np.cos(angle), 500 + d * np.sin(angle)))
        full = cv2.copyMakeBorder(window, bar_px, bar_px, 0, 0, cv2.BORDER_CONSTANT, value=16)
        small = cv2.resize(full, (round(WIDTH * side_px / HEIGHT), side_px), interpolation=cv2.INTER_AREA)
        bar = -(-bar_px * side_px // HEIGHT)
        frames.append(small[bar : side_px - bar])
    none = np.zeros(0)
    return ClipFrames("c", "v", 0, 3, WIDTH, HEIGHT, (0, 0, 1, 1), times, np.stack(frames), (), none, none, none, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    motion = Motion()
    pictures = [texture(seed) for seed in range(parser.parse_args().seeds)]
    print("| rate | letterbox | " + " | ".join(f"{s} /s" for s in SPEEDS) + " |")
    print("|---" * (len(SPEEDS) + 2) + "|")
    for rate, bar_px in (("24", 0), ("30", 0), ("60", 0), ("variable", 0), ("30", 48)):
        cells = []
        for speed in SPEEDS:
            angles = np.arange(8) * np.pi / 4
            clips = [
                clip(p, speed, a, sample_times(rate), bar_px, motion.short_side_px) for p in pictures for a in angles
            ]
            error = np.array([row["motion"] for row in map(motion.measure, clips)]) / speed - 1
            cells.append(f"{100 * error.mean():+.1f} % (worst {100 * np.abs(error).max():.1f} %)")
        print(f"| {rate} | {'2.2:1' if bar_px else 'none'} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
