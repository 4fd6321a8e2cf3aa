"""`models sample`: videos, a contact sheet and a manifest that `evaluate` reads."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from clipmill.curate.common.files import read_json, write_table, write_text
from clipmill.curate.common.log import Tell, progress, say
from clipmill.curate.common.memory import check_fits
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.weights import sha256
from clipmill.models.checkpoints.step_files import WEIGHTS, step_folder
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.files import write_mp4, write_sheet
from clipmill.models.generate.loading import Loaded, load
from clipmill.models.generate.prompts import Prompt, draw_prompts, first_frames
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.embeddings import TimeEmbedding
from clipmill.models.layers.plan import Grid
from clipmill.models.pixels import as_floats, standardised
from clipmill.models.processes import Processes, sole, start
from clipmill.models.settings.training import size_px

MANIFEST, FACTS, SHEET = "manifest.parquet", "sampling.json", "sheet.png"
_SHEET_VIDEOS = 16


@dataclass(frozen=True)
class Request:
    """What was asked for. captions: by turns; none: the training clips'. numbers: micro-conditioning. first: a picture,
    video or folder to begin with. frames, size ("HEIGHTxWIDTH", px): None for what the model was trained on first.
    step: of which checkpoint, None: the last. average: relative width of the weights' average, 0 for the last weights.
    """

    count: int = 16
    seed: int = 0
    captions: tuple[str, ...] = ()
    label: str | None = None
    numbers: tuple[tuple[str, float], ...] = ()
    first: Path | None = None
    frames: int | None = None
    size: str | None = None
    step: int | None = None
    average: float | None = None


def sample(
    checkpoint: Path, out: Path, request: Request, overrides: Sequence[str], device: str, tell: Tell = say
) -> None:
    """Files that are there already are kept: an interrupted command goes on, and fewer videos than before take none
    away. Raises UserError, one line.
    """
    processes = start(device)
    with sole(out, processes):
        _sample(checkpoint, out, request, overrides, processes, tell)


def _sample(
    checkpoint: Path, out: Path, request: Request, overrides: Sequence[str], processes: Processes, tell: Tell
) -> None:
    loaded = load(checkpoint, request.step, request.average, tuple(overrides))
    grid = _grid(loaded, request)
    _check_length(loaded, grid)
    first = first_frames(request.first, grid[1], grid[2]) if request.first else []
    _check_first(loaded, bool(first))
    wanted = _prompts(loaded, request, request.count, first)
    at_once = min(request.count, loaded.config.sample.batch)
    remedy = "choose a smaller --size, fewer --frames or a smaller sample.batch"
    check_fits(4.0 * 3 * at_once * grid[0] * grid[1] * grid[2], "what is sampled at once", remedy)
    facts = _facts(loaded, request, grid, first)
    _prepare(out, facts)
    fps = loaded.config.sample.fps or float(loaded.card.get("fps", 8.0))
    missing = [prompt for prompt in wanted if not _is_whole(out / _name(prompt), grid[0])]
    for path in (out / _name(prompt) for prompt in missing):
        if path.exists():
            tell(f"{path} is damaged: it is made again")
    try:
        generator = loaded.generator(processes.device)
        with progress("sampling", len(wanted), "videos", tell) as bar:
            bar.advance(len(wanted) - len(missing))
            for prompt, video in _made(generator, missing, grid, request.seed):
                write_mp4(out / _name(prompt), video, fps)
                bar.advance()
    except UserError:
        _withdraw(out)
        raise
    there = _all_there(out, loaded, request, first, grid[0])
    _write_manifest(out, there, facts, grid, fps)
    _write_sheet(out, there)
    more = f", {len(there) - len(wanted)} of them from before" if len(there) > len(wanted) else ""
    alike = f"--set clip_frames={grid[0]} --set fps={fps:g}"
    tell(
        f"{len(there)} videos in {out}{more}; look at {out / SHEET}; score them with: evaluate run REAL {out} {alike}"
        " --features mini"
    )


def _prompts(loaded: Loaded, request: Request, count: int, first: Sequence[torch.Tensor]) -> list[Prompt]:
    reads_text = loaded.network.conditioner.text_encoder is not None
    return draw_prompts(
        loaded.root, count, request.seed, request.captions, request.label, dict(request.numbers), first, reads_text
    )


def _all_there(out: Path, loaded: Loaded, request: Request, first: Sequence[torch.Tensor], frames: int) -> list[Prompt]:
    """Of every whole video in the folder, so that folder and manifest agree; `_prepare` has seen that all are of the
    same making, and the prompt of a number is the same however many are asked for.
    """
    indices = {int(path.stem) for path in out.glob("*.mp4") if path.stem.isdecimal()}
    found = _prompts(loaded, request, max(indices) + 1, first)
    return [prompt for prompt in found if prompt.index in indices and _is_whole(out / _name(prompt), frames)]


def _made(
    generator: Generator, wanted: Sequence[Prompt], grid: Grid, seed: int
) -> Iterator[tuple[Prompt, torch.Tensor]]:
    size = generator.config.batch
    for begin in range(0, len(wanted), size):
        some = wanted[begin : begin + size]
        noise = SampleNoise(seed, [prompt.index for prompt in some])
        latent_grid = generator.autoencoder.latent_grid(grid)
        videos = generator.videos(latent_grid, conditions_of(generator, some, latent_grid, noise), noise)
        yield from zip(some, videos, strict=True)


def conditions_of(generator: Generator, wanted: Sequence[Prompt], latent_grid: Grid, noise: SampleNoise) -> Conditions:
    """On the generator's device; with a first frame where the prompts have one."""
    conditioner = generator.network.conditioner
    names = list(wanted[0].numbers)
    numbers = {name: torch.tensor([prompt.numbers[name] for prompt in wanted], dtype=torch.float32) for name in names}
    alone = generator.network.knows_images and latent_grid[0] == 1
    independent = torch.ones(len(wanted), 1, dtype=torch.bool) if alone else None
    made = conditioner.conditions([w.caption for w in wanted], numbers, [w.label for w in wanted], independent)
    made = made.map(lambda tensor: tensor.to(generator.device))
    frames = [prompt.first for prompt in wanted if prompt.first is not None]
    if not frames:
        return made
    pictures = as_floats(torch.stack(frames)[:, None].to(generator.device))
    known = standardised(generator.autoencoder.encode(pictures).mean, generator.autoencoder)
    return conditioner.with_known_frames(made, known, latent_grid[0], noise)


