"""The same two sets under every protocol, as a Markdown table: what is left of "FVD" when only the protocol changes.

    python benchmarks/protocols.py [--real SET --fake SET] [--features i3d-random] [--weights FILE]

Without sets two demos of other seeds are rendered and curated. Without weights of I3D the network is I3D with seeded
random weights, so the numbers are no FVD and their sizes are only indicative; the order of the effects is that of the
arithmetic.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from clipmill import evaluate
from clipmill.evaluate.frames.protocol import load, names

MINUTES = 3


def demo_run(folder, seed):
    """Clips of a curated demo at 256 px."""
    for command in (
        ["demo", folder / "videos", "--minutes", MINUTES, "--seed", seed],
        ["run", folder / "videos", "--out", folder / "run", "--set", "export.short_side_px=256"],
    ):
        subprocess.run(
            [sys.executable, "-m", "clipmill.curate.cli", *map(str, command)], check=True, stdout=subprocess.DEVNULL
        )
    return folder / "run"


def table(real, fake, features, weights):
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for name in ("original", *(n for n in names() if n != "original")):
            changes = {"features": features, "n_real": 0, "n_fake": 0}
            fd, kd = evaluate.score(["fvd", "kvd"], real, fake, name, changes, weights=weights, cache=cache)
            rows.append((name, fd, kd))
            print(f"{name}: {fd}, {kd}", file=sys.stderr)
    first = rows[0]
    lines = [f"{first[1].n_real} against {first[1].n_fake} clips, features of {features}", ""]
    lines += ["| protocol | Fréchet distance | to original | kernel distance | to original |", "|---|---|---|---|---|"]
    for name, fd, kd in rows:
        shift = [f"{100 * (row.value / base.value - 1):+.1f} %" for row, base in ((fd, first[1]), (kd, first[2]))]
        protocol = f"{name} v{load(name).version}"
        lines.append(
            f"| {protocol} | {fd.value:.4g} ± {fd.standard_error:.2g} | {shift[0]} | {kd.value:.4g} | {shift[1]} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real")
    parser.add_argument("--fake")
    parser.add_argument("--features", default="i3d-random")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        real = options.real or demo_run(Path(folder, "a"), 11)
        fake = options.fake or demo_run(Path(folder, "b"), 12)
        print(table(real, fake, options.features, options.weights))


if __name__ == "__main__":
    main()
