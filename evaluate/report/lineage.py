"""What the page tells, gathered along the lineage of a file of scores."""

import base64
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipmill.curate.common.publish import newest
from clipmill.curate.errors import UserError
from clipmill.evaluate.report.curve import Curve, curve_of
from clipmill.evaluate.score_rows import ScoreRow, read


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
class Story:
    """rows: newest last. samples: one per folder that the scores are of, in the order of the file."""

    scores: Path
    rows: tuple[ScoreRow, ...]
    samples: tuple[Samples, ...]
    reference: Run | None

    @property
    def commands(self) -> list[str]:
        """Every command of the story once, in the order in which one would type them."""
        runs = [one.run for one in self.samples] + [self.reference]
        found = [command for run in runs if run for command in run.commands]
        for one in self.samples:
            found += [one.training.command if one.training else "", one.command]
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
    return Story(scores, tuple(rows), samples, _run_of_manifest(rows[-1].real_from.get("manifest")))


def _samples(origin: dict[str, Any]) -> Samples:
    folder = Path(origin["manifest"]).parent
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
    log = [json.loads(line) for line in _lines(folder / "log.jsonl")]
    last: dict[str, Any] = next((row for row in reversed(log) if "loss" in row), {})
    facts = {
        "preset": str(card["config"].get("name", "")),
        "parameters": f"{card['parameters']:,}" if "parameters" in card else "",
        "clips": ", ".join(f"{bucket['clips']} of {bucket['shape']}" for bucket in card["buckets"]),
        "steps": str(last.get("step", "")),
        "training time": f"{last['seconds']:.0f} s" if "seconds" in last else "",
        "loss": f"{last['loss']:.4g}" if "loss" in last else "",
    }
    return Training(
        folder, {name: text for name, text in facts.items() if text}, curve_of(log), str(card.get("command", ""))
    )


def _typed_here(command: str) -> str:
    """The command with the paths below the current folder as one types them there: they still hold where the whole
    folder moves.
    """
    try:
        return shlex.join(_relative(word) for word in shlex.split(command))
    except ValueError:  # written by hand
        return command


def _relative(word: str) -> str:
    path, here = Path(word), Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else word


def _run_of_manifest(manifest: Any) -> Run | None:
    return _run(Path(manifest).parent) if manifest else None


def _run(folder: Path) -> Run | None:
    facts = _json(newest(folder, "run.json"))
    if not facts:
        return None
    return Run(folder, facts["counts"], facts["policy"], (facts.get("command", ""),))


def _json(path: Path) -> dict[str, Any]:
    """Empty where the file is not there or damaged: a story with a gap is still one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _lines(path: Path) -> Sequence[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
