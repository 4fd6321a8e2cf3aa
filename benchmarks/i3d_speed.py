"""I3D in the arrangement that is used against the plain module of the ports: `python benchmarks/i3d_speed.py` prints
its table of docs/measured.md.

Both are this project's own class with the same seeded variables, in float32 without TF32: plain is channels first,
batch norm by itself; ours is channels last, batch norm folded, 1 x 1 x 1 convolutions as matrix products. Arrangements
and batch sizes take turns; printed are medians of rates and of the ratios within a round, and how far the features are
apart. On a GPU (`--device cuda`) channels first with batch norm folded runs too.
"""

import argparse
import statistics
import time

import torch

from clipmill.evaluate.features.i3d_random import seeded_variables
from clipmill.evaluate.networks.i3d import I3DNetwork, features

ARRANGEMENTS = {
    "plain": {"folded": False, "channels_last": False},
    "folded": {"folded": True, "channels_last": False},
    "ours": {"folded": True, "channels_last": True},
}


def rate(network: I3DNetwork, videos: torch.Tensor) -> float:
    """Clips per second of one forward pass."""
    start_s = time.perf_counter()
    features(network, videos).cpu()
    return len(videos) / (time.perf_counter() - start_s)


def rates(
    networks: dict[str, I3DNetwork], clips: torch.Tensor, batches: list[int], rounds: int
) -> dict[tuple[str, int], list[float]]:
    """(arrangement, batch) -> clips per second in every round; a first round warms up and is not counted."""
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds + 1):
        for batch in batches:
            for name, network in networks.items():
                found.setdefault((name, batch), []).append(rate(network, clips[:batch]))
    return {key: values[1:] for key, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    batches = options.batches or ([1, 8] if options.device == "cpu" else [1, 8, 16, 32, 64])
    names = ("plain", "ours") if options.device == "cpu" else tuple(ARRANGEMENTS)
    variables = seeded_variables(0)
    networks = {name: I3DNetwork(variables, **ARRANGEMENTS[name]).to(options.device) for name in names}
    generator = torch.Generator().manual_seed(0)
    clips = (torch.rand(max(batches), options.frames, 3, 224, 224, generator=generator) * 2 - 1).to(options.device)
    table(networks, rates(networks, clips, batches, options.rounds), batches)
    plain, ours = (features(networks[name], clips[:2]).double() for name in ("plain", "ours"))
    apart = ((ours - plain).abs().max() / plain.abs().max()).item()
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"\n{where}, torch {torch.__version__}, clips of {options.frames} frames; largest difference of features"
        f" {apart:.1e} of the largest"
    )


def table(networks: dict[str, I3DNetwork], found: dict[tuple[str, int], list[float]], batches: list[int]) -> None:
    print("| clips/s | " + " | ".join(f"batch {batch}" for batch in batches) + " |")
    print("|---" * (len(batches) + 1) + "|")
    for name in networks:
        print(f"| {name} | " + " | ".join(f"{statistics.median(found[name, batch]):.2f}" for batch in batches) + " |")
    ratios = [[a / b for a, b in zip(found["ours", batch], found["plain", batch], strict=True)] for batch in batches]
    print("| ours / plain | " + " | ".join(f"{statistics.median(ratio):.2f}x" for ratio in ratios) + " |")


if __name__ == "__main__":
    main()
