"""The training loop on a model of two numbers: what it does when gradients are not finite, memory ends, or time is
over.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.processes import Processes
from clipmill.models.settings.training import TrainConfig
from clipmill.models.stop_signals import StopAsked
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.data.buckets import Bucket
from clipmill.models.training.loop import Diverged, Hooks, Trainer
from clipmill.models.training.objectives.base import Losses, Objective
from clipmill.models.training.optimiser import rate_share
from clipmill.models.training.telemetry import Telemetry

BUCKET = Bucket(4, 8, 8, 8.0, (0, 1), 6)


class Line(Objective):
    """Learns y = 3 x from samples numbered by their index; `broken` in whose place a step's loss is not a number;
    `hungry` for memory.
    """

    def __init__(self, broken: tuple[int, ...] = (), hungry: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.broken, self.hungry = broken, hungry

    def parameters_of(self, player: str) -> Iterable[tuple[str, nn.Parameter]]:
        return self.named_parameters()

    def forward(self, player: str, batch: VideoBatch, step: int) -> Losses:
        if self.hungry:
            torch.empty(2**60)
        x = torch.tensor(batch.indices, dtype=torch.float64) % 5 / 5
        each = (self.weight * x - 3 * x).square()
        if step in self.broken:
            each = each * float("nan")
        return Losses(each, {"loss": each.detach()})

    def validation(self, batch: VideoBatch, bins: int) -> torch.Tensor:
        return torch.zeros(len(batch), bins)

    def blocks(self) -> list[nn.Module]:
        return []

    def flops(self, grid: tuple[int, int, int]) -> int:
        return 1

    def tokens(self, grid: tuple[int, int, int]) -> int:
        return 1


def batches(step: int = 0) -> Iterator[VideoBatch]:
    while True:
        indices = tuple(range(6 * step, 6 * step + 6))
        yield VideoBatch(0, 6, indices, ("c",) * 6, torch.zeros(6, 1), None, ("",) * 6, {}, (None,) * 6)
        step += 1


def trainer(tmp_path: Path, objective: Line | None = None, **settings: object) -> Trainer:
    config = TrainConfig(
        **{"steps": 10, "learning_rate": 0.1, "warm_up": 0, "log_every": 1, "clip_norm": 0.0} | settings
    )  # type: ignore[arg-type]
    processes = Processes(0, 1, torch.device("cpu"))
    return Trainer(
        objective or Line(), config, processes, (BUCKET,), Telemetry(tmp_path / "log.jsonl", processes.device, True)
    )


def run(some: Trainer, logged: list[dict] | None = None) -> str | None:
    def nothing() -> None:
        pass

    hooks = Hooks((logged if logged is not None else []).append, nothing, nothing, nothing, nothing)
    return some.run(batches(some.progress.step), hooks, StopAsked())


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path):
    clean, hurt = trainer(tmp_path, Line(), steps=4), trainer(tmp_path, Line(broken=(3,)), steps=4)
    logged: list[dict] = []
    run(hurt, logged)
    run(clean)
    assert hurt.progress.skipped == 1
    assert clean.progress.skipped == 0
    three = trainer(tmp_path, Line(), steps=3)
    run(three)
    assert torch.equal(hurt.objective.weight, three.objective.weight), "the weights are as if the step had not been"
    assert all(bool(torch.isfinite(average.tensors["weight"]).all()) for average in hurt.averages)


def test_steps_that_are_not_finite_one_after_another_end_the_training(tmp_path: Path):
    lost = trainer(tmp_path, Line(broken=tuple(range(4, 40))), steps=40, checkpoint_every=2)
    saved: list[int] = []
    hooks = Hooks(lambda _: None, lambda: saved.append(lost.progress.step), *[lambda: None] * 3)
    with pytest.raises(Diverged, match=r"10 steps in a row, up to step 14; set train.learning_rate \(now 0.1\) lower"):
        lost.run(batches(), hooks, StopAsked())
    assert saved == [2, 4], "no checkpoint takes the place of one from before"
    few = trainer(tmp_path, Line(broken=tuple(range(9))), steps=9)
    with pytest.raises(Diverged, match="9 steps in a row"):
        run(few)
    some = trainer(tmp_path, Line(broken=tuple(k for k in range(40) if k % 10)), steps=40)
    run(some)
    assert some.progress.skipped == 36


def test_parts_of_a_step_add_up_to_the_step(tmp_path: Path):
    whole, parts = trainer(tmp_path), trainer(tmp_path, micro_batch=4)
    run(whole)
    run(parts)
    assert float(whole.objective.weight.detach()) == pytest.approx(float(parts.objective.weight.detach()), rel=1e-12)
    assert float(whole.objective.weight.detach()) > 0.5


def test_no_memory_is_one_line_that_names_bucket_and_setting(tmp_path: Path):
    with pytest.raises(
        UserError, match=r"out of memory in the bucket 8x8, 4 frames at 8 fps, 6 samples.*train.micro_batch"
    ):
        run(trainer(tmp_path, Line(hungry=True)))


def test_time_over_is_said(tmp_path: Path):
    some = trainer(tmp_path, steps=10_000_000, minutes=0.01)
    assert str(run(some)).startswith("0.01 minutes are over")
    assert 0.6 <= some.progress.seconds < 5
    assert some.progress.step < 10_000_000


def test_figures_are_means_of_the_steps_since_the_last_line(tmp_path: Path):
    each: list[dict] = []
    run(trainer(tmp_path), each)
    pairs: list[dict] = []
    run(trainer(tmp_path, log_every=4), pairs)
    assert [round(row["loss"], 12) for row in pairs[:2]] == [
        round(sum(r["loss"] for r in each[k : k + 4]) / 4, 12) for k in (0, 4)
    ]
    assert pairs[2]["loss"] == pytest.approx(sum(r["loss"] for r in each[8:10]) / 2), (
        "the last line is of the two steps that were left"
    )


def test_rates_rise_and_fall_as_promised():
    cosine = TrainConfig(steps=110, warm_up=10, decay="cosine")
    assert [round(rate_share(step, cosine), 3) for step in (0, 4, 9, 60, 109)] == [0.1, 0.5, 1.0, 0.5, 0.0]
    assert rate_share(10**6, TrainConfig(steps=10, warm_up=5)) == 1.0


def test_a_resumed_training_divides_its_first_line_by_the_steps_it_made(tmp_path: Path):
    each: list[dict] = []
    run(trainer(tmp_path), each)
    some = trainer(tmp_path, log_every=5, steps=8)
    run(some)
    rest = trainer(tmp_path, log_every=5)
    rest.progress.step = 8
    with torch.no_grad():
        rest.objective.weight.copy_(some.objective.weight)
    logged: list[dict] = []
    run(rest, logged)
    assert logged[0]["loss"] < 2 * each[8]["loss"]
    assert logged[0]["loss"] > 0.5 * each[9]["loss"], (
        "two steps were made since step 8: a mean over five would be less than half"
    )
