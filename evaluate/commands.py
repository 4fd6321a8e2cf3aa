"""What each command does. Words to the user are printed here and nowhere below."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipmill.curate.common.console import command_line
from clipmill.curate.common.content import cache_home
from clipmill.curate.common.log import say
from clipmill.curate.errors import UserError
from clipmill.evaluate import comparison
from clipmill.evaluate.changes import changes_of
from clipmill.evaluate.evaluation import Evaluation, Gathered, IncompleteScores
from clipmill.evaluate.extraction.measure import Settings
from clipmill.evaluate.extraction.processes import is_first
from clipmill.evaluate.frames.protocol import Protocol, load
from clipmill.evaluate.frames.protocol import names as protocol_names
from clipmill.evaluate.metrics import FeatureMetric, Metric, PairMetric, TextMetric, VideoMetric, metric_class
from clipmill.evaluate.output_paths import check_file, check_folder
from clipmill.evaluate.score_rows import ScoreRow, append, read
from clipmill.evaluate.set_warnings import distinct
from clipmill.evaluate.sets.specs import Spec

_MEASURES: dict[type[Metric], str] = {
    FeatureMetric: "compares two sets by features",
    VideoMetric: "single videos",
    PairMetric: "reconstructions against originals of the same names",
    TextMetric: "videos against their captions",
}


@dataclass(frozen=True)
class Options:
    """The options that the scoring commands share."""

    protocol: str
    features: str | None
    sets: Sequence[str]
    weights: Path | None
    where: str | None
    out: Path | None
    device: str
    batch: int
    workers: int
    cache: Path | None
    real_sets: Sequence[str] = ()
    fake_sets: Sequence[str] = ()
    clips: Path | None = None
    by: str | None = None

    @property
    def seed(self) -> int:
        """Of the protocol."""
        return self._resolved()[0].seed

    def evaluation(self, real: Spec | None, fake: Spec, needs_network: bool = True) -> Evaluation:
        """Raises UserError for unknown names and settings; missing weights are named before any video is opened."""
        protocol, parameters = self._resolved()
        settings = Settings(self.device, self.batch, self.workers, self.cache or cache_home())
        own = (_of_one_set("--real-set", self.real_sets), _of_one_set("--fake-set", self.fake_sets))
        evaluation = Evaluation(real, fake, protocol, settings, self.weights, self.where, parameters, *own)
        if needs_network:
            evaluation.network(protocol.features)
        return evaluation

    def _resolved(self) -> tuple[Protocol, dict[str, dict[str, Any]]]:
        """The protocol with its changed fields, and the fields of metrics."""
        changes, parameters = changes_of(self.sets)
        return load(self.protocol, ({"features": self.features} if self.features else {}) | changes), parameters


def _of_one_set(option: str, texts: Sequence[str]) -> dict[str, Any]:
    changes, of_metrics = changes_of(texts)
    if of_metrics:
        raise UserError(f"{option} says how a set is stored; the fields of {', '.join(of_metrics)} go to --set")
    return changes


def score(metrics: Sequence[str], real: str, fake: str, options: Options) -> None:
    """`evaluate fvd`, `kvd`, `run`. What can be computed is printed and written; raises UserError, which lists the rest
    with its reason, afterwards.
    """
    kinds = [metric_class(name) for name in metrics]
    if not kinds:
        raise UserError("--metrics names none; `evaluate metrics` lists them")
    if options.out is not None:
        _check_addable(options.out)
    if options.clips is not None:
        check_file(options.clips, "clips.parquet")
    # Missing weights end the command at once where nothing could be computed without them.
    uses_protocol = all(issubclass(kind, FeatureMetric) and kind.features is None for kind in kinds)
    evaluation = options.evaluation(real, fake, uses_protocol)
    if options.by is not None:
        evaluation.check_column(options.by)
    found, reasons = evaluation.gathered(metrics)
    problem = None
    try:
        rows = evaluation.rows(found, reasons)
    except IncompleteScores as error:
        rows, problem = error.rows, error
    if is_first() and rows:
        _tell(rows, options)
        _tell_of_clips(
            [one for one in found if one.name in {row.metric for row in rows}], options, evaluation.protocol.seed
        )
    if problem is not None:
        raise problem


def _tell_of_clips(gathered: Sequence[Gathered], options: Options, seed: int) -> None:
    """What --by and --clips ask for."""
    from clipmill.evaluate.perclip.groups import by_column, group_lines, words
    from clipmill.evaluate.perclip.table import write_clips

    for found in gathered if options.by is not None else ():
        scores = by_column(found, str(options.by), seed)
        say(words(found, scores))
        for line in group_lines(scores, found.metric.unit):
            say(line)
    if options.clips is not None:
        count, without = write_clips(options.clips, gathered)
        said = f"; no value of single clips: {', '.join(without)}" if without else ""
        say(f"{count} values of clips: {options.clips}{said}")


def _tell(rows: Sequence[ScoreRow], options: Options) -> None:
    """Print the rows and add them to the file."""
    for row in rows:
        _say_row(row)
    if options.where is not None:
        _say_where(rows)
    for line in distinct([w for row in rows for w in row.warnings]):
        say(f"warning: {line}")
    if options.out is not None:
        append(options.out, [replace(row, command=command_line("evaluate")) for row in rows])
        say(f"added to {options.out}")


def _check_addable(path: Path) -> None:
    """An hour of work must not end at a file that cannot be added to."""
    check_file(path, "scores.parquet")
    if path.exists():
        read(path)


def _say_where(rows: Sequence[ScoreRow]) -> None:
    """To which sets the condition applied, as the rows record it: a metric of one set may not have seen the filtered
    one.
    """
    metrics: dict[str, list[str]] = {}
    for row in rows:
        sets = [(f"{role} set ({name})", "where" in origin) for role, name, origin in _sets(row) if name]
        applied, whole = (
            " and the ".join(title for title, filtered in sets if filtered is wanted) for wanted in (True, False)
        )
        line = f"--where applied to {'the ' + applied if applied else 'neither set'}" + (
            f"; not filtered: the {whole}" if whole else ""
        )
        metrics.setdefault(line, []).append(row.metric)
    for line, names in metrics.items():
        say(line if len(metrics) == 1 else f"{', '.join(names)}: {line}")


def _sets(row: ScoreRow) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
    return ("real", row.real, row.real_from), ("fake", row.fake, row.fake_from)


def _say_row(row: ScoreRow) -> None:
    details = ", ".join(f"{k} {v:.6g}" for k, v in row.details.items() if k not in ("n_real", "n_fake"))
    counts = f"{row.n_fake} clips" if row.n_real == 0 else f"{row.n_real} real, {row.n_fake} fake"
    say(f"{row}  ({row.protocol}; {counts}; fingerprint {row.fingerprint})" + (f"\n  {details}" if details else ""))


def stats(videos: str, out: Path, options: Options) -> None:
    """`evaluate stats`."""
    from clipmill.evaluate.extraction import reference_stats as files

    check_file(out, "statistics.npz")
    evaluation = options.evaluation(videos, videos)
    measured = evaluation.features("real")
    if not is_first():
        return
    files.save(out, measured, evaluation.feature_facts(evaluation.protocol.features))
    say(f"{len(measured.clip_ids)} clips, {len(measured.skipped)} skipped: {out}")
    for skip in measured.skipped[:20]:
        say(f"  skipped {skip.video_id}: {skip.reason}")


def compare(path: Path, force: bool) -> None:
    """`evaluate compare`. Raises UserError where numbers of one metric were made in different ways, unless forced."""
    lines, refused = comparison.tables(read(path), force)
    for line in lines:
        say(line)
    if refused and not force:
        raise UserError(f"{', '.join(refused)}: fingerprints differ, so they are not put in one order; --force does it")


def report(path: Path, out: Path | None) -> None:
    """`evaluate report`."""
    from clipmill.evaluate.report import write_report

    say(f"report: {write_report(path, out or path.with_suffix('.html'))}")


def degrade(videos: str, out: Path, clips: int, options: Options) -> None:
    """`evaluate degrade`."""
    import numpy as np
    import torch

    from clipmill.evaluate.frames.resize import preprocess
    from clipmill.evaluate.studies import degrade as study

    check_folder(out)
    evaluation = options.evaluation(None, videos)
    protocol, network = evaluation.protocol, evaluation.network(evaluation.protocol.features)
    pixels = evaluation.pixels(clips)

    def features(batch: Sequence[np.ndarray]) -> np.ndarray:
        parts = []
        for at in range(0, len(batch), options.batch):
            ready = [preprocess(clip, protocol, network.side_px) for clip in batch[at : at + options.batch]]
            with torch.inference_mode():
                parts.append(network(torch.stack(ready)).cpu().numpy())
        return np.concatenate(parts)

    rows = study.study(pixels, features)
    out.mkdir(parents=True, exist_ok=True)
    (out / "degrade.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    study.plot(rows, out / "degrade.png", network.frechet_name)
    for row in rows:
        say(f"{row['corruption']:16} {row['level']:>10}  {row['distance']:.4g}")
    say(f"{network.frechet_name} of {len(pixels)} clips against their corrupted copies: {out / 'degrade.png'}")


def check_weights(path: Path) -> None:
    """`evaluate check-weights`. Raises UserError where the file is not the network that FVD is defined on."""
    from clipmill.evaluate.networks.i3d_weights import check

    report = check(path)
    for line in report.lines():
        say(line)
    if not report.proven:
        raise UserError(f"{path} is not the network that FVD is defined on")


def selftest(weights: Path | None) -> None:
    """`evaluate selftest`. Raises UserError where a number is not what it should be."""
    from clipmill.evaluate.studies.selftest import cases

    wrong = 0
    for case in cases(weights):
        ok = abs(case.found - case.expected) <= case.tolerance * max(abs(case.expected), 1e-12)
        wrong += not ok
        say(
            f"{'ok  ' if ok else 'WRONG'} {case.name}: {case.found:.10g} (expected {case.expected:.10g} within"
            f" {case.tolerance:g})"
        )
    if wrong:
        raise UserError(f"{wrong} of the numbers are wrong: do not trust scores made here")
    say("all numbers are right" + ("" if weights else "; with --weights the trained network is tested too"))


def protocols() -> None:
    """`evaluate protocols`."""
    for name in protocol_names():
        p = load(name)
        say(f"{name} v{p.version}: {p.summary}\n    {p.source}")
        say(
            f"    {p.clip_frames} frames, stride {p.stride}, start {p.clip_choice}; {p.n_real or 'all'} real,"
            f" {p.n_fake or 'all'} fake, {p.choose}; {p.resize}, {p.geometry}; {p.features}, pixels -{p.input_range:g}"
            f" to {p.input_range:g}, bn eps {p.bn_eps:g}; ddof {p.ddof}, {p.dtype}"
        )


def metrics() -> None:
    """`evaluate metrics`."""
    from clipmill.evaluate import features
    from clipmill.evaluate import metrics as all_metrics

    for name in all_metrics.names():
        kind = all_metrics.metric_class(name)
        of = next(words for base, words in _MEASURES.items() if issubclass(kind, base))
        about = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        say(textwrap.fill(f"{name} ({of}): {about}", 120, subsequent_indent="    "))
    say("feature networks: " + ", ".join(features.names()))
