"""What the page tells, gathered along the lineage of a file of scores."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipmill.curate.common.files import parse_json, read_json
from clipmill.curate.common.publish import newest
from clipmill.curate.errors import UserError
from clipmill.curate.tables.manifest import folder_of
from clipmill.evaluate.report.curve import Curve, curve_of
from clipmill.evaluate.report.kept_words import kept_words
from clipmill.evaluate.report.moving import moving_picture
from clipmill.evaluate.score_rows import ScoreRow, read

_COUNTS = ("files", "clips", "kept", "dropped", "error_clips", "not_run")


@dataclass(frozen=True)
class Run:
    """A curate run. counts: of run.json. commands: that made it."""

    folder: Path
    counts: dict[str, int]
    policy: str
    commands: tuple[str, ...]

    @property
    def report(self) -> Path | None:
        """The run's HTML report; None where there is none."""
        path = self.folder / "report.html"
        return path if path.is_file() else None


@dataclass(frozen=True)
class Training:
    """A checkpoint. facts: title -> text. curve: of the loss, None where there is no log."""

    folder: Path
    facts: dict[str, str]
    curve: Curve | None
    command: str


@dataclass(frozen=True)
class Samples:
    """A folder of sampled videos. sheet: data URL of the contact sheet, None where there is none."""

    folder: Path
    sheet: str | None
    command: str
    training: Training | None
    run: Run | None


@dataclass(frozen=True)
class Compared:
    """A set that was scored beside others. scores: title -> value, the last of each. moving: data URL of its videos,
    playing; None where it is no folder of videos. command: of a set that stands beside samples, "" where none is known.
    """

    name: str
    scores: dict[str, float]
    moving: str | None
    command: str = ""


@dataclass(frozen=True)
class Story:
    """rows: newest last. samples: one per folder that the scores are of, in the order of the file."""

    scores: Path
    rows: tuple[ScoreRow, ...]
    samples: tuple[Samples, ...]
    reference: Run | None
    compared: tuple[Compared, ...] = ()

    @property
    def titles(self) -> list[str]:
        """Of all scores, each once."""
        return list(dict.fromkeys(title for one in self.compared for title in one.scores))

    @property
    def commands(self) -> list[str]:
        """Every command of the story once, in the order in which one would type them."""
        runs = [one.run for one in self.samples] + [self.reference]
        found = [command for run in runs if run for command in run.commands]
        for one in self.samples:
            found += [one.training.command if one.training else "", one.command]
        found += [one.command for one in self.compared]
        return [
            _typed_here(command) for command in dict.fromkeys([*found, *(row.command for row in self.rows)]) if command
        ]


def read_story(scores: Path) -> Story:
    """Raises UserError where there is nothing to tell."""
    rows = read(scores)
    if not rows:
        raise UserError(f"{scores} holds no scores")
    origins = {row.fake: dict(row.fake_from) for row in rows}
    samples = tuple(_samples(origin) for origin in origins.values() if "checkpoint" in origin)
    reference = _run_of_manifest(rows[-1].real_from.get("manifest"))
    return Story(scores, tuple(rows), samples, reference, _compared(rows))


def _compared(rows: Sequence[ScoreRow]) -> tuple[Compared, ...]:
    """One for each set that was scored, in the order of the file."""
    sets: dict[str, dict[str, float]] = {}
    folders: dict[str, Path] = {}
    for row in rows:
        sets.setdefault(row.fake, {})[row.title] = row.value
        if isinstance(row.fake_from.get("manifest"), str):
            folders[row.fake] = folder_of(Path(row.fake_from["manifest"]))
    return tuple(_beside(name, scores, folders.get(name)) for name, scores in sets.items())


def _beside(name: str, scores: dict[str, float], folder: Path | None) -> Compared:
    if folder is None:
        return Compared(name, scores, None)
    facts = _json(folder.parent / "floor.json")
    return Compared(name, scores, moving_picture(folder), str(facts.get("command", "")))


