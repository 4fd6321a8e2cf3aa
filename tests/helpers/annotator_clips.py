"""What the annotators' tests share: textures with known truth, clips made of arrays, and clips cut from real files."""

import functools
import math
from pathlib import Path

import cv2
import numpy as np

from clipmill.curate.contract.annotator import ROLES, Annotator, ClipFrames
from clipmill.curate.video.picture import decode_picture, encode_jpeg
from clipmill.curate.video.reader import VideoDecoder, open_video
from clipmill.curate.video.signals import SignalBuilder

FULL = (0.0, 0.0, 1.0, 1.0)


@functools.cache
def texture(seed, height=720, width=1280, finest_px=4, contrast=45.0):
    """Noise with equal energy per octave, uint8 [height, width]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for octave in range(int(math.log2(finest_px)), 9):
        step = 2**octave
        noise = rng.standard_normal((height // step + 3, width // step + 3)).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * step**0.5
    return np.clip(128 + contrast * (total - total.mean()) / total.std(), 0, 255).astype(np.uint8)


def clip(frames=(), t_s=(), crop=FULL, size=(640, 360), observed=(), lumas=None, fps=30.0, roles=()):
    """ClipFrames from arrays. lumas: frames from which the per-frame signals are made."""
    signals, signals_t = {}, np.zeros(0)
    if lumas is not None:
        builder = SignalBuilder()
        for luma in lumas:
            builder.push(cv2.resize(luma, (96, 54), interpolation=cv2.INTER_AREA))
        signals, signals_t = builder.finish(), np.arange(len(lumas)) / fps
    t_s, observed = np.asarray(t_s, float), np.asarray(observed, np.float32)
    end = float(max([1.0, *t_s]) if lumas is None else max([len(lumas) / fps, *t_s]))
    return ClipFrames(
        "c",
        "v",
        0.0,
        end,
        *size,
        crop,
        t_s,
        np.asarray(frames),
        tuple(roles),
        np.arange(len(observed)),
        observed,
        signals_t,
        signals,
    )


def of_file(annotator: Annotator, path: Path, first=0, last=10**9, change=lambda luma: luma):
    """One clip of a real file, frames [first, last), as the pipeline would hand it to `annotator`; `change` alters what
    it observes.
    """
    request = annotator.frames
    frames, times, observed, jpegs = [], [], [], []
    signals, signals_t = SignalBuilder(), []
    frame_due = observe_due = 0.0
    with open_video(path) as (container, stream):
        decoder = VideoDecoder(container, stream)
        start = None
        for index, frame in enumerate(decoder):
            start = frame.pts if start is None else start
            t_s = float((frame.pts - start) * decoder.info.time_base)
            if index >= last:
                break
            if index < first:
                continue
            signals.push(cv2.resize(frame.luma(), (96, 54), interpolation=cv2.INTER_AREA))
            signals_t.append(t_s)
            if request and request.fps and t_s + 1e-6 >= frame_due:
                frames.append(frame.gray(request.short_side_px) if request.gray else frame.rgb(request.short_side_px))
                times.append(t_s)
                frame_due = (int(t_s * request.fps + 1e-6) + 1) / request.fps
            if annotator.observe_fps and t_s + 1e-6 >= observe_due:
                observed.append(annotator.observe(change(np.ascontiguousarray(frame.luma()))))
                observe_due = (int(t_s * annotator.observe_fps + 1e-6) + 1) / annotator.observe_fps
            if request and request.roles:
                jpegs.append(frame)
        info = decoder.info
        if request and request.roles:
            picked = [jpegs[0], jpegs[len(jpegs) // 2], jpegs[-1]]
            frames = [decode_picture(encode_jpeg(f.rgb(request.short_side_px), 90), gray=request.gray) for f in picked]
            times = [signals_t[0], signals_t[len(signals_t) // 2], signals_t[-1]]
    return ClipFrames(
        path.name, path.name, signals_t[0], signals_t[-1], info.width, info.height, FULL, np.asarray(times),
        np.asarray(frames),
        ROLES if request and request.roles else (), np.arange(len(observed)), np.asarray(observed, np.float32),
        np.asarray(signals_t), signals.finish(),
    )  # fmt: skip
