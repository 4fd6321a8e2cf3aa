"""Validation loss: the same clips, windows, noise and noise levels every time, for the weights and for their
average.
"""

from dataclasses import replace
from typing import Any

import torch

from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.models.pixels import as_floats
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.buckets import make_buckets
from clipmill.models.training.data.loader import Loader
from clipmill.models.training.data.windows import Windows
from clipmill.models.training.session import Session


class Validation:
    """Up to `train.validation_clips` clips that `data.validation_where` finds, one window each."""

    def __init__(self, session: Session) -> None:
        """Raises UserError where there is no clip to validate on."""
        config = session.config.data
        data = replace(config, windows=1, flip=False, cache="none", image_share=0.0, tokens=None, batch=1)
        manifest = read_exported(RunDir(session.run))
        found = make_buckets(manifest, config.validation_where, data, session.objective.tokens)
        self._session, self._buckets = session, found
        windows = Windows(session.run, found.table, found.buckets, data, session.config.train.seed)
        self._loader = Loader(
            windows, found.table, found.buckets, session.plan, session.loader.facts, data.images_per_clip
        )
        self._windows = windows
        self._draws = self._chosen(session.config.train.validation_clips)

    def videos(self, count: int) -> list[torch.Tensor]:
        """One window each of the first clips that validation reads, float [1, T, 3, H, W] in [-1, 1]."""
        found = [self._windows[draw].video for draw in self._draws[:count]]
        return [as_floats(video[None]) for video in found if video is not None]

    def measure(self) -> dict[str, Any]:
        """Mean losses, and per bin of noise levels from quiet to noisy. Every process does its share and has the whole
        result.
        """
        trainer = self._session.trainer
        with trainer.evaluating():
            found = self._losses("validation")
        average = trainer.averages[0]
        with trainer.evaluating(average):
            found |= self._losses(f"validation_average_{average.std:.3f}")
        return found

    def _chosen(self, count: int) -> list[Draw]:
        """Clips by turns from all buckets, so that each is represented."""
        rows = [[Draw(number, row, 0, 0) for row in bucket.rows] for number, bucket in enumerate(self._buckets.buckets)]
        turns = [draw for place in range(max(map(len, rows))) for some in rows for draw in some[place : place + 1]]
        return [replace(draw, index=index) for index, draw in enumerate(turns[:count])]

    def _even(self) -> list[tuple[Draw, int]]:
        """Draws with 1, and with 0 as many more as give every process the same number: weights that are spread over
        processes come together for a pass of all of them, so one pass less in one of them would never end.
        """
        more = -len(self._draws) % self._session.processes.world
        return [(draw, 1) for draw in self._draws] + [(self._draws[-1], 0)] * more

    def _losses(self, name: str) -> dict[str, Any]:
        session, bins = self._session, self._session.config.train.validation_bins
        total, clips = torch.zeros(bins, dtype=torch.float64), 0
        for draw, counts in session.processes.share(self._even()):
            batch = self._loader.collate([draw], [self._windows[draw]])
            total += counts * session.objective.validation(batch, bins).sum(dim=0)
            clips += counts
        summed = session.processes.sum(torch.cat([total, torch.tensor([float(clips)], dtype=torch.float64)]))
        means = (summed[:-1] / summed[-1]).tolist()
        return {f"{name}_loss": sum(means) / bins, f"{name}_loss_by_level": means}


def validation_of(session: Session) -> Validation | str:
    """Or the reason why there is none."""
    if not session.config.train.validate_every:
        return "validate_every is 0"
    try:
        return Validation(session)
    except UserError as error:
        return str(error)
