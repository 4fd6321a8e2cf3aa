"""Peak memory of a worker on long videos: one moving picture, two hours at 24 fps, against the same of two minutes.

    python benchmarks/memory.py [--minutes 2,120]
"""

import argparse
import multiprocessing
import resource
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np

LIMIT_MB = 1500
FPS, PART_MINUTES = 24, 2


def write_video(path):
    """Two minutes of 640x360 H.264 at 24 fps, a drifting texture with a cut every ten seconds."""
    rng = np.random.default_rng(0)
    textures = [cv2.resize(rng.integers(0, 255, (9, 36, 3), np.uint8), (1440, 360), interpolation=cv2.INTER_CUBIC) for _ in range(4)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for i in range(PART_MINUTES * 60 * FPS):
            shot, step = divmod(i, 10 * FPS)
            picture = textures[shot % 4][:, 2 * step : 2 * step + 640]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        container.mux(stream.encode(None))


def repeat(part, path, times):
    """The packets of `part`, one after another `times` over: the preset writes no B-frames, so the joints are clean."""
    with av.open(str(path), "w") as out:
        target = None
        for k in range(times):
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        shift = round(k * PART_MINUTES * 60 / stream.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, target
                        out.mux(packet)


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
            part, video = Path(folder, "part.mp4"), Path(folder, "long.mp4")
            write_video(part)
            repeat(part, video, round(minutes / PART_MINUTES))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peak, frames, clips = pool.apply(peak_mb, (video, Path(folder, "run")))
        print(f"| {minutes:g} min, 640x360, 24 fps | {frames} | {clips} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
