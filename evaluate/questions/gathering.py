"""Several sets, measured as one: each network loaded, and each set decoded, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

from clipmill.curate.errors import UserError
from clipmill.evaluate import set_warnings
from clipmill.evaluate.commands import Options
from clipmill.evaluate.evaluation import Gathered
from clipmill.evaluate.metrics import FeatureMetric, PairMetric, metric_class
from clipmill.evaluate.set_warnings import distinct
from clipmill.evaluate.versus.matching import WAYS, By
from clipmill.evaluate.versus.study import Settings


@dataclass(frozen=True)
class Several:
    """names: of the sets. gathered: of each set, the metrics that all sets have, in one order. facts: what decides the
    features. warnings: what a reader must know of the sets.
    """

    names: Sequence[str]
    gathered: Sequence[Sequence[Gathered]]
    problems: Mapping[str, str]
    facts: Mapping[str, Any]
    warnings: Sequence[str]


def gather(
    sets: Sequence[str], real: str | None, metrics: Sequence[str], options: Options, windows: int = 0
) -> Several:
    """windows: so many clips of each video, one after another; 0: as the protocol chooses. Raises UserError where no
    metric can be computed of all sets.
    """
    kinds = [metric_class(name) for name in metrics]
    if not kinds:
        raise UserError("--metrics names none; `evaluate metrics` lists them")
    need_real = [n for n, kind in zip(metrics, kinds, strict=True) if issubclass(kind, FeatureMetric | PairMetric)]
    if real is None and need_real:
        raise UserError(f"{', '.join(need_real)} compares with real videos: name them, --real REAL")
    uses_protocol = all(issubclass(kind, FeatureMetric) and kind.features is None for kind in kinds)
    first = options.evaluation(real, sets[0], uses_protocol)
    if windows:
        first.windows(windows)
    found: list[dict[str, Gathered]] = []
    problems: dict[str, str] = {}
    warnings: list[str] = []
    names = _names(sets)
    for name, one in zip(names, sets, strict=True):
        evaluation = first if one is sets[0] else first.beside(one)
        gathered, missing = evaluation.gathered(metrics)
        found.append({g.name: g for g in gathered})
        problems |= {metric: f"{name}: {reason}" for metric, reason in missing.items() if metric not in problems}
        first = evaluation
        said = [set_warnings.of_row((), g.real, g.fake, evaluation.protocol) for g in gathered]
        warnings += [f"{name}: {line}" for line in distinct([line for lines in said for line in lines])]
    shared = [name for name in metrics if all(name in one for one in found)]
    if not shared:
        raise_problems(problems, len(metrics))
    protocol = first.protocol
    facts: dict[str, Any] = {"protocol": protocol.name, "clip_frames": protocol.clip_frames}
    facts["span"] = (protocol.clip_frames - 1) * protocol.stride + 1
    networks = {g.identity for g in found[0].values() if g.network is not None}
    return Several(
        names, [[one[n] for n in shared] for one in found], problems, facts | {"networks": sorted(networks)}, warnings
    )


def raise_problems(problems: Mapping[str, str], metrics: int) -> None:
    """Raises UserError, with the reasons, where there are any; metrics: how many were asked for."""
    if problems:
        listed = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
        some = f"{len(problems)} of {metrics} metrics could not be computed: " if len(problems) < metrics else ""
        raise UserError(some + listed)


def study_settings(pair: str, draws: int, options: Options) -> Settings:
    """Raises UserError for an unknown way of pairing."""
    if pair not in WAYS:
        raise UserError(f"--pair is one of {', '.join(WAYS)}, not {pair}")
    return Settings(cast(By, pair), draws, options.seed)


def _names(sets: Sequence[str]) -> list[str]:
    """Short ones where those tell the sets apart."""
    short = [PurePath(one).name or one for one in sets]
    whole = list(sets) if len(set(short)) < len(short) else short
    if len(set(whole)) < len(whole):
        raise UserError("a set is compared with itself: name each set once")
    return whole
