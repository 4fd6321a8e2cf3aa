"""What decides a folder of samples, and the lineage of each video."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from clipmill.curate.weights import sha256
from clipmill.models.checkpoints.step_files import WEIGHTS, step_folder
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.prompts import Prompt
from clipmill.models.layers.plan import Grid
from clipmill.models.stages.request import Request

# Of what was given by the user or by the stage before: in a video's id its own part stands for it.
_GIVEN = ("first", "last", "reference", "edit", "before")
_PLACES = ("checkpoint", "first_path", "last_path", "reference_path", "edit_path")


def facts_of(loaded: Loaded, request: Request, grid: Grid) -> dict[str, Any]:
    """What decides the videos but for their number and what they are given. weights_sha256: of the step's
    `weights.safetensors`, also where an average made the videos: it tells two trainings in one folder apart.
    base_sha256: of the weights that did not learn, where there are any.
    """
    frozen: dict[str, Any] = {"base_sha256": loaded.card["base_sha256"]} if loaded.card.get("base_sha256") else {}
    if loaded.prior is not None:
        prior = loaded.prior
        made_by_prior = {"step": prior.step, "average": prior.average, "steps": prior.config.sample.steps}
        frozen["prior"] = made_by_prior | {"weights_sha256": sha256(step_folder(prior.root, prior.step) / WEIGHTS)}
    return frozen | {
        "checkpoint": str(loaded.root.resolve()),
        "step": loaded.step,
        "average": loaded.average,
        "weights_sha256": sha256(step_folder(loaded.root, loaded.step) / WEIGHTS),
        "clips_sha256": loaded.card["clips_sha256"],
        "sampling": json.loads(json.dumps(loaded.config.sample.deciding(), default=dict)),
        "seed": request.seed,
        "grid": list(grid),
        "captions": list(request.captions),
        "label": request.label,
        "numbers": dict(request.numbers),
        "first": None,
        "first_path": None,
    }


def given_facts(name: str, path: Path | None, pictures: Sequence[torch.Tensor]) -> dict[str, Any]:
    """The hash of all pixels of what was given, in order, and where it lay; nothing where there is none."""
    if path is None:
        return {}
    return {name: _joined_sha256(pictures), f"{name}_path": str(path.resolve())}


def without_places(facts: dict[str, Any]) -> dict[str, Any]:
    """What made the videos, wherever checkpoint and given frames lie: they are told by their hashes."""
    return {key: value for key, value in facts.items() if key not in _PLACES}


def made_by(facts: dict[str, Any]) -> str:
    """sha256 of what all videos of a folder have in common: a video's id knows what it was given, and no other was."""
    decisive = without_places(facts) | {name: None for name in _GIVEN if name in facts}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def before_sha256(facts: dict[str, Any]) -> str:
    """Of all that decides the videos of the stage before."""
    return hashlib.sha256(json.dumps(without_places(facts), sort_keys=True).encode()).hexdigest()


def clip_id(made: str, prompt: Prompt) -> str:
    """The same videos have the same ids on any machine, so that `evaluate` takes them in the same order."""
    own: tuple[str, ...] = ("" if prompt.first is None else pixels_sha256(prompt.first),)
    own += tuple(f"{name} {pixels_sha256(given)}" for name, given in _later(prompt) if given is not None)
    own += (f"before {prompt.before}",) if prompt.before else ()
    return hashlib.sha256(":".join((made, str(prompt.index), *own)).encode()).hexdigest()[:32]


def pixels_sha256(picture: torch.Tensor) -> str:
    """Of uint8 pixels, of any shape."""
    return hashlib.sha256(picture.numpy().tobytes()).hexdigest()


def _later(prompt: Prompt) -> Iterable[tuple[str, torch.Tensor | None]]:
    return (("last", prompt.last), ("reference", prompt.reference), ("edit", prompt.video))


def _joined_sha256(pictures: Sequence[torch.Tensor]) -> str:
    return hashlib.sha256("".join(map(pixels_sha256, pictures)).encode()).hexdigest()
