"""Peak memory of a worker on long videos: a demo video repeated to two hours, against the same of two minutes.

python benchmarks/memory.py [--minutes 2,120]
"""

import argparse
import hashlib
import multiprocessing
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import av

LIMIT_MB = 1500


def render_part(folder):
    """One demo video of about 18 s, 640x360 H.264 at 24 fps, with cuts, transitions, text and defects."""
    command = [sys.executable, "-m", "clipmill.curate.cli", "demo", str(folder), "--minutes", "3"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "harbour_h264.mp4"


def repeat(part, path, minutes):
    """The packets of `part`, one copy after another, until `minutes` are full."""
    with av.open(str(path), "w") as out:
        target, k, full = None, 0, False
        while not full:
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                shift = k * stream.duration
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, target
                        out.mux(packet)
                k += 1
                full = float(k * stream.duration * stream.time_base) >= 60 * minutes


def peak_mb(video, folder, detector):
    """Process one video as a worker does; peak resident memory of this process, MB."""
    from clipmill.curate.config import load
    from clipmill.curate.decode.task import BASE, VideoTask
    from clipmill.curate.decode.worker import process_video
    from clipmill.curate.engines import prepare_worker

    prepare_worker()
    config = load("default", [f"scenes.detector={detector}"])
    with video.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    task = VideoTask(
        str(video), video.as_uri(), video.name, "ab" * 16, sha256, video.stat().st_size, str(folder), config, (BASE,)
    )
    event = process_video(task)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, event["frames_decoded"], event["clips"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="2,120")
    parser.add_argument("--detector", default="fused")
    options = parser.parse_args()
    print(f"| video | detector | frames | clips | worker peak, MB (bar: {LIMIT_MB}) |\n|---|---|---|---|---|")
    for minutes in map(float, options.minutes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder, "long.mp4")
            repeat(render_part(Path(folder, "demo")), video, minutes)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peak, frames, clips = pool.apply(peak_mb, (video, Path(folder, "run"), options.detector))
        print(
            f"| {minutes:g} min, 640x360, 24 fps | {options.detector} | {frames} | {clips} | {peak:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
