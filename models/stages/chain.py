"""Several stages: each reads the videos of the one before it, from a folder of its own."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from clipmill.curate.common.files import write_text
from clipmill.curate.common.log import Tell
from clipmill.curate.errors import UserError
from clipmill.models.generate.loading import Loaded, load
from clipmill.models.generate.sampling import check_sampling
from clipmill.models.stages.following import following
from clipmill.models.stages.plan import plan
from clipmill.models.stages.request import Request
from clipmill.models.stages.sample_folder import prepare, withdraw, write_samples
from clipmill.models.stages.work import Work
from clipmill.models.zero_shot.network_changes import check_changes

CHAIN, STAGES = "chain.json", "stages"
Stage = tuple[Path, Work]


def stages_of(first: Loaded, request: Request, out: Path) -> list[Stage]:
    """(folder, work) of every stage, the last in `out` itself. Raises UserError where one does not fit."""
    checkpoints = [first, *(load(then.checkpoint, None, None, then.settings) for then in request.then)]
    for loaded in checkpoints:
        check_sampling(loaded.config.sample, loaded.autoencoder, loaded.config.conditioning)
        check_changes(loaded.network, loaded.config.sample)
    names = [f"{number}-{loaded.root.resolve().name}" for number, loaded in enumerate(checkpoints, 1)]
    folders = [*(out / STAGES / name for name in names[:-1]), out]
    works = [plan(first, request)]
    for number, loaded in enumerate(checkpoints[1:], 1):
        works.append(following(works[-1], folders[number - 1], loaded, number))
    lossless = [replace(work, lossless=work is not works[-1]) for work in works]
    return list(zip(folders, lossless, strict=True))


def write_stages(stages: Sequence[Stage], device: torch.device, tell: Tell) -> int:
    """All of them, one after another, and the manifest of all. Returns how many videos the last has then. Raises
    UserError, one line.
    """
    out, last = stages[-1]
    counts: list[int] = []
    try:
        prepare(out, last.facts)
        for number, (folder, work) in enumerate(stages, 1):
            if len(stages) > 1:
                tell(_words(number, folder, work))
            counts.append(write_samples(folder, work, device, tell))
            work.loaded.network.to("cpu")
    except UserError:
        with suppress(OSError):  # not empty: a stage is there
            (out / STAGES).rmdir()
        withdraw(out)
        raise
    if len(stages) > 1:
        rows = [_row(out, stage, count) for stage, count in zip(stages, counts, strict=True)]
        write_text(out / CHAIN, json.dumps({"stages": rows}, indent=1), synced=True)
    return counts[-1]


def _row(out: Path, stage: Stage, count: int) -> dict[str, Any]:
    folder, work = stage
    return {"folder": str(folder.relative_to(out)), "videos": count, "fps": work.fps, **work.facts}


def _words(number: int, folder: Path, work: Work) -> str:
    frames, height, width = work.grid
    gets = f", given {work.facts['gets']}" if "gets" in work.facts else ""
    made = f"{work.count} videos of {frames} frames of {height}x{width} px, {work.fps:g} fps"
    return f"stage {number}, {work.loaded.root}{gets}: {made}, in {folder}"