def _check_first(loaded: Loaded, given: bool) -> None:
    """Raises UserError where the model continues a first frame and there is none, or the other way round."""
    continues = bool(loaded.network.conditioner.frame_channels)
    if given and not continues:
        raise UserError("this model does not continue frames: leave --first out")
    if continues and not given:
        raise UserError("this model continues a first frame: give --first PICTURE, VIDEO or FOLDER")


def _grid(loaded: Loaded, request: Request) -> Grid:
    data = loaded.config.data
    try:
        height, width = size_px(request.size or data.sizes[0])
    except ValueError as error:
        raise UserError(str(error)) from error
    return request.frames or max(data.frames), height, width


def _check_length(loaded: Loaded, grid: Grid) -> None:
    """Raises UserError for more frames than the model has learned positions of, where it has a table of them."""
    data, latents = loaded.config.data, loaded.autoencoder.latent_grid
    tables = [part for part in loaded.network.modules() if isinstance(part, TimeEmbedding) and part.table is not None]
    longest = max(data.frames)
    if tables and latents(grid)[0] > latents((longest, *grid[1:]))[0]:
        raise UserError(
            f"this model has learned the places of {longest} frames, not of {grid[0]}: take --frames {longest} or"
            " fewer, or train with longer data.frames, or with backbone.options.time_positions=rotary"
        )


