"""Latents of windows, encoded once: shards of safetensors, found by clip and window number.

    CACHE/<key>/<hash of the windows in it>-<hash of its bytes>.safetensors

The key is of everything that decides what a latent is: the autoencoder's weights, the seed of the windows, stride and
mirroring; frames, size and the content of the clip's file are in a tensor's name. Clips that a later query adds, or
that were exported anew, are encoded into further shards; a shard that is damaged is made again.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from clipmill.curate.common.content import Digests
from clipmill.curate.common.log import Tell, silent
from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.processes import Processes
from clipmill.models.settings.training import DataConfig
from clipmill.models.stop_signals import StopAsked
from clipmill.models.tensor_files import write_tensors
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.encoding import Encoding
from clipmill.models.training.data.windows import Window, Windows

_PER_SHARD = 256
_PER_BATCH = 8
# Batches. Asking makes processes wait for each other: not after every one.
_ASK_EVERY = 8
# Raise when the way from a clip to a window changes.
_VERSION = 2


def cache_key(weights_sha256: str, config: DataConfig, seed: int, frames: FramesConfig) -> str:
    """16 hex digits. The query is not in it: other clips of the same kind share the cache. frames: counts where the
    latents of what is given lie beside those of the video.
    """
    facts = {"weights": weights_sha256, "stride": config.stride, "flip": config.flip, "seed": seed, "version": _VERSION}
    given: dict[str, Any] = {"given": frames.made_by} if frames.needs_pixels else {}
    given |= {} if config.crop is None else {"crop": config.crop}
    return hashlib.sha256(json.dumps(facts | given, sort_keys=True).encode()).hexdigest()[:16]


class LatentCache:
    """A `WindowSource` that reads latents; `fill` first."""

    def __init__(self, folder: Path, windows: Windows, tell: Tell = silent) -> None:
        self._folder, self._windows, self._tell = folder, windows, tell
        self._files: dict[Path, Any] = {}
        self._where: dict[str, Path] = {}
        self._uncertain: set[str] = set()
        self._failed: dict[str, str] = {}

    def fill(
        self,
        encoding: Encoding,
        device: torch.device,
        processes: Processes,
        told: Callable[[int, int], None],
        asked: StopAsked,
    ) -> dict[str, str]:
        """Encodes what is missing, this process its share, until a signal asks; what is encoded by then is kept. told:
        (done, of) windows. Returns clips that do not decode -> reason.
        """
        self._index()
        missing = [draw for draw in self._wanted() if self._name(draw) not in self._where]
        shards = [missing[start : start + _PER_SHARD] for start in range(0, len(missing), _PER_SHARD)]
        done, mine = 0, processes.share(shards)
        # Processes have unequal shares but must ask equally often.
        turns = max(processes.gathered(sum(-(-len(draws) // _PER_BATCH) for draws in mine)))
        if mine:
            told(0, sum(map(len, mine)))
        with contextlib.closing(self._encoding(mine, encoding, device)) as batches:
            for turn in range(turns):
                if turn % (_ASK_EVERY if processes.world > 1 else 1) == 0 and asked.told(processes):
                    break
                done += next(batches, 0)
                told(done, sum(map(len, mine)))
        processes.barrier()
        for failures in processes.gathered(self._failed):
            self._failed |= failures
        self._index()
        return self._failed

    def progress(self) -> str:
        """How many windows are encoded, of all that are wanted: "512 of 4000"."""
        wanted = [self._name(draw) for draw in self._wanted()]
        return f"{sum(name in self._where for name in wanted)} of {len(wanted)}"

    def __getitem__(self, draw: Draw) -> Window:
        """As `Windows` would choose it, a clip that did not decode replaced likewise. Raises UserError where none of
        the bucket did.
        """
        rows = self._windows.buckets[draw.bucket].rows
        failed: list[tuple[str, str]] = []
        first = self._windows.places[draw.bucket][draw.row]
        for place in range(first, first + len(rows)):
            row = rows[place % len(rows)]
            chosen = Draw(draw.bucket, row, draw.epoch, draw.index)
            name = self._name(chosen)
            if name in self._where:
                return self._read(chosen, name, tuple(failed))
            clip_id = self._windows.clip_id(row)
            failed.append((clip_id, self._failed.get(clip_id, "it does not decode")))
        raise UserError(f"no clip of the bucket {self._windows.buckets[draw.bucket]} decodes: {failed[0][1]}")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_files": {}, "_tell": silent}

    def _wanted(self) -> Iterator[Draw]:
        count = self._windows.config.windows or 1
        for number, bucket in enumerate(self._windows.buckets):
            for row in bucket.rows:
                yield from (Draw(number, row, epoch, 0) for epoch in range(count))

    def _name(self, draw: Draw) -> str:
        bucket = self._windows.buckets[draw.bucket]
        shape = f"{bucket.frames}x{bucket.height_px}x{bucket.width_px}"
        content = self._windows.content(draw.row)
        return f"{shape}/{self._windows.clip_id(draw.row)}/{content}/{self._windows.number(draw)}"

    def _index(self) -> None:
        for path in self._whole_shards():
            for key in self._open(path).keys():  # noqa: SIM118 - not a mapping
                name, _, part = key.rpartition("/")
                self._where[name] = path
                if part == "std":
                    self._uncertain.add(name)

    def _whole_shards(self) -> list[Path]:
        """Those whose bytes are what was written; the others go, so that their windows are encoded again."""
        digests, whole, damaged = Digests(self._folder / ".content", self._tell), [], 0
        for path in sorted(self._folder.glob("*-*.safetensors")):
            try:
                if path in self._files or digests.of(path).sha256.startswith(path.stem.rpartition("-")[2]):
                    whole.append(path)
                    continue
            except FileNotFoundError:  # another process has seen that it is damaged
                continue
            path.unlink(missing_ok=True)
            damaged += 1
        digests.save()
        if damaged:
            self._tell(f"{damaged} damaged files of cached latents in {self._folder} are made again")
        return whole

    def _open(self, path: Path) -> Any:
        if path not in self._files:
            try:
                self._files[path] = safe_open(str(path), "pt")
            except (OSError, SafetensorError) as error:
                raise UserError(
                    f"the cached latents {path} are broken ({error}): delete the file, it is made again"
                ) from error
        return self._files[path]

    def _encoding(self, shards: Sequence[Sequence[Draw]], encoding: Encoding, device: torch.device) -> Generator[int]:
        """The number of windows of each batch, when it is encoded. Left early, it writes the shard as far as it is."""
        for draws in shards:
            tensors: dict[str, torch.Tensor] = {}
            try:
                for start in range(0, len(draws), _PER_BATCH):
                    some = draws[start : start + _PER_BATCH]
                    for size in sorted({self._windows.buckets[draw.bucket].grid for draw in some}):
                        tensors |= self._encoded(
                            [d for d in some if self._windows.buckets[d.bucket].grid == size], encoding, device
                        )
                    yield len(some)
            finally:
                self._write(tensors)

    def _write(self, tensors: dict[str, torch.Tensor]) -> None:
        if not tensors:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256("\n".join(sorted(tensors)).encode()).hexdigest()[:16]
        partial = self._folder / f".{name}.{os.getpid()}"
        try:
            write_tensors(partial, tensors)
            digest = Digests().of(partial).sha256[:16]
            partial.rename(self._folder / f"{name}-{digest}.safetensors")
        finally:
            partial.unlink(missing_ok=True)

    @torch.no_grad()
    def _encoded(self, draws: Sequence[Draw], encoding: Encoding, device: torch.device) -> dict[str, torch.Tensor]:
        good = []
        for draw in draws:
            window = self._windows[draw]
            self._failed |= dict(window.failed)
            if not window.failed and window.video is not None:
                good.append((self._name(draw), window.video))
        if not good:
            return {}
        posterior = encoding(torch.stack([video for _, video in good]).to(device))
        certain = not bool(posterior.std.any())
        found = {f"{name}/mean": mean.clone() for (name, _), mean in zip(good, posterior.mean.cpu(), strict=True)}
        return (
            found
            if certain
            else found | {f"{n}/std": std.clone() for (n, _), std in zip(good, posterior.std.cpu(), strict=True)}
        )

    def _read(self, draw: Draw, name: str, failed: tuple[tuple[str, str], ...]) -> Window:
        file = self._open(self._where[name])
        mean = file.get_tensor(f"{name}/mean")
        std = file.get_tensor(f"{name}/std") if name in self._uncertain else torch.zeros_like(mean)
        bucket, caption = self._windows.buckets[draw.bucket], self._windows.caption(draw.row, draw.epoch)
        clip_id = self._windows.clip_id(draw.row)
        return Window(
            draw.row, None, Posterior(mean, std), clip_id, self._windows.number(draw), caption, bucket.fps, failed
        )
