"""Agreement with the original code, as a Markdown table: uint8 videos to features to numbers, and what two known
mistakes do.

    python benchmarks/goldens.py [--goldens FOLDER]

The reference is DeepMind's TensorFlow graph of I3D with seeded variables, TensorFlow 1's resize and tfgan's metric
code, run on 64 clips a set; this side is `evaluate`, from the videos on.
"""

import argparse
import json
import runpy
from pathlib import Path

import numpy as np
import torch

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.mmd import polynomial_mmd
from clipmill.evaluate.features.i3d_random import I3DRandom
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.frames.resize import preprocess

ROUTES = (
    ("`evaluate`, protocol original", "original", {}),
    ("the same with batch-norm epsilon 1e-5", "original", {"bn_eps": 1e-5}),
    ("the same with half-pixel resize", "stylegan-v", {}),
)


def features(clips, protocol, options):
    """float32 [N, 400] of uint8 [N, T, H, W, 3]."""
    network, rules = I3DRandom(**options), load(protocol)
    parts = []
    for at in range(0, len(clips), 8):
        with torch.inference_mode():
            parts.append(network(torch.stack([preprocess(c, rules, 224) for c in clips[at : at + 8]])).numpy())
    return np.concatenate(parts)


def table(folder):
    make = runpy.run_path(str(folder / "make_videos.py"))
    kinds = {"noise": make["noise_videos"], "sq": make["square_videos"]}
    values = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))["values"]
    lines = ["| relative error against the original | sets | features | FVD | KVD |", "|---|---|---|---|---|"]
    with np.load(folder / "tf_features.npz") as stored:
        reference = {name: stored[name] for name in stored}
    for title, protocol, options in ROUTES:
        # Mistakes are of one size everywhere: one pair of sets shows it.
        shown = list(values.items()) if title == ROUTES[0][0] else list(values.items())[:1]
        for pair, (fvd, kvd) in shown:
            names = pair.split("|")
            found = [features(kinds[n[:-1]](64, seed=int(n[-1])), protocol, options) for n in names]
            error = max(
                np.linalg.norm(f - reference[n]) / np.linalg.norm(reference[n])
                for f, n in zip(found, names, strict=True)
            )
            errors = [
                abs(measure(*found) / known - 1) for measure, known in ((frechet_distance, fvd), (polynomial_mmd, kvd))
            ]
            lines.append(f"| {title} | {pair.replace('|', ' / ')} | {error:.1e} | {errors[0]:.1e} | {errors[1]:.1e} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goldens", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "goldens")
    print(table(parser.parse_args().goldens))


if __name__ == "__main__":
    main()
