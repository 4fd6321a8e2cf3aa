"""The one sequential decode of a video: curves, signals, samples and the facts that only decoding tells."""

import time
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.annotation.collector import Collector, Thumbs
from clipmill.curate.common.stage_clock import StageClock
from clipmill.curate.scenes.curves import CurveBuilder
from clipmill.curate.settings.scenes import ScenesConfig
from clipmill.curate.video.damage import after_corrupt
from clipmill.curate.video.other_decoders import open_frames
from clipmill.curate.video.reader import DecodeLog, VideoInfo
from clipmill.curate.video.signals import SignalBuilder

_SHORT_OF_DECLARED = 0.9
# Containers that store how long a frame is shown; in others it is a guess by the codec's rate.
_STORES_DURATIONS = frozenset({"mov", "mp4", "matroska", "webm", "gif", "apng", "webp", "avif", "jpegxl_anim", "nut"})
_LONGER = 2.5  # less is rounding, or one frame lost
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

    @cached_property
    def corrupt(self) -> np.ndarray | None:
        """int8 [N]: 1 where the frame is marked as corrupt, 2 where it may show what is left of such a frame or of a
        packet that could not be decoded (up to the next key frame), 0 elsewhere; None where nobody looked.
        """
        if self.log.corrupt is None:
            return None
        lost = np.searchsorted(self.pts, self.log.lost_pts)
        log, lost = self.log, lost[lost < len(self.pts)].tolist()
        touched = after_corrupt(len(self.pts), self.log.corrupt, log.keys, log.bidirectional, lost)
        found = np.where(touched, 2, 0).astype(np.int8)
        found[self.log.corrupt] = 1
        return found

    @property
    def tells(self) -> bool:
        """Whether no mark means that the frames are whole."""
        return self.log.corrupt is not None and (self.log.tells or bool(self.log.corrupt))

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
    last_duration = 0
    clock, now = StageClock(), time.perf_counter
    with open_frames(path, decoder) as source:
        unit_s = float(source.info.time_base)
        began = now()
        for index, frame in enumerate(source):
            decoded = now()
            pts.append(frame.pts)
            last_duration = frame.duration_pts
            durations[last_duration] += 1
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
        last_duration_pts=_last_duration(times, durations, last_duration, info),
        signals=finished,
        curves={} if curves is None else curves.finish(),
        clock=clock,
    )


def _last_duration(pts: np.ndarray, declared: Counter, last: int, info: VideoInfo) -> int:
    """The last frame shows as long as the median frame, or longer where the container stores so; a single frame as long
    as its container or declared rate says.
    """
    if len(pts) > 1:
        usual = max(1, int(np.median(np.diff(pts))))
        return last if _stores_durations(info) and last > _LONGER * usual else usual
    known = next((d for d in declared if d > 0), 0)
    return known or max(1, round(1 / (info.declared_fps * info.time_base)))


def _stores_durations(info: VideoInfo) -> bool:
    return bool(_STORES_DURATIONS & set(info.container.split(",")))


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
        "mirrored": info.mirrored,
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
        "n_corrupt_frames": len(log.corrupt) if result.tells and log.corrupt is not None else None,
        "n_discontinuities": log.n_jumps,
        "has_audio": info.has_audio,
        **_status(result),
    }


def _status(result: DecodePass) -> dict[str, Any]:
    message = _problem(result)
    if message is None:
        return {"status": "ok", "error_stage": None, "error_message": None}
    return {"status": "partial", "error_stage": "decode", "error_message": message}


def _problem(result: DecodePass) -> str | None:
    """What keeps the video from being whole, in one line."""
    log = result.log
    if log.error_message:
        return f"decoding ended after {result.duration_s:.2f} s: {log.error_message}"
    short = _short_of_declared(result)
    if short or (log.n_decode_errors and _all_before_first(result)):
        missing_s = _before_first_s(result)
        if missing_s > 0:
            return f"starts without a key frame: its first {missing_s:.2f} s cannot be decoded"
    if short:
        return short
    if log.n_decode_errors:
        return f"{log.n_decode_errors} packets could not be decoded"
    if log.has_second_recording:
        return (
            f"a second recording joined behind {result.duration_s:.2f} s is not read: join FLV with `ffmpeg -f concat`"
        )
    return f"{len(log.corrupt)} frames are corrupt" if log.corrupt else None


def _before_first_s(result: DecodePass) -> float:
    """Seconds of pictures before the first one that could be decoded, 0 where the stream starts with a key frame."""
    log = result.log
    if log.starts_with_key or log.first_pts is None:
        return 0.0
    return max(0.0, float((int(result.pts[0]) - log.first_pts) * result.info.time_base))


def _all_before_first(result: DecodePass) -> bool:
    log = result.log
    return len(log.lost_pts) == log.n_decode_errors and max(log.lost_pts) < result.pts[0]


def _short_of_declared(result: DecodePass) -> str | None:
    """The index points behind the end of the file; or the picture ends 10 % and two frames before its own end, by what
    the container says of this stream. With sound beside it, the word of a container without lengths of streams is
    not taken: it may mean the sound.
    """
    info, tb = result.info, result.info.time_base
    end_s, found = info.declared_end_s, result.duration_s
    from_pts = int(result.pts[0]) if result.log.first_pts is None else min(result.log.first_pts, int(result.pts[0]))
    declared = found if end_s is None or result.log.n_jumps else end_s - float(from_pts * tb)
    short_s = max(float(2 * result.last_duration_pts * tb), (1 - _SHORT_OF_DECLARED) * declared)
    its_own = not info.has_audio or _stores_durations(info)
    if info.n_packets_beyond_end or (its_own and found < declared - short_s):
        return f"the file ends after {found:.2f} s of {declared:.2f} s declared (truncated?)"
    return None


def bounded(value: Fraction) -> Fraction:
    """The nearest fraction whose parts fit 32 bits."""
    if value > _INT32_MAX:
        return Fraction(_INT32_MAX)
    limit = _INT32_MAX if value <= 1 else max(1, int(_INT32_MAX / value))
    return value.limit_denominator(min(limit, 1_000_000))
