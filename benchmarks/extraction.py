"""Is decoding hidden behind the network, and does memory stay flat? Features of demo-like clips, as a Markdown table.

    python benchmarks/extraction.py [--clips 100,2000] [--features mini]

Time: the network alone on ready pictures, decoding and resizing alone, and both as `evaluate` runs them; perfect
overlap takes as long as the longer of the two where cores are free, and as their sum on as many busy cores. Memory:
peak of a process of its own.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

FRAMES, SIDE = 16, 256


def write_clips(folder, count):
    """`count` small H.264 files of a drifting texture."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(
        rng.integers(0, 255, (12, 12, 3), np.uint8), (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC
    )
    for k in range(count):
        with av.open(str(folder / f"{k:05d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "28"})
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
            x, y = rng.integers(0, SIDE - 2 * FRAMES, 2)
            for t in range(FRAMES):
                picture = np.ascontiguousarray(texture[y + t : y + t + SIDE, x + t : x + t + SIDE])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))


def evaluation(folder, features, clips):
    from clipmill.evaluate.evaluation import Evaluation
    from clipmill.evaluate.extraction.measure import Settings
    from clipmill.evaluate.frames.protocol import load

    protocol = load("clipmill", {"features": features, "n_real": clips, "n_fake": clips, "choose": "first"})
    return Evaluation(folder, folder, protocol, Settings(device="cpu"))


def peak(folder, features, clips, queue):
    """Peak resident memory in MB of measuring `clips` clips. Not ru_maxrss: that of the parent lives on in a new
    program.
    """
    evaluation(folder, features, clips).features("fake")
    status = Path("/proc/self/status").read_text()
    queue.put(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def seconds(folder, features, clips):
    """(network alone, decode and resize alone, both together), s."""
    import torch

    from clipmill.evaluate.extraction.measure import Clip, read_clip
    from clipmill.evaluate.frames.resize import preprocess
    from clipmill.evaluate.sets import open_set

    job = evaluation(folder, features, clips)
    network, protocol = job.network(features), job.protocol
    videos = open_set(folder).videos[:clips]
    began = time.perf_counter()
    ready = [preprocess(read_clip(Clip(v, 0), protocol)[0], protocol, network.side_px) for v in videos]
    decode_s = time.perf_counter() - began
    with torch.inference_mode():
        network(torch.stack(ready[:8]))
        began = time.perf_counter()
        for at in range(0, clips, 8):
            network(torch.stack(ready[at : at + 8]))
    network_s = time.perf_counter() - began
    began = time.perf_counter()
    job.features("fake")
    return network_s, decode_s, time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", default="100,2000")
    parser.add_argument("--timed", type=int, default=64)
    parser.add_argument("--features", default="mini")
    options = parser.parse_args()
    counts = [int(c) for c in options.clips.split(",")]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder, max(*counts, options.timed))
        head = ("features", "clips", "network alone, s", "decode and resize alone, s", "together, s", "together / sum")
        print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
        for features in dict.fromkeys((options.features, "i3d-random")):
            alone, decode, both = seconds(folder, features, options.timed)
            print(
                f"| {features} | {options.timed} | {alone:.1f} | {decode:.1f} | {both:.1f} |"
                f" {both / (alone + decode):.2f} |",
                flush=True,
            )
        print("\n| clips | peak memory, MB |\n|---|---|")
        for clips in counts:
            queue = context.Queue()
            process = context.Process(target=peak, args=(folder, options.features, clips, queue))
            process.start()
            print(f"| {clips} | {queue.get():.0f} |", flush=True)
            process.join()


if __name__ == "__main__":
    main()
