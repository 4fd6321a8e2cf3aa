"""Batches in the order of the plan, read ahead of the training step."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from clipmill.curate.dataset import leave_at_once
from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.processes import Processes
from clipmill.models.training.data.batch import VideoBatch, packed_batch
from clipmill.models.training.data.batch_plan import BatchPlan, Draw
from clipmill.models.training.data.buckets import Bucket
from clipmill.models.training.data.windows import Window

_AHEAD = 2


class WindowSource(Protocol):
    """Windows of clips, from the shards or from the cache of latents."""

    def __getitem__(self, draw: Draw) -> Window: ...


@dataclass(frozen=True)
class Facts:
    """What a batch says of its clips beside their pixels. columns: of the manifest, as numbers; `fps` and `aspect`
    (width / height) are those of the window. label: column with the class, or "".
    """

    columns: tuple[str, ...] = ()
    label: str = ""

    def check(self, table: pd.DataFrame) -> None:
        """Raises UserError for a column that the manifest does not have, or not as numbers."""
        for name in (*(c for c in self.columns if c not in ("fps", "aspect")), *([self.label] if self.label else [])):
            if name not in table:
                raise UserError(
                    f"the manifest has no column {name!r} to condition on; take it out of the preset with --set"
                )
        for name in self.columns:
            if name in table and not pd.api.types.is_numeric_dtype(table[name]):
                raise UserError(f"the column {name!r} does not hold numbers: it cannot be micro-conditioning")

    def numbers(self, table: pd.DataFrame, windows: Sequence[Window], bucket: Bucket) -> dict[str, torch.Tensor]:
        """Column -> float32 [B], NaN for unknown."""
        own = {"fps": [w.fps for w in windows], "aspect": [bucket.width_px / bucket.height_px] * len(windows)}
        return {
            name: _floats(own[name] if name in own else table[name].iloc[[w.row for w in windows]])
            for name in self.columns
        }

    def labels(self, table: pd.DataFrame, windows: Sequence[Window]) -> tuple[str | None, ...]:
        """B classes as text, None for unknown; None throughout where no column is chosen."""
        if not self.label:
            return (None,) * len(windows)
        values: list[Any] = [table[self.label].iat[w.row] for w in windows]
        return tuple(None if pd.isna(value) else str(value) for value in values)


class Loader:
    """Iterate `batches(step)`: this process's share of every step from `step` on, without end."""

    def __init__(
        self,
        source: WindowSource,
        table: pd.DataFrame,
        buckets: Sequence[Bucket],
        plan: BatchPlan,
        facts: Facts,
        images_per_clip: int = 0,
    ) -> None:
        self._source, self._table, self._buckets, self._plan, self.facts = source, table, tuple(buckets), plan, facts
        self._images = images_per_clip

    def batches(self, step: int, processes: Processes, workers: int) -> Iterator[VideoBatch]:
        """workers: processes that read; 0 for a thread of this one. Raises UserError where no clip of a bucket
        decodes.
        """
        read = self._by_thread(step, processes) if workers == 0 else self._by_workers(step, processes, workers)
        for draws, windows in read:
            yield self.collate(draws, windows, processes.world)

    def collate(self, draws: Sequence[Draw], windows: Sequence[Window], world: int = 1) -> VideoBatch:
        """The batch of these windows, with as many more in each other process."""
        together = zip(draws, windows, strict=True)
        by_bucket = [list(some) for _, some in groupby(together, key=lambda pair: pair[0].bucket)]
        return packed_batch(
            [self._of_one_bucket([d for d, _ in some], [w for _, w in some], world) for some in by_bucket]
        )

    def _of_one_bucket(self, draws: Sequence[Draw], windows: Sequence[Window], world: int) -> VideoBatch:
        bucket = self._buckets[draws[0].bucket]
        videos = [w.video for w in windows if w.video is not None]
        latents = [w.latents for w in windows if w.latents is not None]
        video = torch.stack(videos) if videos else None
        return VideoBatch(
            bucket=draws[0].bucket,
            size=len(draws) * world,
            indices=tuple(draw.index for draw in draws),
            clip_ids=tuple(w.clip_id for w in windows),
            video=video,
            latents=Posterior(*(torch.stack(part) for part in zip(*latents, strict=True))) if latents else None,
            captions=tuple(w.caption for w in windows),
            numbers=self.facts.numbers(self._table, windows, bucket),
            labels=self.facts.labels(self._table, windows),
            independent=_independent(video, bucket, self._images),
            failed=tuple(failure for w in windows for failure in w.failed),
        )

    def _draws(self, step: int, processes: Processes) -> Iterator[list[Draw]]:
        while True:
            yield processes.share(self._plan.batch(step))
            step += 1

    def _by_thread(self, step: int, processes: Processes) -> Iterator[tuple[list[Draw], list[Window]]]:
        draws = self._draws(step, processes)
        with ThreadPoolExecutor(1) as thread:
            waiting: list[tuple[list[Draw], Future[list[Window]]]] = []
            try:
                while True:
                    while len(waiting) < _AHEAD:
                        some = next(draws)
                        waiting.append(
                            (some, thread.submit(lambda chosen: [self._source[draw] for draw in chosen], some))
                        )
                    chosen, future = waiting.pop(0)
                    yield chosen, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _by_workers(self, step: int, processes: Processes, workers: int) -> Iterator[tuple[list[Draw], list[Window]]]:
        options: dict[str, Any] = {
            "num_workers": workers,
            "multiprocessing_context": "spawn",
            "collate_fn": _as_list,
            "prefetch_factor": _AHEAD,
            "worker_init_fn": leave_at_once,
        }
        pinned = processes.device.type == "cuda"
        draws: Any = _Endless(self, step, processes)
        loader: Any = DataLoader(_Answers(self._source), batch_sampler=draws, pin_memory=pinned, **options)
        for some, answers in zip(self._draws(step, processes), loader, strict=False):
            for answer in answers:
                if isinstance(answer, UserError):
                    raise answer
            yield some, answers


