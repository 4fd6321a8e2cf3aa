"""Two sets, read by one protocol, and what was measured of their clips: once, for whoever asks."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from clipmill.curate.common.device import check_device, own_device
from clipmill.curate.common.files import fingerprint
from clipmill.curate.common.log import progress
from clipmill.curate.errors import DecodeError, UserError
from clipmill.evaluate import measurements, set_warnings
from clipmill.evaluate.extraction import reference_stats
from clipmill.evaluate.extraction.measure import (
    Asked,
    Measured,
    Measurement,
    Settings,
    candidates,
    measure_together,
    read_clip,
)
from clipmill.evaluate.features import FeatureNetwork, network_class
from clipmill.evaluate.frames.protocol import Protocol, changed
from clipmill.evaluate.metrics import FeatureMetric, Metric, PairMetric, TextMetric, VideoMetric
from clipmill.evaluate.pairs import Pairs, paired
from clipmill.evaluate.sets import VideoSet, open_set
from clipmill.evaluate.sets.columns import check_column
from clipmill.evaluate.sets.manifests import is_samples, takes_condition
from clipmill.evaluate.sets.specs import Spec, named, plain

Source = tuple[str, Protocol]
"""Which set is measured: real, fake, pairs or captions; and how it is read."""
Job = tuple[Source, Measurement]


@dataclass
class MeasuredSets:
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
    _read_originals: measurements.Originals | None = None
    _with_frames: bool = False

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

    def beside(self, fake: Spec) -> Self:
        """The same real set, with what was opened, loaded and measured of it, and another fake one."""
        of_real = {key: found for key, found in self._measured.items() if key[0] == "real"}
        opened = {role: videos for role, videos in self._sets.items() if role == "real"}
        return replace(self, fake=fake, _sets=opened, _measured=of_real, _pairs=None, _read_originals=None)

    def windows(self, count: int) -> None:
        """Take `count` clips of each fake video, one after another, in place of the protocol's choice."""
        fields = {"clip_choice": "windows", "clips_per_video": count, "n_fake": 0, "choose": "first"}
        self._protocols["fake"] = replace(self._protocols["fake"], **fields)  # type: ignore[arg-type]

    def check_column(self, name: str) -> None:
        """Raises UserError, before any work, where the clips of the fake set have no such column."""
        check_column([] if not self._opened(self.fake) else self._set("fake").videos, name)

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

    def frames(self) -> Measured:
        """Each frame of the reconstructions beside that of its original, see `measurements.of_frames`."""
        job = self._frames_job()
        self._measure_all([job])
        return self._found(*job)

    def _frames_job(self) -> Job:
        real, fake = (measurements.pair_protocol(self._protocols[role]) for role in ("real", "fake"))
        return ("pairs", fake), measurements.of_frames(self._originals(real), fake)

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

    def _originals(self, protocol: Protocol) -> measurements.Originals:
        if self._read_originals is None:
            self._read_originals = measurements.Originals(self._paired().originals, protocol)
        return self._read_originals

    def _jobs(self, name: str, metric: Metric) -> list[Job]:
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
            pairs = measurements.of_pairs(name, metric, self._originals(protocols[0]), protocols[1])
            return [(("pairs", protocols[1]), pairs)]
        assert isinstance(metric, TextMetric)
        return [(("captions", fake[1]), measurements.of_texts(name, metric, fake[1], device))]

    def ask_frames(self) -> None:
        """Whatever is measured next, `frames` will be measured in the same pass."""
        self._with_frames = True

    def _measure_all(self, jobs: Sequence[Job]) -> None:
        """Each set is decoded once for all that is measured of it."""
        waiting: dict[bool, dict[tuple[str, str], tuple[Source, Measurement]]] = {}
        for source, what in [*jobs, *([self._frames_job()] if self._with_frames else [])]:
            if (source[0], what.fingerprint) not in self._measured:
                waiting.setdefault(source[0] == "real", {})[source[0], what.fingerprint] = source, what
        for of_real, several in waiting.items():
            asked = [self._asked(*job) for job in several.values()]
            found = self._measure("real" if of_real else "fake", asked)
            self._measured |= dict(zip(several, found, strict=True))

    def _asked(self, source: Source, what: Measurement) -> Asked:
        role, protocol = source
        return Asked(self._set(role), protocol.n_real if role == "real" else protocol.n_fake, protocol, what)

    def _measure(self, role: str, asked: Sequence[Asked]) -> list[Measured | UserError]:
        total = sum(
            min(one.wanted or len(one.videos.videos), len(one.videos.videos) * one.protocol.clips_per_video)
            for one in asked
        )
        title = f"{role} set" + (f", {len(asked)} measurements" if len(asked) > 1 else "")
        with progress(title, total, "clips", self.settings.tell) as bar:
            return measure_together(asked, self.settings, lambda _: bar.advance())

    def _found(self, source: Source, what: Measurement) -> Measured:
        """What was measured. Raises UserError where nothing was."""
        found = self._measured[source[0], what.fingerprint]
        if isinstance(found, UserError):
            raise found
        if not found.clip_ids:
            name = self._set(source[0]).name
            raise UserError(f"no clip of {name} could be used; {set_warnings.first_reasons(found)}")
        return found