def _facts(loaded: Loaded, request: Request, grid: Grid, first: Sequence[torch.Tensor]) -> dict[str, Any]:
    """What decides the videos but for their number; the lineage of each of them. weights_sha256: of the step's
    `weights.safetensors`, also where an average made the videos: it tells two trainings in one folder apart. first: of
    the pixels of all first frames, in order.
    """
    sampling = {key: value for key, value in vars(loaded.config.sample).items() if key != "batch"}
    return {
        "checkpoint": str(loaded.root.resolve()),
        "step": loaded.step,
        "average": loaded.average,
        "weights_sha256": sha256(step_folder(loaded.root, loaded.step) / WEIGHTS),
        "clips_sha256": loaded.card["clips_sha256"],
        "sampling": json.loads(json.dumps(sampling, default=dict)),
        "seed": request.seed,
        "grid": list(grid),
        "captions": list(request.captions),
        "label": request.label,
        "numbers": dict(request.numbers),
        "first": hashlib.sha256("".join(map(_frame_sha256, first)).encode()).hexdigest() if first else None,
        "first_path": str(request.first.resolve()) if request.first else None,
    }


def _prepare(out: Path, facts: dict[str, Any]) -> None:
    """Raises UserError where the folder holds videos of another making."""
    path = out / FACTS
    if path.is_file():
        if _without_places(read_json(path)) != _without_places(facts):
            raise UserError(f"{out} holds samples of another checkpoint or other settings: choose another --out")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and holds no samples: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(facts, indent=1), synced=True)


def _without_places(facts: dict[str, Any]) -> dict[str, Any]:
    """What made the videos, wherever checkpoint and first frames lie: they are told by their hashes."""
    return {key: value for key, value in facts.items() if key not in ("checkpoint", "first_path")}


def _clip_id(made: str, prompt: Prompt) -> str:
    """The same videos have the same ids on any machine, so that `evaluate` takes them in the same order."""
    first = "" if prompt.first is None else _frame_sha256(prompt.first)
    return hashlib.sha256(f"{made}:{prompt.index}:{first}".encode()).hexdigest()[:32]


def _frame_sha256(frame: torch.Tensor) -> str:
    return hashlib.sha256(frame.numpy().tobytes()).hexdigest()


def _withdraw(out: Path) -> None:
    """Where no video was made, the mended command shall find the folder as it was."""
    if not any(out.glob("*.mp4")):
        (out / FACTS).unlink(missing_ok=True)
        if not any(out.iterdir()):
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


def _name(prompt: Prompt) -> str:
    return f"{prompt.index:06d}.mp4"


def _write_manifest(out: Path, wanted: Sequence[Prompt], facts: dict[str, Any], grid: Grid, fps: float) -> None:
    # A video's id knows its own first frame, and no other's.
    decisive = _without_places(facts) | {"first": None}
    made = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    rows = []
    for prompt in wanted:
        data = (out / _name(prompt)).read_bytes()
        own: dict[str, Any] = {"clip_id": _clip_id(made, prompt), "path": _name(prompt)}
        own |= {
            "sha256": hashlib.sha256(data).hexdigest(),
            "index": prompt.index,
            "caption": prompt.caption,
            "label": prompt.label,
        }
        own |= {f"number_{name}": value for name, value in prompt.numbers.items()}
        own |= {"seed": facts["seed"], "n_frames": grid[0], "height": grid[1], "width": grid[2], "fps": fps}
        own |= {key: facts[key] for key in ("checkpoint", "step", "average", "weights_sha256", "clips_sha256")}
        rows.append(own)
    write_table(out / MANIFEST, pa.Table.from_pylist(rows))


def _write_sheet(out: Path, wanted: Sequence[Prompt]) -> None:
    import numpy as np

    from clipmill.curate.video.open_av import open_av

    videos = []
    for prompt in wanted[:_SHEET_VIDEOS]:
        with open_av(out / _name(prompt)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        videos.append(torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2)))
    write_sheet(out / SHEET, videos)
