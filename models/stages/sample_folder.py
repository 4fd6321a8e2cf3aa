"""A folder of samples: videos, a contact sheet and a manifest that `evaluate` reads."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from clipmill.curate.common.files import read_json, write_table, write_text
from clipmill.curate.common.log import Tell, progress
from clipmill.curate.errors import DecodeError, UserError
from clipmill.models.generate.files import write_mp4, write_sheet
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.stages.facts import clip_id, made_by, without_places
from clipmill.models.stages.work import Work

MANIFEST, FACTS, SHEET = "manifest.parquet", "sampling.json", "sheet.png"
_SHEET_VIDEOS = 16


def write_samples(out: Path, work: Work, device: torch.device, tell: Tell) -> int:
    """Videos that are there already are kept, and fewer than before take none away. Returns how many there are then.
    Raises UserError, one line.
    """
    prepare(out, work.facts)
    for note in work.notes:
        tell(note)
    wanted = work.prompts(work.count)
    missing = [prompt for prompt in wanted if not _is_whole(out / name_of(prompt), work.grid[0])]
    for path in (out / name_of(prompt) for prompt in missing):
        if path.exists():
            tell(f"{path} is damaged: it is made again")
    try:
        generator = work.loaded.generator(device)
        with progress("sampling", len(wanted), "videos", tell) as bar:
            bar.advance(len(wanted) - len(missing))
            for prompt, video in _made(generator, missing, work):
                write_mp4(out / name_of(prompt), video, work.fps, work.lossless)
                bar.advance()
    except UserError:
        withdraw(out)
        raise
    there = _all_there(out, work)
    _write_manifest(out, there, work)
    _write_sheet(out, there)
    return len(there)


def prepare(out: Path, facts: dict[str, Any]) -> None:
    """Raises UserError where the folder holds videos of another making."""
    path = out / FACTS
    if path.is_file():
        # Where no video was made yet, no other making is mixed up with this one.
        if any(out.glob("*.mp4")) and without_places(read_json(path)) != without_places(facts):
            raise UserError(f"{out} holds samples of another checkpoint or other settings: choose another --out")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and holds no samples: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(facts, indent=1), synced=True)


def frames_of(path: Path) -> torch.Tensor:
    """uint8 [T, 3, H, W] of a video that `write_mp4` wrote. Raises DecodeError."""
    from clipmill.curate.video.open_av import open_av

    with open_av(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2))


def name_of(prompt: Prompt) -> str:
    """Of a video's file."""
    return f"{prompt.index:06d}.mp4"


def _made(generator: Generator, wanted: Sequence[Prompt], work: Work) -> Iterator[tuple[Prompt, torch.Tensor]]:
    size = generator.config.batch
    for begin in range(0, len(wanted), size):
        some = wanted[begin : begin + size]
        yield from zip(some, work.make(generator, some, work.noise_of(some)), strict=True)


def _all_there(out: Path, work: Work) -> list[Prompt]:
    """Of every whole video in the folder, so that folder and manifest agree; `prepare` has seen that all are of the
    same making, and the prompt of a number is the same however many are asked for.
    """
    indices = {int(path.stem) for path in out.glob("*.mp4") if path.stem.isdecimal()}
    found = work.prompts(max(indices) + 1)
    return [prompt for prompt in found if prompt.index in indices and _is_whole(out / name_of(prompt), work.grid[0])]


def withdraw(out: Path) -> None:
    """Where nothing was made, the mended command shall find the folder as it was."""
    if out.is_dir() and {path.name for path in out.iterdir()} <= {FACTS}:
        (out / FACTS).unlink(missing_ok=True)
        out.rmdir()


def _is_whole(path: Path, frames: int) -> bool:
    """Whether a video of an earlier command is there with all its frames: not after every loss of power."""
    from clipmill.curate.video.open_av import open_av

    if not path.is_file():
        return False
    try:
        with open_av(path) as container:
            return container.streams.video[0].frames == frames
    except (DecodeError, IndexError):
        return False


def _write_manifest(out: Path, there: Sequence[Prompt], work: Work) -> None:
    facts, (frames, height, width) = work.facts, work.grid
    made = made_by(facts)
    rows = []
    for prompt in there:
        data = (out / name_of(prompt)).read_bytes()
        own: dict[str, Any] = {"clip_id": clip_id(made, prompt), "path": name_of(prompt)}
        own |= {
            "sha256": hashlib.sha256(data).hexdigest(),
            "index": prompt.index,
            "caption": prompt.caption,
            "label": prompt.label,
        }
        own |= {f"number_{name}": value for name, value in prompt.numbers.items()}
        own |= {"seed": facts["seed"], "n_frames": frames, "height": height, "width": width, "fps": work.fps}
        own |= {key: facts[key] for key in ("checkpoint", "step", "average", "weights_sha256", "clips_sha256")}
        rows.append(own)
    write_table(out / MANIFEST, pa.Table.from_pylist(rows))


def _write_sheet(out: Path, there: Sequence[Prompt]) -> None:
    write_sheet(out / SHEET, [frames_of(out / name_of(prompt)) for prompt in there[:_SHEET_VIDEOS]])