def _samples(origin: dict[str, Any]) -> Samples:
    folder = folder_of(Path(origin["manifest"]))
    facts = _json(folder / "sampling.json")
    checkpoints = origin["checkpoint"] if isinstance(origin["checkpoint"], list) else [origin["checkpoint"]]
    training = _training(Path(checkpoints[0])) if len(checkpoints) == 1 else None
    card = _json(training.folder / "card.json") if training else {}
    sheet = folder / "sheet.png"
    picture = "data:image/png;base64," + base64.b64encode(sheet.read_bytes()).decode() if sheet.is_file() else None
    count = len(list(folder.glob("*.mp4"))) or len(list(folder.rglob("*.mp4")))
    command = (
        "models",
        "sample",
        checkpoints[0],
        "--n",
        str(count),
        "--seed",
        str(facts.get("seed", 0)),
        "--out",
        str(folder),
    )
    return Samples(folder, picture, shlex.join(command), training, _run(Path(card["run"])) if "run" in card else None)


def _training(folder: Path) -> Training | None:
    card = _json(folder / "card.json")
    if not card:
        return None
    log = [row for line in _lines(folder / "log.jsonl") if "step" in (row := _numbers(line))]
    last: dict[str, Any] = next((row for row in reversed(log) if "loss" in row), {})
    facts = {
        "preset": str(_mapping(card.get("config")).get("name", "")),
        "parameters": f"{_count(card['parameters']):,}" if "parameters" in card else "",
        "clips": ", ".join(f"{bucket.get('clips')} of {bucket.get('shape')}" for bucket in _buckets(card)),
        "steps": str(last.get("step", "")),
        "training time": f"{last['seconds']:.0f} s" if "seconds" in last else "",
        "loss": f"{last['loss']:.4g}" if "loss" in last else "",
        "latents keep": kept_words(_mapping(card.get("kept"))),
    }
    return Training(
        folder, {name: text for name, text in facts.items() if text}, curve_of(log), str(card.get("command", ""))
    )


def as_typed(path: Path) -> str:
    """A place as one types it here: a page is passed on, and says nothing of whose machine made it."""
    home = Path.home()
    shown = _relative(str(path))
    if not Path(shown).is_absolute() or home == Path("/") or not path.is_relative_to(home):
        return shown
    return f"~/{path.relative_to(home)}"


def _typed_here(command: str) -> str:
    """The command with the paths below the current folder as one types them there: they still hold where the whole
    folder moves. A shell puts the home folder for ~ at the beginning of a word.
    """
    try:
        words = [_relative(word) for word in shlex.split(command)]
    except ValueError:  # written by hand
        return command
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    shown = as_typed(Path(word)) if Path(word).is_absolute() else word
    return f"~/{shlex.quote(shown.removeprefix('~/'))}" if shown != word else shlex.quote(word)


def _relative(word: str) -> str:
    path, here = Path(word), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else word


def _run_of_manifest(manifest: Any) -> Run | None:
    return _run(folder_of(Path(manifest))) if manifest else None


def _run(folder: Path) -> Run | None:
    facts = _json(newest(folder, "run.json"))
    if not facts:
        return None
    counts = {name: _count(_mapping(facts.get("counts")).get(name)) for name in _COUNTS}
    return Run(folder, counts, str(facts.get("policy", "")), (str(facts.get("command", "")),))


def _json(path: Path) -> dict[str, Any]:
    """Empty where the file is not there or damaged: a story with a gap is still one."""
    try:
        return read_json(path)
    except UserError:
        return {}


def _numbers(line: str) -> dict[str, float]:
    """The numbers of a line of a log; none where it is no JSON, as in the last one of a process that was killed."""
    try:
        row = _mapping(parse_json(line))
    except ValueError:
        return {}
    return {name: value for name, value in row.items() if isinstance(value, int | float)}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    """A whole number; 0 for anything else that stands in a file for one."""
    return value if isinstance(value, int) else 0


def _buckets(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    buckets = card.get("buckets")
    return [bucket for bucket in buckets if isinstance(bucket, dict)] if isinstance(buckets, list) else []


def _lines(path: Path) -> Sequence[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
