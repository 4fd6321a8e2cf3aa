"""Encoding: one container and codec per demo file, single-threaded, without dates or random ids, so that files
reproduce.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.demo.plan import Format
from clipmill.curate.demo.scheduling import scheduled_as_before
from clipmill.curate.video.x264 import steady_x264

AUDIO_RATE = 48_000
AUDIO_BLOCK = 1024
# good quality everywhere: a file's codec must not look like the planted blockiness
OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "crf": "20", "x265-params": "pools=none:frame-threads=1:log-level=error"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "24", "b": "0"},
    "libsvtav1": {"preset": "11", "crf": "22", "svtav1-params": "lp=1"},
    "mpeg4": {
        "flags": "+qscale",
        "global_quality": "118",
        "qmin": "1",
    },  # quantiser 1: at 2 its own blocks can be measured
}


def _options(codec: str) -> dict[str, str]:
    return OPTIONS[codec] | (steady_x264() if codec == "libx264" else {})


class Writer:
    """Muxes frames and, where the format has it, a tone. Use through `open_writer`."""

    def __init__(self, container: Any, fmt: Format, time_base: Fraction) -> None:
        self._container, self._format, self._time_base = container, fmt, time_base
        width, height = (fmt.height, fmt.width) if fmt.rotate_deg % 180 else (fmt.width, fmt.height)
        stream = container.add_stream(fmt.codec, rate=fmt.rate, options=_options(fmt.codec))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = round(2 * fmt.rate)
        if fmt.variable_rate:
            stream.codec_context.time_base = time_base
        if fmt.rotate_deg:
            stream.set_display_rotation(-fmt.rotate_deg)  # libav counts counter-clockwise
        self._video = stream
        self._audio = container.add_stream("aac", rate=AUDIO_RATE, layout="mono") if fmt.audio else None
        self._phase = 0
        self._begun = False

    def frame(self, rgb: np.ndarray, tick: int) -> None:
        """Encode upright uint8 [H, W, 3] RGB shown from `tick` (in time-base units) on."""
        import av

        coded = np.ascontiguousarray(np.rot90(rgb, self._format.rotate_deg // 90))
        frame = av.VideoFrame.from_ndarray(coded, "rgb24")
        frame.pts, frame.time_base = tick, self._time_base
        self._container.mux(self._encoded(frame))

    def _encoded(self, frame: Any) -> Any:
        """Packets. The first frame opens the encoder, which may change how this process is scheduled."""
        if self._begun:
            return self._video.encode(frame)
        self._begun = True
        with scheduled_as_before():
            return self._video.encode(frame)

    def tone(self, until_s: float, pitch_hz: float) -> None:
        """Continue the sound up to `until_s` with a soft sine; does nothing in a silent format."""
        if self._audio is None:
            return
        import av

        while self._phase < until_s * AUDIO_RATE:
            t = (self._phase + np.arange(AUDIO_BLOCK)) / AUDIO_RATE
            frame = av.AudioFrame.from_ndarray(
                0.1 * np.sin(2 * np.pi * pitch_hz * t).astype(np.float32)[None], "fltp", "mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, self._phase, Fraction(1, AUDIO_RATE)
            self._container.mux(self._audio.encode(frame))
            self._phase += AUDIO_BLOCK

    def finish(self) -> None:
        """Flush the encoders."""
        for stream in filter(None, (self._video, self._audio)):
            self._container.mux(stream.encode())


@contextmanager
def _quiet_svt() -> Iterator[None]:
    """SVT-AV1 prints its settings on stderr unless this variable says errors only."""
    before = os.environ.get("SVT_LOG")
    os.environ["SVT_LOG"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SVT_LOG"]
        else:
            os.environ["SVT_LOG"] = before


@contextmanager
def open_writer(path: Path, fmt: Format, time_base: Fraction) -> Iterator[Writer]:
    """Write `path`; afterwards cut the file where the format says that its end is missing."""
    import av

    options = {"fflags": "+bitexact"}
    if fmt.keep_bytes < 1:
        options["movflags"] = "+faststart"  # the index first: what has arrived of a download can be played
    with _quiet_svt(), av.open(str(path), "w", format=fmt.muxer, container_options=options) as container:
        writer = Writer(container, fmt, time_base)
        yield writer
        writer.finish()
    if fmt.keep_bytes < 1:
        os.truncate(path, int(path.stat().st_size * fmt.keep_bytes))


def count_frames(path: Path) -> int:
    """Frames of the first video stream that can be decoded, after a packet that cannot as well."""
    import av

    from clipmill.curate.video.open_av import open_av

    n = 0
    with open_av(path) as container:
        for packet in container.demux(video=0):
            try:
                n += len(packet.decode())
            except av.FFmpegError:  # a truncated file ends in half a packet
                continue
    return n
