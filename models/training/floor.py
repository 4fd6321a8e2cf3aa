"""`models floor`: what samples are to be compared with. Training windows, the same through the latents and back, and
windows of held-out clips, as sets that `evaluate` reads.
"""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from clipmill.curate.common.files import beside, write_table, write_text
from clipmill.curate.common.log import Tell, progress, say
from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.models.autoencoder_for import checkpoint_autoencoder
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.pieces import Pieces
from clipmill.models.config import ModelConfig, from_dict
from clipmill.models.generate.files import write_mp4, write_sheet
from clipmill.models.generate.loading import read_card
from clipmill.models.generate.sampling import as_bytes
from clipmill.models.pixels import as_floats
from clipmill.models.processes import sole, start
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.buckets import make_buckets
from clipmill.models.training.data.windows import Windows
from clipmill.models.training.run_card import clips_sha256

TRAINED, WINDOWS, LATENTS, HELD_OUT, FACTS = "trained.npy", "windows", "latents", "held-out", "floor.json"
_MOST, _MOST_BYTES, _BATCH, _SHEET_VIDEOS = 2048, 256 * 2**20, 8, 16


def write_floor(checkpoint: Path, out: Path, count: int, tell: Tell = say) -> None:
    """OUT/windows, latents and held-out: `count` videos each, or as many as there are; floor.json: the command;
    trained.npy: uint8 [N, T, H, W, 3], every window that was trained on, of the shape that most clips have, up to 2,048
    of them or 256 MiB. The files have the rate that samples have. Raises UserError, one line, where the run or the
    checkpoint is not as it was, and for a folder that holds something.
    """
    processes = start("auto")
    with sole(out, processes):
        card = read_card(checkpoint)
        config, run = from_dict(card["config"]), Path(str(card["run"]))
        if config.trains != "diffusion":
            raise UserError(f"{checkpoint} holds an autoencoder: give a model that was trained on its latents")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} exists: choose another --out")
        autoencoder = checkpoint_autoencoder(checkpoint).to(processes.device)
        if not autoencoder.decodes:
            raise UserError(f"{checkpoint} makes embeddings, of which no video comes: give a model that makes videos")
        every = _every(_windows(run, config, config.data.where, autoencoder, str(card["clips_sha256"])))
        chosen = _spread(every, count)
        sets = {WINDOWS: chosen, LATENTS: _through(autoencoder, chosen, processes.device)}
        sets[HELD_OUT] = _spread(_others(run, config, autoencoder, tell), count)
        words = ("models", "floor", str(checkpoint.resolve()), "--n", str(count), "--out", str(out.resolve()))
        out.parent.mkdir(parents=True, exist_ok=True)
        with beside(out, synced=True) as folder:
            folder.mkdir()
            for name, videos in sets.items():
                _write(folder / name, videos, config.sample.fps or float(card.get("fps", 8.0)), tell)
            _write_array(folder / TRAINED, every)
            write_text(folder / FACTS, json.dumps({"command": shlex.join(words)}), synced=True)
    tell(
        f"{len(every)} training windows in {out}; how far a folder of samples is from them: evaluate run"
        f" {out / TRAINED} SAMPLES --metrics nearest --set clip_frames={len(chosen[0])}; compare with the same of"
        f" {out / HELD_OUT}"
    )


def _others(run: Path, config: ModelConfig, autoencoder: VideoAutoencoder, tell: Tell) -> list[torch.Tensor]:
    """Windows of clips that were not trained on; none, and that is told, where there are none."""
    try:
        return _every(_windows(run, _without_more(config), config.data.validation_where, autoencoder))
    except UserError as error:
        tell(f"no held-out windows: {error}")
        return []


def _without_more(config: ModelConfig) -> ModelConfig:
    """As `Validation` reads clips, but with several windows of each."""
    return replace(config, data=replace(config.data, flip=False, image_share=0.0, tokens=None, batch=1))


def _windows(
    run: Path, config: ModelConfig, where: str, autoencoder: VideoAutoencoder, clips: str | None = None
) -> Windows:
    """The windows that a training with this config reads, without single frames. clips: hash of what was trained on.
    Raises UserError where the run no longer holds that.
    """

    def tokens(grid: tuple[int, int, int]) -> int:
        return int(np.prod(autoencoder.latent_grid(grid)))

    buckets = make_buckets(read_exported(RunDir(run)), where, config.data, tokens)
    if clips is not None and clips_sha256(buckets) != clips:
        raise UserError(f"{run} no longer holds the clips that the model was trained on: restore the run")
    data, whole = replace(config.data, images_per_clip=0), [replace(bucket, crop=None) for bucket in buckets.buckets]
    return Windows(run, buckets.table, whole, data, config.train.seed)


def _every(windows: Windows) -> list[torch.Tensor]:
    """uint8 [T, 3, H, W] each, all of one shape, a window of each clip, then another of each. Those that take the place
    of a clip that does not decode are left out.
    """
    clips = [(n, row) for n, bucket in enumerate(windows.buckets) if not bucket.images for row in bucket.rows]
    grid = Counter(windows.buckets[number].grid for number, _ in clips).most_common(1)[0][0]
    clips = [(number, row) for number, row in clips if windows.buckets[number].grid == grid]
    most = max(1, min(_MOST, _MOST_BYTES // (3 * int(np.prod(grid)))))
    rounds = windows.config.windows or -(-most // len(clips))
    draws = [Draw(number, row, epoch, 0) for epoch in range(rounds) for number, row in clips][:most]
    # By clip, which is decoded once for all its windows; then by round again.
    order = sorted(range(len(draws)), key=lambda place: draws[place].row)
    found = {place: windows[draws[place]] for place in order}
    return [w.video for place in range(len(draws)) if not (w := found[place]).failed and w.video is not None]


def _spread(videos: Sequence[torch.Tensor], count: int) -> list[torch.Tensor]:
    """`count` of them, or all, evenly."""
    places = np.linspace(0, len(videos) - 1, min(count, len(videos))).round().astype(int)
    return [videos[place] for place in dict.fromkeys(places.tolist())]


@torch.no_grad()
def _through(autoencoder: VideoAutoencoder, videos: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Encoded and decoded again, without any network between."""
    pieces, found = Pieces(autoencoder), []
    for at in range(0, len(videos), _BATCH):
        some = as_floats(torch.stack(list(videos[at : at + _BATCH])).to(device))
        found += list(pieces.decode(pieces.encode(some).mean, as_bytes))
    return found


def _write(folder: Path, videos: Sequence[torch.Tensor], fps: float, tell: Tell) -> None:
    """mp4s, their manifest and a contact sheet; nothing for no video. A window has one name in every set: for pairs."""
    if not videos:
        return
    folder.mkdir()
    rows = []
    with progress(folder.name, len(videos), "videos", tell) as bar:
        for number, video in enumerate(videos):
            path = folder / f"{number:06d}.mp4"
            write_mp4(path, video, fps)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            rows.append({"clip_id": path.stem, "path": path.name, "sha256": digest})
            bar.advance()
    write_table(folder / "manifest.parquet", pa.Table.from_pylist(rows))
    write_sheet(folder / "sheet.png", videos[:_SHEET_VIDEOS])


def _write_array(path: Path, videos: Sequence[torch.Tensor]) -> None:
    with beside(path, synced=True) as temporary, temporary.open("wb") as file:
        np.save(file, torch.stack(list(videos)).permute(0, 1, 3, 4, 2).numpy())
