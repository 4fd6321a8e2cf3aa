"""One evaluation: two sets, one protocol, any metrics; what is decoded and computed once serves all of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from clipmill.curate.common.files import fingerprint
from clipmill.curate.common.settings import build
from clipmill.curate.errors import UserError
from clipmill.evaluate import measurements, set_warnings
from clipmill.evaluate.distances.grouped import group_codes
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.features import FeatureNetwork
from clipmill.evaluate.mean_score import mean_score
from clipmill.evaluate.measured_sets import Job, MeasuredSets
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
from clipmill.evaluate.score_rows import ScoreRow
from clipmill.evaluate.sets.specs import named

_NOT_OF_CLIPS = ("name", "version", "summary", "source", "stored_fps")


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
class Evaluation(MeasuredSets):
    """The sets and their metrics, as rows."""

    def score(self, name: str) -> ScoreRow:
        """The metric called `name`. Raises UserError where it cannot be computed."""
        return self.scores([name])[0]

    def scores(self, names: Sequence[str]) -> list[ScoreRow]:
        """The metrics of these names; every clip is decoded once for all of them (an original once more, beside
        its reconstruction). Raises UserError for what concerns all of them, and
        IncompleteScores, with the rows of the others, where some cannot be computed.
        """
        return self.rows(*self.gathered(names))

    def rows(self, gathered: "Sequence[Gathered]", problems: Mapping[str, str]) -> list[ScoreRow]:
        """The scores of what was gathered. problems: metric -> why nothing was. Raises IncompleteScores, see
        `scores`.
        """
        found, reasons = [], dict(problems)
        for one in gathered:
            with _noting(reasons, one.name):
                found.append(self.row(one))
        if reasons:
            raise IncompleteScores(found, reasons)
        return found

    def gathered(self, names: Sequence[str]) -> "tuple[list[Gathered], dict[str, str]]":
        """What was measured for the metrics of these names, and, for those of which nothing was, the reason. Raises
        UserError for what concerns all of them.
        """
        metrics = {name: self._metric(name) for name in names}
        of_one = all(isinstance(metric, TextMetric) for metric in metrics.values())
        for role, spec in (("fake", self.fake), ("real", None if of_one else self.real)):
            if self._opened(spec):
                self._set(role)
        problems: dict[str, str] = {}
        jobs: dict[str, list[Job]] = {}
        for name, metric in metrics.items():
            with _noting(problems, name):
                jobs[name] = self._jobs(name, metric)
        self._measure_all([job for several in jobs.values() for job in several])
        found = []
        for name, several in jobs.items():
            with _noting(problems, name):
                found.append(self._gathered(name, metrics[name], [self._found(*job) for job in several]))
        return found, problems

    def _gathered(self, name: str, metric: Metric, measured: Sequence[Measured]) -> "Gathered":
        """measured: in the order of `_jobs`."""
        if isinstance(metric, FeatureMetric):
            used = metric.features or self.protocol.features
            return Gathered(name, metric, self.features("fake", used), self.features("real", used), self.network(used))
        beside = measured[1] if isinstance(metric, VideoMetric) and len(measured) > 1 else None
        return Gathered(name, metric, measured[0], beside)

    def _metric(self, name: str) -> Metric:
        kind = metric_class(name)
        return build(kind, self._fixed_by_protocol(kind) | dict(self.parameters.get(name, {})), name)

    def _fixed_by_protocol(self, kind: type[Metric]) -> dict[str, Any]:
        """Fields of a metric that the protocol decides, where the metric is on the protocol's own features."""
        if not issubclass(kind, FeatureMetric) or kind.features is not None:
            return {}
        return {f.name: getattr(self.protocol, f.name) for f in fields(kind) if f.name in ("ddof", "dtype")}

    def row(self, found: "Gathered") -> ScoreRow:
        """The score of a metric, with everything that made it. Raises UserError where there is none."""
        metric = found.metric
        if isinstance(metric, FeatureMetric):
            return self._row(found, found.distance(self.protocol.seed), {"network": found.identity})
        facts = {}
        score = mean_score(found.fake, metric.higher_is_better, metric.unit)
        if found.real is not None:
            of_real = mean_score(found.real, metric.higher_is_better, metric.unit)
            score = replace(score, details={**score.details, "real": of_real.value})
        if isinstance(metric, PairMetric):
            facts = {"pairs_with": fingerprint({"keys": sorted(v.key for v in self._set("real").videos)})}
            equal = float(found.fake.values[:, 1].sum())
            counts = {"equal_frames": equal, "frames": float(self.protocol.clip_frames * len(found.fake.clip_ids))}
            said = self._of_pairs(equal, counts["frames"])
            score = replace(score, details={**score.details, **counts}, warnings=score.warnings + said)
        return self._row(found, score, facts)

    def _of_pairs(self, equal: float, frames: float) -> tuple[str, ...]:
        found = [f"{equal:.0f} of {frames:.0f} frames are equal to their originals"] if equal else []
        if unused := self._paired().unused:
            found.append(f"{unused} real videos have no reconstruction")
        return tuple(found)

    def _row(self, found: "Gathered", score: Score, facts: dict[str, Any]) -> ScoreRow:
        if np.isnan(score.value):
            raise UserError("the result is not a number (NaN)")
        name, metric, real, fake = found.name, found.metric, found.real, found.fake
        return ScoreRow(
            metric=name,
            title=titled(metric, found.network),
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


@dataclass(frozen=True)
class Gathered:
    """What one metric looks at. real: None for a metric of one set, and for pairs. network: of a metric on features."""

    name: str
    metric: Metric
    fake: Measured
    real: Measured | None = None
    network: FeatureNetwork | None = None

    @property
    def identity(self) -> str:
        """Of the network; empty without one."""
        return "" if self.network is None else self.network.identity

    def distance(self, seed: int) -> Score:
        """Of a metric on features. Raises UserError for sets too small."""
        assert isinstance(self.metric, FeatureMetric)
        assert self.real is not None
        arrays = [m.values.reshape(-1, m.values.shape[-1]) for m in (self.real, self.fake)]
        return self.metric(arrays[0], arrays[1], seed=seed, groups=_groups(self.real, self.fake))


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
