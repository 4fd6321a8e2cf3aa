"""Peak memory of a worker on long videos: one moving picture, two hours at 24 fps, against the same of two minutes.

    python benchmarks/memory.py [--minutes 2,120]
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

LIMIT_MB = 1500


def write_long_video(path, minutes, fps=24):
    """640x360 H.264, a drifting texture with a cut every ten seconds."""
    rng = np.random.default_rng(0)
    textures = [np.repeat(np.repeat(rng.integers(0, 255, (90, 360, 3), np.uint8), 4, 0), 4, 1) for _ in range(4)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "35"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for i in range(int(minutes * 60 * fps)):
            shot, step = divmod(i, 10 * fps)
            picture = textures[shot % 4][:, 2 * step : 2 * step + 640]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode(None))


def peak_mb(video, folder):
    """Process one video as a worker does; peak resident memory of this process, MB."""
    from curate.config import load
    from curate.task import BASE, VideoTask
    from curate.work import prepare_worker, process_video

    prepare_worker()
    config = load("default")
    task = VideoTask(str(video), video.as_uri(), video.name, "ab" * 16, "ab" * 32, video.stat().st_size, str(folder), config, (BASE,))
    event = process_video(task)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, event["frames_decoded"], event["clips"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="2,120")
    options = parser.parse_args()
    print(f"| video | frames | clips | worker peak, MB (bar: {LIMIT_MB}) |\n|---|---|---|---|")
    for minutes in map(float, options.minutes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder, "long.mp4")
            write_long_video(video, minutes)
            print(f"{minutes:g} min rendered", file=sys.stderr)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peak, frames, clips = pool.apply(peak_mb, (video, Path(folder, "run")))
        print(f"| {minutes:g} min, 640x360, 24 fps | {frames} | {clips} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
