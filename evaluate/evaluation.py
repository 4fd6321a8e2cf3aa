"""One evaluation: two sets, one protocol, any metrics; what is decoded and computed once serves all of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.common.device import check_device, own_device
from clipmill.curate.common.files import fingerprint
from clipmill.curate.common.log import progress
from clipmill.curate.common.settings import build
from clipmill.curate.errors import DecodeError, UserError
from clipmill.evaluate.extraction import reference_stats
from clipmill.evaluate.extraction.measure import Clip, Measured, Measurement, Settings, candidates, measure, read_clip
from clipmill.evaluate.features import FeatureNetwork, network_class
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.evaluate.metrics import FeatureMetric, Metric, PairMetric, Score, TextMetric, VideoMetric, metric_class
from clipmill.evaluate.score_rows import ScoreRow
from clipmill.evaluate.sets import Video, VideoSet, open_set
from clipmill.evaluate.sets.manifests import is_samples, takes_condition

Spec = str | Path | np.ndarray
# Bump where the way from file to picture changes, so that stored features are made again.
PICTURE_VERSION = 1
_NOT_OF_CLIPS = ("name", "version", "summary", "source")


@dataclass
class Evaluation:
    """real, fake: see `clipmill.evaluate.sets.open_set`, or a file that `evaluate stats` wrote. weights: of the feature
    network. where: SQL condition for those of the two sets that have columns to name
    (`clipmill.evaluate.sets.manifests.takes_condition`): both where both are runs, never samples. parameters: metric
    name -> its fields. seed: of error bars.
    """

    real: Spec | None
    fake: Spec
    protocol: Protocol
    settings: Settings
    weights: Path | None = None
    where: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _sets: dict[str, VideoSet] = field(default_factory=dict)
    _networks: dict[str, FeatureNetwork] = field(default_factory=dict)
    _measured: dict[tuple[str, str], Measured] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises UserError, before any work, for a device that is not here, and for a condition that neither set can be
        filtered by.
        """
        check_device(self.settings.device)
        specs = [s for s in (self.real, self.fake) if s is not None]
        if self.where is not None and not any(map(takes_condition, specs)):
            kinds = dict.fromkeys(f"{_name(s)} {'holds samples' if is_samples(s) else 'has none'}" for s in specs)
            raise UserError(f"--where names columns of a curate run or of a manifest.parquet, and {', '.join(kinds)}")

    def score(self, name: str) -> ScoreRow:
        """The metric called `name`. Raises UserError where it cannot be computed."""
        kind = metric_class(name)
        metric = build(kind, self._fixed_by_protocol(kind) | dict(self.parameters.get(name, {})), name)
        if isinstance(metric, FeatureMetric):
            return self._by_features(name, metric)
        if isinstance(metric, VideoMetric):
            return self._by_video(name, metric)
        if isinstance(metric, PairMetric):
            return self._by_pair(name, metric)
        assert isinstance(metric, TextMetric)
        return self._by_text(name, metric)

    def _fixed_by_protocol(self, kind: type[Metric]) -> dict[str, Any]:
        """Fields of a metric that the protocol decides, where the metric is on the protocol's own features."""
        if not issubclass(kind, FeatureMetric) or kind.features is not None:
            return {}
        return {f.name: getattr(self.protocol, f.name) for f in fields(kind) if f.name in ("ddof", "dtype")}

    def features(self, role: str, network_name: str | None = None) -> Measured:
        """Features of the real or fake set by a network (the protocol's), float32 [N, D] or [N, T, D]."""
        name = network_name or self.protocol.features
        spec = self.real if role == "real" else self.fake
        if reference_stats.is_stats(spec):
            measured, stored = reference_stats.load(Path(str(spec)))
            reference_stats.check_same(Path(str(spec)), stored, self.feature_facts(name))
            return measured
        return self._measure(role, self._network_measurement(name), f"{name} features, {role}")

    def pixels(self, clips: int) -> list[np.ndarray]:
        """The first `clips` clips that the protocol takes of the fake set, uint8 [T, H, W, 3] each; those that fail are
        passed over.
        """
        found = []
        for clip in candidates(self._set("fake").videos, self.protocol):
            with suppress(DecodeError):
                found.append(read_clip(clip, self.protocol)[0])
            if len(found) == clips:
                break
        if not found:
            raise UserError(f"no clip of {_name(self.fake)} could be used")
        return found

    def network(self, name: str) -> FeatureNetwork:
        """A network, loaded once."""
        if name not in self._networks:
            weights, kind = self.weights if name == self.protocol.features else None, network_class(name)
            kind.check(weights)
            options = self.protocol.network_options if name == self.protocol.features else {}
            self._networks[name] = kind(device=own_device(self.settings.device), weights=weights, **options)
        return self._networks[name]

    def feature_facts(self, network_name: str) -> dict[str, Any]:
        """Everything that decides the features of one clip."""
        network = self.network(network_name)
        seen = self.protocol.feature_fields() | {"clip_choice": self.protocol.clip_choice, "seed": self.protocol.seed}
        return seen | {
            "features": network_name,
            "network": network.identity,
            "picture": PICTURE_VERSION,
            "decoder": decoder_version(),
        }

    def _network_measurement(self, name: str) -> Measurement:
        import torch

        from clipmill.evaluate.frames.resize import preprocess

        network, protocol = self.network(name), self.protocol
        if protocol.clip_frames < network.min_frames:
            raise UserError(
                f"{name} needs clips of at least {network.min_frames} frames, the protocol takes {protocol.clip_frames}"
            )

        def load(pixels: np.ndarray, fps: float, video: Video) -> np.ndarray:
            return preprocess(pixels, protocol, network.side_px).numpy()

        def combine(items: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            with torch.inference_mode():
                return list(network(torch.from_numpy(np.stack(items))).cpu().numpy())

        return Measurement(load, combine, fingerprint(self.feature_facts(name)))

    def _set(self, role: str) -> VideoSet:
        if role not in self._sets:
            spec = self.real if role == "real" else self.fake
            if spec is None:
                raise UserError("this metric compares two sets: name the real one too")
            index = (
                self.settings.cache / "index" / f"{fingerprint({'of': _name(spec)})}.parquet"
                if self.settings.cache
                else None
            )
            self._sets[role] = open_set(spec, self.where if takes_condition(spec) else None, index)
        return self._sets[role]

    def _measure(self, role: str, what: Measurement, title: str, protocol: Protocol | None = None) -> Measured:
        key = (role, what.fingerprint)
        if key not in self._measured:
            protocol, videos = protocol or self.protocol, self._set(role)
            asked = protocol.n_real if role == "real" else protocol.n_fake
            total = min(asked or len(videos.videos), len(videos.videos) * protocol.clips_per_video)
            with progress(title, total, "clips", self.settings.tell) as bar:
                measured = measure(videos, asked, protocol, what, self.settings, lambda _: bar.advance())
            if not measured.clip_ids:
                raise UserError(f"no clip of {videos.name} could be used; {_first_reasons(measured)}")
            self._measured[key] = measured
        return self._measured[key]

    def _by_features(self, name: str, metric: FeatureMetric) -> ScoreRow:
        network_name = metric.features or self.protocol.features
        real, fake = self.features("real", network_name), self.features("fake", network_name)
        arrays = [m.values.reshape(-1, m.values.shape[-1]) for m in (real, fake)]
        score = metric(arrays[0], arrays[1], seed=self.protocol.seed)
        facts = {"network": self.network(network_name).identity}
        return self._row(name, metric, score, real, fake, facts, self.network(network_name))

    def _by_video(self, name: str, metric: VideoMetric) -> ScoreRow:
        measured = metric.on(self.settings.device)
        what = self._value_measurement(name, metric, lambda pixels, fps, video: measured(pixels, fps))
        fake = self._measure("fake", what, f"{name}, fake")
        real = (
            self._measure("real", what, f"{name}, real")
            if self.real is not None and not reference_stats.is_stats(self.real)
            else None
        )
        score = _mean_score(fake)
        if real is not None:
            score = replace(score, details={"real": _mean_score(real).value})
        return self._row(name, metric, score, real, fake, {})

    def _by_pair(self, name: str, metric: PairMetric) -> ScoreRow:
        # Both sides show the same frames: a random place would depend on the content, which differs.
        protocol = replace(self.protocol, clip_choice="first", n_fake=0, choose="first")
        originals = {v.video_id: v for v in self._set("real").videos}

        def value(pixels: np.ndarray, fps: float, video: Video) -> float:
            if video.video_id not in originals:
                raise DecodeError("no video of this name in the real set")
            real, _ = read_clip(Clip(originals[video.video_id], 0), protocol)
            if real.shape != pixels.shape:
                raise DecodeError(f"{_shape(pixels)} here, {_shape(real)} in the real set")
            return metric(real, pixels)

        what = self._value_measurement(name, metric, value)
        real_ids = fingerprint({"keys": sorted(v.key for v in originals.values())})
        fake = self._measure(
            "fake", replace(what, fingerprint=f"{what.fingerprint}-{real_ids}"), f"{name}, pairs", protocol
        )
        return self._row(name, metric, _mean_score(fake), None, fake, {"pairs_with": real_ids})

    def _by_text(self, name: str, metric: TextMetric) -> ScoreRow:
        measured = metric.on(self.settings.device)

        def value(pixels: np.ndarray, fps: float, video: Video) -> float:
            if not video.caption:
                raise DecodeError("no caption")
            return measured(pixels, video.caption)

        what = self._value_measurement(name, metric, value)
        captions = fingerprint({"captions": [(v.key, v.caption) for v in self._set("fake").videos]})
        fake = self._measure("fake", replace(what, fingerprint=f"{what.fingerprint}-{captions}"), f"{name}, fake")
        return self._row(name, metric, _mean_score(fake), None, fake, {})

    def _value_measurement(
        self, name: str, metric: Metric, value: Callable[[np.ndarray, float, Video], float]
    ) -> Measurement:
        seen = {
            k: v
            for k, v in asdict(self.protocol).items()
            if k in ("clip_frames", "stride", "fps", "clip_choice", "seed")
        }
        facts = seen | {
            "metric": name,
            "parameters": asdict(metric),
            "picture": PICTURE_VERSION,
            "decoder": decoder_version(),
        }
        return Measurement(lambda *clip: np.array([value(*clip)], np.float32), list, fingerprint(facts))

    def _row(
        self,
        name: str,
        metric: Metric,
        score: Score,
        real: Measured | None,
        fake: Measured,
        facts: dict[str, Any],
        network: FeatureNetwork | None = None,
    ) -> ScoreRow:
        protocol = {k: v for k, v in asdict(self.protocol).items() if k not in _NOT_OF_CLIPS}
        n_real = 0 if real is None else len(real.clip_ids)
        facts = facts | {
            "metric": name,
            "parameters": asdict(metric),
            "protocol": protocol,
            "decoder": decoder_version(),
        }
        facts |= {
            "picture": PICTURE_VERSION,
            "n_real": n_real,
            "n_fake": len(fake.clip_ids),
            "real_ids": real.ids_hash if real else None,
        }
        skipped = tuple(
            f"{role} {s.video_id}: {s.reason}" for role, m in (("real", real), ("fake", fake)) if m for s in m.skipped
        )
        warnings = set_warnings("real", real, self.protocol.n_real) + set_warnings("fake", fake, self.protocol.n_fake)
        return ScoreRow(
            metric=name,
            title=titled(metric, network),
            value=score.value,
            standard_error=score.standard_error,
            unit=metric.unit,
            real=_name(self.real),
            fake=_name(self.fake),
            n_real=n_real,
            n_fake=len(fake.clip_ids),
            protocol=f"{self.protocol.name} v{self.protocol.version}",
            facts=facts,
            real_ids=real.ids_hash if real else "",
            fake_ids=fake.ids_hash,
            details=score.details,
            warnings=(*score.warnings, *warnings),
            skipped=skipped,
            real_from=self._origin("real"),
            fake_from=self._origin("fake"),
        )

    def _origin(self, role: str) -> Mapping[str, Any]:
        """Empty for a set that was not opened: none was given, or its features came from a file."""
        return self._sets[role].origin if role in self._sets else {}


def titled(metric: Metric, network: FeatureNetwork | None) -> str:
    """How a person calls the number."""
    if network is None:
        return metric.title
    return metric.title.format(
        features=network.label, frechet_name=network.frechet_name, kernel_name=network.kernel_name
    )


def decoder_version() -> str:
    """PyAV and the libraries under it: another version may decode other pixels."""
    import av

    libraries = (f"{n} {'.'.join(map(str, av.library_versions[n]))}" for n in ("libavcodec", "libswscale"))
    return f"PyAV {av.__version__} ({', '.join(libraries)})"


def _mean_score(measured: Measured) -> Score:
    values = measured.values[:, 0].astype(np.float64)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Score(float(values.mean()), error)


def set_warnings(role: str, measured: Measured | None, asked: int) -> list[str]:
    """What a reader of a number should know of a set, one line each."""
    if measured is None:
        return []
    found, n = [], len(measured.clip_ids)
    copies = n - len(set(measured.keys))
    if copies:
        found.append(f"{copies} of {n} {role} clips are copies of others")
    if len(measured.sizes_px) > 1:
        common = Counter(measured.sizes_px).most_common(3)
        found.append(f"{role} clips differ in size: " + ", ".join(f"{w}x{h} px ({count})" for (h, w), count in common))
    if measured.skipped:
        found.append(f"{len(measured.skipped)} {role} clips were skipped; {_first_reasons(measured)}")
    if asked and n < asked:
        found.append(f"{n} {role} clips, the protocol asks for {asked}")
    return found


def _first_reasons(measured: Measured) -> str:
    return "; ".join(f"{s.video_id}: {s.reason}" for s in measured.skipped[:3]) + (
        "; ..." if len(measured.skipped) > 3 else ""
    )


def _shape(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]} frames of {pixels.shape[2]}x{pixels.shape[1]} px"


def _name(spec: Spec | None) -> str:
    return "" if spec is None else f"array {list(spec.shape)}" if isinstance(spec, np.ndarray) else str(spec)
