"""One video file as a run of its own, of a single clip that nothing cuts, judges or drops (Tune-A-Video)."""

import shutil
from pathlib import Path
from typing import Any

from clipmill.curate.api import load_config
from clipmill.curate.api import run as curate
from clipmill.curate.common.log import Tell
from clipmill.curate.errors import UserError
from clipmill.curate.weights import sha256
from clipmill.models.processes import Processes
from clipmill.models.settings.source import OneVideo

FOLDER = "one"
# Tells this folder from one of the same name that is the user's, of which nothing may be removed.
_MARK = ".made-for-training"
_NEVER = 1e9
_WHOLE: dict[str, Any] = {
    "annotators": [],
    "scenes.detector": "cascade",
    "scenes.hard_evidence": _NEVER,
    "scenes.still_between": _NEVER,
    "scenes.gradual_evidence": _NEVER,
    "scenes.min_length_s": 0.0,
    "scenes.max_length_s": _NEVER,
    "export.short_side_px": None,
    "export.fps": None,
    "export.split": {"train": 1.0},
}


def run_of(video: OneVideo, out: Path, processes: Processes, tell: Tell) -> Path:
    """The run, in the checkpoint folder `out`, where a training that goes on finds it again. Raises UserError in every
    process for a file that is no video, and for another one than the training began with.
    """
    wrong = ""
    if processes.first:
        try:
            _make(video, out, tell)
        except UserError as error:
            wrong = str(error)
    if wrong := processes.gathered(wrong)[0]:
        raise UserError(wrong)
    return out / FOLDER / "run"


def is_here(out: Path) -> bool:
    """Whether a training of one video began in the checkpoint folder `out`."""
    return (out / FOLDER / _MARK).is_file()


def _make(video: OneVideo, out: Path, tell: Tell) -> None:
    if not video.path.is_file():
        raise UserError(f"--one takes a video file: there is none at {video.path}")
    folder = out / FOLDER
    own, text = folder / "in" / video.path.name, folder / "in" / f"{video.path.stem}.txt"
    if (out / "card.json").is_file():
        _check_same(video, own, text)
        return
    shutil.rmtree(folder, ignore_errors=True)
    own.parent.mkdir(parents=True)
    (folder / _MARK).touch()
    shutil.copyfile(video.path, own)
    text.write_text(video.caption, encoding="utf-8")
    settings = _WHOLE | {f"policy.{column}": "off" for column in load_config().policy}
    try:
        kept = curate(own.parent, folder / "run", settings=settings, engine="inline", tell=None).counts["kept"]
    except UserError:  # about our copy, under a name that is no video's
        kept = 0
    if not kept:
        shutil.rmtree(folder)
        raise UserError(f"--one: {video.path} does not decode as a video")
    tell(f"one video, {video.path}: its run is {folder / 'run'}")


def _check_same(video: OneVideo, own: Path, text: Path) -> None:
    same = own.is_file() and sha256(own) == sha256(video.path) and text.read_text(encoding="utf-8") == video.caption
    if not same:
        raise UserError(f"{own.parents[2]} was not begun with this video and caption: choose another --out")
