"""Training on packed steps: which samples make them, and that packing changes nothing but speed."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.config import ModelConfig, load
from clipmill.models.network import seeded_network
from clipmill.models.pixels import as_floats
from clipmill.models.processes import Processes
from clipmill.models.stop_signals import StopAsked
from clipmill.models.training.data.batch import VideoBatch, packed_batch
from clipmill.models.training.data.batch_plan import BatchPlan
from clipmill.models.training.data.buckets import Bucket, Packed
from clipmill.models.training.data.loader import check_shares
from clipmill.models.training.objectives.diffusion import DiffusionObjective
from clipmill.models.training.run import run_session
from clipmill.models.training.session import Session, Surroundings, open_session

torch.set_num_threads(1)
CPU = torch.device("cpu")
BUDGET = 100


def buckets(*kinds: tuple[int, int], batch: int = 1) -> list[Bucket]:
    """Buckets of (clips, tokens of a video)."""
    return [Bucket(4, 8, 8, 8.0, tuple(range(clips)), batch, packed=Packed(tokens, BUDGET)) for clips, tokens in kinds]


def costs(plan: BatchPlan, some: list[Bucket], step: int) -> int:
    return sum(some[draw.bucket].packed.tokens for draw in plan.batch(step))


# The plan


@pytest.mark.parametrize("batch", [1, 2])
def test_steps_are_filled_with_samples_of_all_buckets(batch: int):
    some = buckets((50, 16), (30, 7), (40, 3), batch=batch)
    plan = BatchPlan(some, seed=3)
    filled = [costs(plan, some, step) for step in range(3 * plan.round_steps)]
    assert max(filled) <= BUDGET
    assert min(filled) > BUDGET - 16 * batch, "no step has room for a batch of the largest"
    assert np.mean(filled) > 0.9 * BUDGET
    assert np.mean([len({draw.bucket for draw in plan.batch(step)}) for step in range(plan.round_steps)]) > 2.5
    for step in range(3 * plan.round_steps):
        counts = Counter(draw.bucket for draw in plan.batch(step))
        assert all(count % batch == 0 for count in counts.values())


def test_a_round_draws_every_clip_and_little_more_than_once():
    some = buckets((51, 16), (31, 7), (40, 3))
    plan = BatchPlan(some, seed=3)
    drawn = Counter((draw.bucket, draw.row) for step in range(plan.round_steps) for draw in plan.batch(step))
    assert len(drawn) == 51 + 31 + 40
    assert sum(drawn.values()) - len(drawn) <= BUDGET // 3, "no more than fills the last step"


def test_few_clips_fill_a_large_step_and_a_large_video_has_one_of_its_own():
    plan = BatchPlan(buckets((2, 10)), seed=0)
    assert [len(plan.batch(step)) for step in range(3)] == [10, 10, 10]
    assert {draw.epoch for draw in plan.batch(0)} == {0, 1, 2, 3, 4}
    large = buckets((3, 2 * BUDGET), (20, 10))
    plan = BatchPlan(large, seed=0)
    assert {(costs(plan, large, step), len(plan.batch(step))) for step in range(plan.round_steps)} == {
        (2 * BUDGET, 1),
        (BUDGET, 10),
    }


def test_a_step_is_a_function_of_seed_and_number_and_samples_are_numbered_without_a_gap():
    some = buckets((20, 16), (30, 7))
    one, other = BatchPlan(some, seed=5), BatchPlan(some, seed=5)
    steps = 3 * one.round_steps
    forwards = [one.batch(step) for step in range(steps)]
    assert forwards == [other.batch(step) for step in reversed(range(steps))][::-1]
    assert forwards != [BatchPlan(some, seed=6).batch(step) for step in range(steps)]
    indices = [draw.index for draws in forwards for draw in draws]
    assert indices == list(range(len(indices)))
    for step in (0, 1, one.round_steps, steps - 1):
        drawn = Counter((draw.bucket, draw.row) for draws in forwards[:step] for draw in draws)
        for which, clips in ((0, 20), (1, 30)):
            assert one.times_drawn(which, step).tolist() == [drawn[which, row] for row in range(clips)]


def test_processes_share_every_bucket_of_a_step_alike():
    some = buckets((20, 16), (30, 7), batch=2)
    plan = BatchPlan(some, seed=5)
    for step in range(plan.round_steps):
        shares = [Counter(d.bucket for d in Processes(rank, 2, CPU).share(plan.batch(step))) for rank in range(2)]
        assert shares[0] == shares[1]
    with pytest.raises(UserError, match="batch_multiple"):
        check_shares(buckets((20, 16), batch=1), Processes(0, 2, CPU))


# The step


def packed_config(**data: object) -> ModelConfig:
    config = load("dit-nano")
    return replace(config, data=replace(config.data, packed=True, **data))


def parts(
    sizes: tuple[tuple[int, int, int, int], ...] = ((2, 5, 16, 24), (1, 1, 16, 16), (3, 4, 16, 16)),
) -> list[VideoBatch]:
    """Batches of videos of (count, frames, height px, width px), the second one of images; numbered on."""
    found, first = [], 0
    for number, (count, frames, height, width) in enumerate(sizes):
        video = torch.randint(
            0,
            256,
            (count, frames, 3, height, width),
            dtype=torch.uint8,
            generator=torch.Generator().manual_seed(number),
        )
        captions = tuple(f"video {first + i} " * (i + 1) for i in range(count))
        indices, alone = (
            tuple(range(first, first + count)),
            torch.ones(count, 1, dtype=torch.bool) if frames == 1 else None,
        )
        found.append(
            VideoBatch(number, count, indices, ("c",) * count, video, None, captions, {}, (None,) * count, alone)
        )
        first += count
    return found


def objective(config: ModelConfig) -> DiffusionObjective:
    """With numbers where layers start at zero."""
    autoencoder: VideoAutoencoder = autoencoder_of(config.autoencoder, CPU)
    if autoencoder.config.components is not None:
        autoencoder.fit([as_floats(one.video) for one in parts()])
    made = DiffusionObjective(config, seeded_network(config, autoencoder), autoencoder, CPU)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return made


def gradient(made: DiffusionObjective, losses: torch.Tensor) -> torch.Tensor:
    made.zero_grad()
    losses.sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in made.parameters() if parameter.grad is not None])


def test_a_packed_step_has_the_losses_and_gradients_of_its_parts():
    made, some = objective(packed_config(tokens=2000)), parts()
    packed = packed_batch(some)
    assert len(packed) == packed.size == 6
    # Parts of a step of the same size: noise levels are spread over the samples of a step.
    alone = torch.cat([made("model", replace(one, size=6), 0).each for one in some])
    together = made("model", packed, 0).each
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert together.unique().numel() == 6
    torch.testing.assert_close(gradient(made, together), gradient(made, alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("micro", [1, 2, 4, 5])
def test_parts_of_a_packed_step_are_its_samples(micro: int):
    made, packed = objective(packed_config(tokens=2000)), packed_batch(parts())
    cut = [packed.part(start, start + micro) for start in range(0, 6, micro)]
    assert [index for one in cut for index in one.indices] == list(range(6))
    assert [[len(part) for part in one.parts] for one in cut if len(one.parts) > 1] == {
        1: [],
        2: [[1, 1]],
        4: [[2, 1, 1]],
        5: [[2, 1, 2]],
    }[micro]
    each = torch.cat([made("model", one, 0).each for one in cut])
    torch.testing.assert_close(each, made("model", packed, 0).each, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_packed_is_refused():
    for config, says in ((packed_config(tokens=None), "set data.tokens"), (load("vdm-nano"), "data.packed=false")):
        with pytest.raises(UserError, match=says):
            objective(replace(config, data=replace(config.data, packed=True)))


# A training


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "loss" in row]


def train(run: Path, out: Path, steps: int) -> Session:
    options = [
        f"train.steps={steps}",
        "train.log_every=1",
        "train.validate_every=0",
        "train.warm_up=0",
        "train.learning_rate=1e-2",
    ]
    options += [
        "data.where=split = 'val'",
        "data.packed=true",
        "data.tokens=800",
        "data.windows=1",
        "data.image_share=0.5",
    ]
    session = open_session(run, load("dit-nano", options), out, Surroundings(Processes(0, 1, CPU), StopAsked()))
    run_session(session)
    return session


def test_a_training_on_packed_steps_resumes_to_the_bit(tiny_run: Path, tmp_path: Path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    session = train(tiny_run, whole, 4)
    train(tiny_run, resumed, 2)
    train(tiny_run, resumed, 4)
    assert losses(resumed) == losses(whole)
    assert len(losses(whole)) == 4
    mine, theirs = (load_file(out / "steps" / "00000004" / "weights.safetensors") for out in (resumed, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    draws = [draw for step in range(4) for draw in session.plan.batch(step)]
    assert {session.buckets.buckets[draw.bucket].images for draw in draws} == {True, False}
    seen = pd.read_parquet(resumed / "steps" / "00000004" / "clips.parquet")
    assert seen["times_drawn"].sum() == len(draws)
