"""Pictures per second of the CLIP stage of `curate` against a bare open_clip loop at the same batch size, as a Markdown
table.

    python benchmarks/clip_speed.py [--minutes 8] [--rounds 3] [--model ViT-B-32]

Both read the same stored JPEGs, in processes of their own, alternating. The loop has what a script would have: PIL,
open_clip's own transform, encode_image, as many threads as cores. Weights are random: time does not depend on them.
`whole` counts starting Python and loading the network, `steady` leaves them out: slope between all clips and a few.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOOP = """
import glob, io, sys, time
import open_clip, pyarrow.parquet as pq, torch
from PIL import Image
network, _, transform = open_clip.create_model_and_transforms("local-dir:" + sys.argv[2])
network.eval()
parts = sorted(glob.glob(sys.argv[1] + "/frames/*.parquet"))
jpegs = [j for part in parts for j in pq.read_table(part, columns=["jpeg"])["jpeg"].to_pylist()]
jpegs = jpegs[: int(sys.argv[3])]
with torch.inference_mode():
    for at in range(0, len(jpegs), int(sys.argv[4])):
        pictures = [transform(Image.open(io.BytesIO(j)).convert("RGB")) for j in jpegs[at : at + int(sys.argv[4])]]
        network.encode_image(torch.stack(pictures), normalize=True)
"""


def write_network(folder, model):
    """A network of open_clip's table with random weights, in its folder form."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir()
    network = open_clip.create_model(model, pretrained=None)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(model), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def stage_seconds(run, network, batch, workers):
    """Wall seconds of the pass alone over all clips of the run, its table made anew."""
    from clipmill.curate.driver.listing import listing_of
    from clipmill.curate.driver.preflight import preflight
    from clipmill.curate.driver.stored_passes import run_passes
    from clipmill.curate.engines.options import RunOptions
    from clipmill.curate.tables.run_dir import RunDir
    from clipmill.curate.tables.run_json import config_of, read_run_json

    for part in (run / "annotations").glob("clip.v*/*.parquet"):
        part.unlink()
    here = RunDir(run)
    facts = read_run_json(here)
    active = [*facts["config"]["annotators"], "clip"]
    sets = [f"annotators={active}", f"clip.network={network}", f"clip.batch_pictures={batch}"]
    config = preflight(config_of(here, sets))
    began = time.perf_counter()
    done = run_passes(here, config, listing_of(here, facts["inputs"]).names, RunOptions(workers=workers, device="cpu"))
    assert done["error"] == 0, done
    return time.perf_counter() - began


def loop_seconds(run, network, batch, pictures):
    """Wall seconds of the bare loop."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LOOP, str(run), str(network), str(pictures), str(batch)], check=True)
    return time.perf_counter() - began


def make_run(folder, minutes):
    for command in (
        ["demo", folder / "videos", "--minutes", minutes, "--seed", 5],
        ["run", folder / "videos", "--out", folder / "run", "--no-export"],
    ):
        subprocess.run(
            [sys.executable, "-m", "clipmill.curate.cli", *map(str, command)], check=True, stdout=subprocess.DEVNULL
        )
    return folder / "run"


def pictures_of(run):
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(p).num_rows for p in (run / "frames").glob("*.parquet"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = write_network(folder / "network", options.model)
        runs = {"all": make_run(folder, options.minutes), "few": None}
        (folder / "few").mkdir()
        runs["few"] = make_run(folder / "few", 0.5)
        counts = {key: pictures_of(run) for key, run in runs.items()}
        seconds = {(what, key): [] for what in ("stage", "loop") for key in runs}
        for _ in range(options.rounds):
            for key, run in runs.items():
                seconds["stage", key].append(stage_seconds(run, network, options.batch, options.workers))
                seconds["loop", key].append(loop_seconds(run, network, options.batch, counts[key]))
        middle = {key: statistics.median(values) for key, values in seconds.items()}
        print(
            f"{options.model}, batches of {options.batch}, {counts['all']} pictures, medians of {options.rounds}"
            " rounds\n"
        )
        print("| | whole, pictures/s | steady, pictures/s |\n|---|---|---|")
        rates = {}
        for what, title in (("loop", "bare open_clip loop"), ("stage", "`curate`, clip stage")):
            slope = (counts["all"] - counts["few"]) / (middle[what, "all"] - middle[what, "few"])
            rates[what] = counts["all"] / middle[what, "all"], slope
            print(f"| {title} | {rates[what][0]:.1f} | {slope:.1f} |")
        print(
            "| stage / loop | {:.2f} | {:.2f} |".format(
                *(a / b for a, b in zip(rates["stage"], rates["loop"], strict=True))
            )
        )


if __name__ == "__main__":
    main()
