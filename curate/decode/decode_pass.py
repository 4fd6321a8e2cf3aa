"""The one sequential decode of a video: curves, signals, samples and the facts that only decoding tells."""

import time
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.annotation.collector import Collector, Thumbs
from clipmill.curate.common.stage_clock import StageClock
from clipmill.curate.scenes.curves import CurveBuilder
from clipmill.curate.settings.scenes import ScenesConfig
from clipmill.curate.video.other_decoders import open_frames
from clipmill.curate.video.reader import DecodeLog, VideoInfo
from clipmill.curate.video.signals import SignalBuilder

_SHORT_OF_DECLARED = 0.9
_INT32_MAX = 2**31 - 1


@dataclass
class DecodePass:
    """What one decode gave. pts: int64 [N]; t_s: float64 [N] from the first frame; signals, curves: name -> float32
    [N].
    """

    info: VideoInfo
    log: DecodeLog
    pts: np.ndarray
    t_s: np.ndarray
    last_duration_pts: int
    signals: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]
    clock: StageClock

    @property
    def end_pts(self) -> int:
        """PTS at which the last frame leaves the screen."""
        return int(self.pts[-1]) + self.last_duration_pts

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's appearance to the end of the last, `end_pts`."""
        return float((self.end_pts - int(self.pts[0])) * self.info.time_base)


def decode_pass(
    path: Path, decoder: str, scenes: ScenesConfig | None, collector: Collector, thumbs: Thumbs | None
) -> DecodePass:
    """Decode `path` once from start to end and feed everything. Raises DecodeError where no frame can be decoded.

    `scenes` None: no cut curves (they are known already).
    """
    curves = CurveBuilder(scenes) if scenes is not None else None
    signals, durations = SignalBuilder(), Counter[int]()
    pts: list[int] = []
    clock, now = StageClock(), time.perf_counter
    with open_frames(path, decoder) as source:
        unit_s = float(source.info.time_base)
        began = now()
        for index, frame in enumerate(source):
            decoded = now()
            pts.append(frame.pts)
            durations[frame.duration_pts] += 1
            t_s = (frame.pts - pts[0]) * unit_s
            if curves is not None:
                luma, rgb = frame.small()
                shrunk = now()
                signals.push(luma)
                curves.push(luma, rgb)
                if thumbs is not None:
                    thumbs.push(rgb)
                clock.add("small pictures", shrunk - decoded)
            else:
                shrunk = decoded
            scored = now()
            collector.push(index, t_s, frame)
            sampled = now()
            clock.add("decode", decoded - began)
            clock.add("curves", scored - shrunk)
            clock.add("samples", sampled - scored)
            began = sampled
        info, log = source.info, source.log
    times = np.asarray(pts, np.int64)
    finished = {} if curves is None else signals.finish()
    return DecodePass(
        info=info,
        log=log,
        pts=times,
        t_s=(times - times[0]) * unit_s,
        last_duration_pts=_last_duration(times, durations, info),
        signals=finished,
        curves={} if curves is None else curves.finish(),
        clock=clock,
    )


def _last_duration(pts: np.ndarray, declared: Counter, info: VideoInfo) -> int:
    """The last frame shows as long as the median frame; a single frame as long as its container or declared rate
    says.
    """
    if len(pts) > 1:
        return max(1, int(np.median(np.diff(pts))))
    known = next((d for d in declared if d > 0), 0)
    return known or max(1, round(1 / (info.declared_fps * info.time_base)))


def video_facts(result: DecodePass) -> dict[str, Any]:
    """The columns of `videos` that decoding tells."""
    info, log, pts = result.info, result.log, result.pts
    steps = np.diff(pts)
    duration = (result.end_pts - int(pts[0])) * info.time_base
    fps = bounded(Fraction(len(pts)) / duration)
    keys = sorted(set(log.keyframe_pts))
    gaps = np.diff([*keys, result.end_pts]) if keys else np.asarray([result.end_pts - pts[0]])
    return {
        "container": info.container,
        "video_codec": info.video_codec,
        "pix_fmt": info.pix_fmt,
        "width": info.width,
        "height": info.height,
        "sar_num": bounded(info.sar).numerator,
        "sar_den": bounded(info.sar).denominator,
        "rotation_deg": info.rotation_deg,
        "duration_s": float(duration),
        "start_pts": int(pts[0]),
        "time_base_num": info.time_base.numerator,
        "time_base_den": info.time_base.denominator,
        "avg_fps_num": fps.numerator,
        "avg_fps_den": fps.denominator,
        "is_vfr": bool(len(steps) > 1 and steps.max() > 1.5 * np.median(steps)),
        "interlaced": log.n_interlaced * 2 > len(pts),
        "keyframe_pts": keys,
        "gop_max_s": float(max(gaps) * info.time_base),
        "n_frames_decoded": len(pts),
        "n_decode_errors": log.n_decode_errors,
        "has_audio": info.has_audio,
        **_status(result),
    }


def _status(result: DecodePass) -> dict[str, Any]:
    log, declared_s = result.log, result.info.declared_duration_s
    message = None
    if log.error_message:
        message = f"decoding ended after {result.duration_s:.2f} s: {log.error_message}"
    elif declared_s and _truncated(result, declared_s):
        message = f"the file ends after {result.duration_s:.2f} s of {declared_s:.2f} s declared (truncated?)"
    elif log.n_decode_errors:
        message = f"{log.n_decode_errors} packets could not be decoded"
    if message is None:
        return {"status": "ok", "error_stage": None, "error_message": None}
    return {"status": "partial", "error_stage": "decode", "error_message": message}


def _truncated(result: DecodePass, declared_s: float) -> bool:
    """The index points behind the end of the file; or, without audio that could outlast it, the picture ends 10 % and
    two frames early.
    """
    if result.info.n_packets_beyond_end:
        return True
    frame_s = float(result.last_duration_pts * result.info.time_base)
    return not result.info.has_audio and result.duration_s < min(
        _SHORT_OF_DECLARED * declared_s, declared_s - 2 * frame_s
    )


def bounded(value: Fraction) -> Fraction:
    """The nearest fraction whose parts fit 32 bits."""
    if value > _INT32_MAX:
        return Fraction(_INT32_MAX)
    limit = _INT32_MAX if value <= 1 else max(1, int(_INT32_MAX / value))
    return value.limit_denominator(min(limit, 1_000_000))
