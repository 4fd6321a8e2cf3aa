"""What is measured of the clips of a set, for each kind of metric, and everything that decides it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from clipmill.curate.common.files import fingerprint
from clipmill.curate.errors import DecodeError, UserError
from clipmill.evaluate.extraction.clips import Clip, read_clip
from clipmill.evaluate.extraction.measure import Measurement
from clipmill.evaluate.features import FeatureNetwork
from clipmill.evaluate.frames.per_frame import per_frame
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.evaluate.metrics import Metric, PairMetric, TextMetric, VideoMetric
from clipmill.evaluate.sets import Video, VideoSet

# Bump where the way from file to picture changes, so that stored features are made again.
PICTURE_VERSION = 1
_CLIP_FIELDS = ("clip_frames", "stride", "fps", "clip_choice", "seed")


def decoder_version() -> str:
    """PyAV and the libraries under it: another version may decode other pixels."""
    import av

    libraries = (f"{n} {'.'.join(map(str, av.library_versions[n]))}" for n in ("libavcodec", "libswscale"))
    return f"PyAV {av.__version__} ({', '.join(libraries)})"


def feature_facts(name: str, network: FeatureNetwork, protocol: Protocol) -> dict[str, Any]:
    """Everything that decides the features of one clip."""
    seen = protocol.feature_fields() | {"clip_choice": protocol.clip_choice, "seed": protocol.seed}
    return seen | {
        "features": name,
        "network": network.identity,
        "picture": PICTURE_VERSION,
        "decoder": decoder_version(),
    }


def of_features(name: str, network: FeatureNetwork, protocol: Protocol) -> Measurement:
    """Features by a network. Raises UserError where the protocol's clips are too short for it."""
    import torch

    from clipmill.evaluate.frames.resize import preprocess

    if protocol.clip_frames < network.min_frames:
        raise UserError(
            f"{name} needs clips of at least {network.min_frames} frames, the protocol takes {protocol.clip_frames}"
        )

    def load(pixels: np.ndarray, fps: float, video: Video) -> np.ndarray:
        return preprocess(pixels, protocol, network.side_px).numpy()

    def combine(items: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            return list(network(torch.from_numpy(np.stack(items))).cpu().numpy())

    return Measurement(load, combine, fingerprint(feature_facts(name, network, protocol)))


def of_videos(name: str, metric: VideoMetric, protocol: Protocol, device: str) -> Measurement:
    """One number of each video: [value]."""
    measured = metric.on(device)

    def value(pixels: np.ndarray, fps: float, video: Video) -> np.ndarray:
        found = measured(pixels, fps)
        return _vector(found, metric.why_nothing(pixels, fps) if np.isnan(found) else "")

    return Measurement(value, list, fingerprint(value_facts(name, metric, protocol)), infinite=True)


def of_texts(name: str, metric: TextMetric, protocol: Protocol, device: str) -> Measurement:
    """One number of each video and its caption: [value]."""
    measured = metric.on(device)

    def value(pixels: np.ndarray, fps: float, video: Video) -> np.ndarray:
        if not video.caption:
            raise DecodeError("no caption")
        return _vector(measured(pixels, video.caption), "the metric gives no number for it")

    facts = value_facts(name, metric, protocol) | {"key": "content and caption"}
    return Measurement(value, list, fingerprint(facts), infinite=True)


class Originals:
    """The originals of reconstructions, by the name of the reconstruction. What several metrics ask of a pair, one
    after another in one thread, is decoded once.
    """

    def __init__(self, videos: Mapping[str, Video], protocol: Protocol) -> None:
        self._videos, self.protocol, self._last = videos, protocol, threading.local()

    def read(self, name: str) -> np.ndarray:
        """uint8 [T, H, W, 3]. Raises DecodeError."""
        if getattr(self._last, "name", None) != name:
            self._last.pixels, _ = read_clip(Clip(self._videos[name], 0), self.protocol)
            self._last.name = name
        pixels: np.ndarray = self._last.pixels
        return pixels


def of_pairs(name: str, metric: PairMetric, originals: Originals, fake: Protocol) -> Measurement:
    """One number of each reconstruction beside its original, and how many frames are equal: [value, frames]."""

    def value(pixels: np.ndarray, fps: float, video: Video) -> np.ndarray:
        original = originals.read(video.video_id)
        if original.shape != pixels.shape:
            raise DecodeError(f"{_shape(pixels)} here, {_shape(original)} in the real set")
        equal = sum(bool(np.array_equal(a, b)) for a, b in zip(original, pixels, strict=True))
        return np.append(_vector(metric(original, pixels), "the metric gives no number for it"), np.float32(equal))

    facts = value_facts(name, metric, fake) | {"key": "content and original"}
    facts |= {} if originals.protocol == fake else {"real": value_facts(name, metric, originals.protocol)}
    return Measurement(value, list, fingerprint(facts), infinite=True)


def of_frames(originals: Originals, fake: Protocol) -> Measurement:
    """Each frame of a reconstruction beside that of its original, see `clipmill.evaluate.frames.per_frame`:
    [3 T].
    """

    def value(pixels: np.ndarray, fps: float, video: Video) -> np.ndarray:
        original = originals.read(video.video_id)
        if original.shape != pixels.shape:
            raise DecodeError(f"{_shape(pixels)} here, {_shape(original)} in the real set")
        return per_frame(original, pixels).ravel().astype(np.float32)

    facts = {k: v for k, v in asdict(fake).items() if k in _CLIP_FIELDS} | fake.declared
    facts |= {"measure": "per frame 1", "picture": PICTURE_VERSION, "decoder": decoder_version(), "key": "original"}
    facts |= {} if originals.protocol == fake else {"real": asdict(originals.protocol)}
    return Measurement(value, list, fingerprint(facts))


def value_facts(name: str, metric: Metric, protocol: Protocol) -> dict[str, Any]:
    """Everything that decides a metric's value of one clip."""
    seen = {k: v for k, v in asdict(protocol).items() if k in _CLIP_FIELDS} | protocol.declared
    facts = seen | {
        "metric": name,
        "parameters": asdict(metric),
        "picture": PICTURE_VERSION,
        "decoder": decoder_version(),
    }
    return facts | definition(metric)


def definition(metric: Metric) -> dict[str, Any]:
    """The definition's number, as a fact of its own; empty for the first, so that older facts stay what they were."""
    return {} if metric.definition == 1 else {"definition": metric.definition}


def pair_protocol(protocol: Protocol) -> Protocol:
    """Both sides show the same frames: a random place would depend on the content, which differs."""
    return replace(protocol, clip_choice="first", clips_per_video=1, n_fake=0, choose="first")


def captioned(videos: VideoSet) -> VideoSet:
    """The set with its captions in the keys of what is measured."""
    return replace(videos, videos=[replace(v, beside=fingerprint({"caption": v.caption})) for v in videos.videos])


def _vector(value: float, reason: str) -> np.ndarray:
    """float32 [1]. Raises DecodeError with the reason where there is no number."""
    if np.isnan(value):
        raise DecodeError(reason)
    return np.array([value], np.float32)


def _shape(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]} frames of {pixels.shape[2]}x{pixels.shape[1]} px"