def check_shares(buckets: Sequence[Bucket], processes: Processes) -> None:
    """Raises UserError where a batch does not divide by the processes."""
    wrong = [bucket for bucket in buckets if bucket.batch % processes.world]
    if wrong:
        setting = "data.batch_multiple" if wrong[0].packed else "data.batch"
        raise UserError(
            f"a batch of {wrong[0].batch} ({wrong[0]}) does not divide by {processes.world} processes: set {setting}"
        )


class _Answers(Dataset[Window | UserError]):
    """Windows, or the UserError met on the way to one: raised in a worker, it would arrive with its traceback as its
    text.
    """

    def __init__(self, source: WindowSource) -> None:
        self._source = source

    def __getitem__(self, draw: Draw) -> Window | UserError:
        try:
            return self._source[draw]
        except UserError as error:
            return error


class _Endless:
    """The draws of step after step, as DataLoader wants them."""

    def __init__(self, loader: Loader, step: int, processes: Processes) -> None:
        self._loader, self._step, self._processes = loader, step, processes

    def __iter__(self) -> Iterator[list[Draw]]:
        return self._loader._draws(self._step, self._processes)


def _as_list(answers: list[Window | UserError]) -> list[Window | UserError]:
    return answers


def _floats(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(pd.to_numeric(pd.Series(list(values)), errors="coerce"), dtype=np.float32))


def _independent(video: torch.Tensor | None, bucket: Bucket, images: int) -> torch.Tensor | None:
    """bool [B, T], True for frames that are no part of the clip before them."""
    if bucket.images and video is not None:
        return torch.ones(len(video), 1, dtype=torch.bool)
    if not images or video is None:
        return None
    return (torch.arange(bucket.frames + images) >= bucket.frames).expand(len(video), -1)
