"""One evaluation: two sets, one protocol, any metrics; what is decoded and computed once serves all of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.common.device import check_device, own_device
from clipmill.curate.common.files import fingerprint
from clipmill.curate.common.log import progress
from clipmill.curate.common.settings import build
from clipmill.curate.errors import DecodeError, UserError
from clipmill.evaluate import measurements, set_warnings
from clipmill.evaluate.distances.grouped import group_codes
from clipmill.evaluate.extraction import reference_stats
from clipmill.evaluate.extraction.measure import (
    Measured,
    Measurement,
    Settings,
    candidates,
    measure_together,
    read_clip,
)
from clipmill.evaluate.features import FeatureNetwork, network_class
from clipmill.evaluate.frames.protocol import Protocol, changed
from clipmill.evaluate.mean_score import mean_score
from clipmill.evaluate.metrics import (
    FeatureMetric,
    Groups,
    Metric,
    PairMetric,
    Score,
    TextMetric,
    VideoMetric,
    metric_class,
)
from clipmill.evaluate.pairs import Pairs, paired
from clipmill.evaluate.score_rows import ScoreRow
from clipmill.evaluate.sets import VideoSet, open_set
from clipmill.evaluate.sets.manifests import is_samples, takes_condition
from clipmill.evaluate.sets.specs import Spec, named, plain

_NOT_OF_CLIPS = ("name", "version", "summary", "source", "stored_fps")
# Which set is measured, how it is read.
_Source = tuple[str, Protocol]


class IncompleteScores(UserError):
    """Some metrics could not be computed. rows: of those that could. problems: metric -> the reason."""

    def __init__(self, rows: "Sequence[ScoreRow]", problems: Mapping[str, str]) -> None:
        self.rows, self.problems = list(rows), dict(problems)
        reasons = list(dict.fromkeys(problems.values()))
        listed = reasons[0] if len(reasons) == 1 else "; ".join(f"{name}: {text}" for name, text in problems.items())
        if rows:
            listed = f"{', '.join(problems)}: {listed}" if len(reasons) == 1 else listed
            listed = f"{len(problems)} of {len(problems) + len(rows)} metrics could not be computed: {listed}"
        super().__init__(listed)


@dataclass
class Evaluation:
    """real, fake: see `clipmill.evaluate.sets.open_set`, or a file that `evaluate stats` wrote. weights: of the feature
    network. where: SQL condition for those of the two sets that have columns to name
    (`clipmill.evaluate.sets.manifests.takes_condition`): both where both are runs, never samples. parameters: metric
    name -> its fields. real_changes, fake_changes: fields of the protocol that differ for one set
    (`clipmill.evaluate.frames.protocol.OF_ONE_SET`).
    """

    real: Spec | None
    fake: Spec
    protocol: Protocol
    settings: Settings
    weights: Path | None = None
    where: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    real_changes: Mapping[str, Any] = field(default_factory=dict)
    fake_changes: Mapping[str, Any] = field(default_factory=dict)
    _sets: dict[str, VideoSet] = field(default_factory=dict)
    _networks: dict[str, FeatureNetwork] = field(default_factory=dict)
    _measured: dict[tuple[str, str], Measured | UserError] = field(default_factory=dict)
    _pairs: Pairs | None = None

    def __post_init__(self) -> None:
        """Raises UserError, before any work, for a device that is not here, for a condition that neither set can be
        filtered by, and for what no single set can have.
        """
        check_device(self.settings.device)
        self.real, self.fake = None if self.real is None else plain(self.real), plain(self.fake)
        self._protocols = {
            "real": changed(self.protocol, self.real_changes, "--real-set"),
            "fake": changed(self.protocol, self.fake_changes, "--fake-set"),
        }
        specs = [s for s in (self.real, self.fake) if s is not None]
        if self.where is not None and not any(map(takes_condition, specs)):
            kinds = dict.fromkeys(f"{named(s)} {'holds samples' if is_samples(s) else 'has none'}" for s in specs)
            raise UserError(f"--where names columns of a curate run or of a manifest.parquet, and {', '.join(kinds)}")

    def score(self, name: str) -> ScoreRow:
        """The metric called `name`. Raises UserError where it cannot be computed."""
        return self.scores([name])[0]

    def scores(self, names: Sequence[str]) -> list[ScoreRow]:
        """The metrics of these names; every clip is decoded once for all of them (a reconstruction beside its original
        once more, because those begin at the first frame). Raises UserError for what concerns all of them, and
        IncompleteScores, with the rows of the others, where some cannot be computed.
        """
        metrics = {name: self._metric(name) for name in names}
        of_one = all(isinstance(metric, TextMetric) for metric in metrics.values())
        for role, spec in (("fake", self.fake), ("real", None if of_one else self.real)):
            if self._opened(spec):
                self._set(role)
        problems: dict[str, str] = {}
        jobs: dict[str, list[tuple[_Source, Measurement]]] = {}
        for name, metric in metrics.items():
            with _noting(problems, name):
                jobs[name] = self._jobs(name, metric)
        self._measure_all([job for several in jobs.values() for job in several])
        rows = []
        for name, several in jobs.items():
            with _noting(problems, name):
                rows.append(self._scored(name, metrics[name], [self._found(*job) for job in several]))
        if problems:
            raise IncompleteScores(rows, problems)
        return rows

    def features(self, role: str, network_name: str | None = None) -> Measured:
        """Features of the real or fake set by a network (the protocol's), float32 [N, D] or [N, T, D]."""
        name = network_name or self.protocol.features
        spec = self.real if role == "real" else self.fake
        if reference_stats.is_stats(spec):
            path = Path(str(spec))
            measured, stored = reference_stats.load(path)
            reference_stats.check_same(path, stored, self.feature_facts(name, role))
            asked = self.protocol.n_real if role == "real" else self.protocol.n_fake
            return reference_stats.taken(measured, self._protocols[role], asked)
        job = (role, self._protocols[role]), measurements.of_features(name, self.network(name), self._protocols[role])
        self._measure_all([job])
        return self._found(*job)

    def pixels(self, clips: int) -> list[np.ndarray]:
        """The first `clips` clips that the protocol takes of the fake set, uint8 [T, H, W, 3] each; those that fail are
        passed over.
        """
        found, protocol = [], self._protocols["fake"]
        for clip in candidates(self._set("fake").videos, protocol):
            with suppress(DecodeError):
                found.append(read_clip(clip, protocol)[0])
            if len(found) == clips:
                break
        if not found:
            raise UserError(f"no clip of {named(self.fake)} could be used")
        return found

    def network(self, name: str) -> FeatureNetwork:
        """A network, loaded once."""
        if name not in self._networks:
            weights, kind = self.weights if name == self.protocol.features else None, network_class(name)
            kind.check(weights)
            options = self.protocol.network_options if name == self.protocol.features else {}
            self._networks[name] = kind(device=own_device(self.settings.device), weights=weights, **options)
        return self._networks[name]

    def feature_facts(self, network_name: str, role: str = "real") -> dict[str, Any]:
        """Everything that decides the features of one clip of a set."""
        return measurements.feature_facts(network_name, self.network(network_name), self._protocols[role])

    def _metric(self, name: str) -> Metric:
        kind = metric_class(name)
        return build(kind, self._fixed_by_protocol(kind) | dict(self.parameters.get(name, {})), name)

    def _fixed_by_protocol(self, kind: type[Metric]) -> dict[str, Any]:
        """Fields of a metric that the protocol decides, where the metric is on the protocol's own features."""
        if not issubclass(kind, FeatureMetric) or kind.features is not None:
            return {}
        return {f.name: getattr(self.protocol, f.name) for f in fields(kind) if f.name in ("ddof", "dtype")}

    def _opened(self, spec: Spec | None) -> bool:
        return spec is not None and not reference_stats.is_stats(spec)

    def _set(self, role: str) -> VideoSet:
        if role == "pairs":
            return self._paired().fake
        if role == "captions":
            return measurements.captioned(self._set("fake"))
        if role not in self._sets:
            spec = self.real if role == "real" else self.fake
            if spec is None:
                raise UserError("this metric compares two sets: name the real one too")
            index = (
                self.settings.cache / "index" / f"{fingerprint({'of': named(spec)})}.parquet"
                if self.settings.cache
                else None
            )
            self._sets[role] = open_set(spec, self.where if takes_condition(spec) else None, index)
        return self._sets[role]

    def _paired(self) -> Pairs:
        if self._pairs is None:
            self._pairs = paired(self._set("real"), self._set("fake"))
        return self._pairs

    def _jobs(self, name: str, metric: Metric) -> list[tuple[_Source, Measurement]]:
        """What a metric needs to have measured, of which set: the fake one first."""
        fake, real = ("fake", self._protocols["fake"]), ("real", self._protocols["real"])
        device = self.settings.device
        specs = (fake, self.fake), (real, self.real)
        roles = [source for source, spec in specs if self._opened(spec)]
        if isinstance(metric, FeatureMetric):
            network = metric.features or self.protocol.features
            if self.real is None:
                raise UserError("this metric compares two sets: name the real one too")
            for (role, _), spec in specs:
                if not self._opened(spec):
                    self.features(role, network)  # the statistics are refused before the other set is measured
            return [(role, measurements.of_features(network, self.network(network), role[1])) for role in roles]
        if isinstance(metric, VideoMetric):
            return [(role, measurements.of_videos(name, metric, role[1], device)) for role in roles]
        if isinstance(metric, PairMetric):
            protocols = [measurements.pair_protocol(p) for _, p in (real, fake)]
            pairs = measurements.of_pairs(name, metric, self._paired().originals, *protocols)
            return [(("pairs", protocols[1]), pairs)]
        assert isinstance(metric, TextMetric)
        return [(("captions", fake[1]), measurements.of_texts(name, metric, fake[1], device))]

    def _measure_all(self, jobs: Sequence[tuple[_Source, Measurement]]) -> None:
        """Each set is decoded once for all that is measured of it in the same frames."""
        waiting: dict[tuple[str, Protocol], dict[str, Measurement]] = {}
        for (role, protocol), what in jobs:
            if (role, what.fingerprint) not in self._measured:
                waiting.setdefault((role, protocol), {})[what.fingerprint] = what
        for (role, protocol), whats in waiting.items():
            found = self._measure(role, protocol, list(whats.values()))
            self._measured |= {(role, name): one for name, one in zip(whats, found, strict=True)}

    def _measure(self, role: str, protocol: Protocol, whats: Sequence[Measurement]) -> list[Measured | UserError]:
        videos = self._set(role)
        asked = protocol.n_real if role == "real" else protocol.n_fake
        total = min(asked or len(videos.videos), len(videos.videos) * protocol.clips_per_video) * len(whats)
        title = f"{role} set" + (f", {len(whats)} measurements" if len(whats) > 1 else "")
        with progress(title, total, "clips", self.settings.tell) as bar:
            return measure_together(videos, asked, protocol, whats, self.settings, lambda _: bar.advance())

    def _found(self, source: _Source, what: Measurement) -> Measured:
        """What was measured. Raises UserError where nothing was."""
        found = self._measured[source[0], what.fingerprint]
        if isinstance(found, UserError):
            raise found
        if not found.clip_ids:
            name = self._set(source[0]).name
            raise UserError(f"no clip of {name} could be used; {set_warnings.first_reasons(found)}")
        return found

    def _scored(self, name: str, metric: Metric, measured: Sequence[Measured]) -> ScoreRow:
        """The row of a metric from what was measured for it, in the order of `_jobs`."""
        if isinstance(metric, FeatureMetric):
            return self._by_features(name, metric, metric.features or self.protocol.features)
        fake, real, facts = measured[0], None, {}
        score = mean_score(fake, metric.higher_is_better, metric.unit)
        if isinstance(metric, VideoMetric) and len(measured) > 1:
            real = measured[1]
            of_real = mean_score(real, metric.higher_is_better, metric.unit)
            score = replace(score, details={**score.details, "real": of_real.value})
        if isinstance(metric, PairMetric):
            facts = {"pairs_with": fingerprint({"keys": sorted(v.key for v in self._set("real").videos)})}
            equal = float(fake.values[:, 1].sum())
            counts = {"equal_frames": equal, "frames": float(self.protocol.clip_frames * len(fake.clip_ids))}
            said = self._of_pairs(equal, counts["frames"])
            score = replace(score, details={**score.details, **counts}, warnings=score.warnings + said)
        return self._row(name, metric, score, real, fake, facts)

    def _of_pairs(self, equal: float, frames: float) -> tuple[str, ...]:
        found = [f"{equal:.0f} of {frames:.0f} frames are equal to their originals"] if equal else []
        if unused := self._paired().unused:
            found.append(f"{unused} real videos have no reconstruction")
        return tuple(found)

    def _by_features(self, name: str, metric: FeatureMetric, network_name: str) -> ScoreRow:
        real, fake = self.features("real", network_name), self.features("fake", network_name)
        arrays = [m.values.reshape(-1, m.values.shape[-1]) for m in (real, fake)]
        score = metric(arrays[0], arrays[1], seed=self.protocol.seed, groups=_groups(real, fake))
        network = self.network(network_name)
        return self._row(name, metric, score, real, fake, {"network": network.identity}, network)

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
        if np.isnan(score.value):
            raise UserError("the result is not a number (NaN)")
        return ScoreRow(
            metric=name,
            title=titled(metric, network),
            value=score.value,
            standard_error=score.standard_error,
            unit=metric.unit,
            real=named(self.real),
            fake=named(self.fake),
            n_real=0 if real is None else len(real.clip_ids),
            n_fake=len(fake.clip_ids),
            protocol=f"{self._shown_protocol} v{self.protocol.version}",
            facts=self._facts(name, metric, real, fake, facts),
            real_ids=real.ids_hash if real else "",
            fake_ids=fake.ids_hash,
            details=score.details,
            warnings=tuple(set_warnings.of_row(score.warnings, real, fake, self.protocol)),
            skipped=tuple(
                f"{role} {s.video_id}: {s.reason}"
                for role, m in (("real", real), ("fake", fake))
                if m
                for s in m.skipped
            ),
            real_from=self._origin("real"),
            fake_from=self._origin("fake"),
        )

    @property
    def _shown_protocol(self) -> str:
        """Its name, with a + where fields were changed, for one set too."""
        own = self.real_changes or self.fake_changes
        return f"{self.protocol.name}+" if own and not self.protocol.name.endswith("+") else self.protocol.name

    def _facts(
        self, name: str, metric: Metric, real: Measured | None, fake: Measured, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Everything that decides the number besides the generated videos."""
        protocol = {k: v for k, v in asdict(self.protocol).items() if k not in _NOT_OF_CLIPS} | self.protocol.declared
        own = {"real_set": dict(self.real_changes), "fake_set": dict(self.fake_changes)}
        return {
            **facts,
            "metric": name,
            "parameters": asdict(metric),
            "protocol": protocol,
            "decoder": measurements.decoder_version(),
            "picture": measurements.PICTURE_VERSION,
            "n_real": 0 if real is None else len(real.clip_ids),
            "n_fake": len(fake.clip_ids),
            "real_ids": real.ids_hash if real else None,
            **measurements.definition(metric),
            **{role: changes for role, changes in own.items() if changes},
        }

    def _origin(self, role: str) -> Mapping[str, Any]:
        """Empty for a set that was not opened: none was given, or its features came from a file."""
        return self._sets[role].origin if role in self._sets else {}


@contextmanager
def _noting(problems: dict[str, str], name: str) -> Iterator[None]:
    """A metric that cannot be computed must not take the others with it: its reason is noted."""
    try:
        yield
    except UserError as error:
        problems[name] = str(error)


def _groups(real: Measured, fake: Measured) -> Groups:
    """Of the rows of features; None where every clip is a group of its own, and for features of single frames."""
    sets = (real, fake)
    if any(m.values.ndim != 2 for m in sets) or all(len(set(m.groups)) == len(m.clip_ids) for m in sets):
        return None
    return group_codes(real.groups), group_codes(fake.groups)


def titled(metric: Metric, network: FeatureNetwork | None) -> str:
    """How a person calls the number."""
    if network is None:
        return metric.title
    return metric.title.format(
        features=network.label, frechet_name=network.frechet_name, kernel_name=network.kernel_name
    )
