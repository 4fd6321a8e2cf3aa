"""The torchmetrics objects: the same numbers as the functions, in batches, on several processes."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from helpers.commands import invoke

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.mmd import polynomial_mmd
from clipmill.evaluate.features.mini import WEIGHTS
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.meter import FrechetVideoDistance, KernelVideoDistance


def videos(n: int, seed: int) -> torch.Tensor:
    """uint8 [n, 8, 3, 20, 24]."""
    return torch.randint(0, 256, (n, 8, 3, 20, 24), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def network(clips: torch.Tensor) -> torch.Tensor:
    """float32 [B, T, 3, S, S] -> [B, 6]."""
    assert clips.min() >= -1
    assert clips.max() <= 1
    return torch.cat([clips.mean((1, 3, 4)), clips.std((1, 3, 4))], dim=1)


def test_updates_in_batches_give_the_number_of_the_whole():
    real, fake = videos(30, 0), videos(24, 1)
    frechet, kernel = FrechetVideoDistance(network), KernelVideoDistance(network)
    for meter in (frechet, kernel):
        for part in real.split(7):
            meter.update(part, real=True)
        meter.update(fake, real=False)
    x, y = (network(v.float() / 127.5 - 1).numpy() for v in (real, fake))
    assert float(frechet.compute()) == pytest.approx(frechet_distance(x, y), rel=1e-6)
    assert float(kernel.compute()) == pytest.approx(polynomial_mmd(x, y), rel=1e-4)


def test_the_protocol_decides_size_and_ddof():
    from clipmill.evaluate.frames.resize import preprocess

    real, fake = videos(12, 0), videos(12, 1)
    meter = FrechetVideoDistance(network, protocol="stylegan-v", side_px=16)
    meter.update(real, real=True)
    meter.update(fake, real=False)
    protocol = load("stylegan-v")
    prepared = [torch.stack([preprocess(c.movedim(1, -1).numpy(), protocol, 16) for c in v]) for v in (real, fake)]
    x, y = (network(v).numpy() for v in prepared)
    assert float(meter.compute()) == pytest.approx(frechet_distance(x, y, ddof=0), rel=1e-9)
    assert float(meter.compute()) != pytest.approx(frechet_distance(x, y, ddof=1), rel=1e-3)


def test_reset_may_keep_the_real_videos():
    meter = FrechetVideoDistance(network, reset_real_features=False)
    meter.update(videos(10, 0), real=True)
    meter.update(videos(10, 1), real=False)
    first = meter.compute()
    meter.reset()
    with pytest.raises(UserError, match="without real and fake"):
        meter.compute()
    meter.update(videos(10, 1), real=False)
    assert meter.compute() == first
    assert torch.equal(pickle.loads(pickle.dumps(meter)).compute(), first)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(videos(2, 0).float(), "uint8"), (videos(2, 0)[0], "uint8"), (videos(2, 0).movedim(2, -1), "uint8")],
)
def test_wrong_videos_are_one_line(wrong, says):
    with pytest.raises(UserError, match=says):
        FrechetVideoDistance(network).update(wrong, real=True)


def test_wrong_networks_are_one_line():
    with pytest.raises(UserError, match="no feature network called"):
        FrechetVideoDistance("nothing")
    with pytest.raises(UserError, match=r"\[2, D\]"):
        FrechetVideoDistance(lambda v: v).update(videos(2, 0), real=True)
    with pytest.raises(UserError, match="not finite"):
        FrechetVideoDistance(lambda v: network(v) / 0).update(videos(2, 0), real=True)


def test_videos_of_two_lengths_do_not_mix():
    for sides in ((True, True), (True, False)):
        meter = FrechetVideoDistance(network)
        meter.update(videos(4, 0), real=sides[0])
        with pytest.raises(UserError, match="videos of 6 frames after videos of 8"):
            meter.update(videos(4, 1)[:, :6], real=sides[1])
        meter.reset()
        meter.update(videos(4, 1)[:, :6], real=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_here_is_one_line():
    with pytest.raises(UserError, match="network_device cuda: torch finds no CUDA device"):
        FrechetVideoDistance("mini", network_device="cuda")


def test_what_is_not_finite_is_told_apart():
    def one_infinite(clips: torch.Tensor) -> torch.Tensor:
        found = network(clips)
        found[0, 0], found[1, 2], found[1, 3] = float("inf"), float("nan"), float("inf")
        return found

    with pytest.raises(UserError, match="NaN in 1, infinite ones in 2 of 3 rows"):
        FrechetVideoDistance(one_infinite).update(videos(3, 0), real=True)


def test_real_videos_may_come_from_statistics(tmp_path):
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, 256, (5, 16, 32, 32, 3), dtype=np.uint8) for _ in range(2))
    np.save(tmp_path / "real.npy", real)
    made = invoke(
        "evaluate", "stats", tmp_path / "real.npy", "--out", tmp_path / "s.npz", "--features", "mini", "--cache",
        tmp_path / "c",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    numbers = []
    for statistics in (False, True):
        meter = FrechetVideoDistance(protocol=load("clipmill", {"features": "mini"}))
        if statistics:
            meter.add_real_statistics(tmp_path / "s.npz")
        else:
            meter.update(torch.from_numpy(real).movedim(-1, 2), real=True)
        meter.update(torch.from_numpy(fake).movedim(-1, 2), real=False)
        numbers.append(float(meter.compute()))
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)
    with pytest.raises(UserError, match="clip_frames"):
        FrechetVideoDistance(protocol=load("clipmill", {"features": "mini", "clip_frames": 8})).add_real_statistics(
            tmp_path / "s.npz"
        )
    with pytest.raises(UserError, match="named feature network"):
        FrechetVideoDistance(network).add_real_statistics(tmp_path / "s.npz")


@pytest.mark.skipif(
    not WEIGHTS.is_file(),
    reason="the weights of mini are not made yet (python -m clipmill.evaluate.studies.train_mini)",
)
def test_a_named_network_keeps_its_own_label():
    meter = FrechetVideoDistance("mini")
    meter.update(torch.randint(0, 256, (3, 16, 3, 64, 64), dtype=torch.uint8), real=True)
    meter.update(torch.randint(0, 128, (3, 16, 3, 64, 64), dtype=torch.uint8), real=False)
    assert float(meter.compute()) > 0
    assert "FVD" not in meter.frechet_name


def _one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)  # the parent's thread pool does not survive the fork
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    meter = FrechetVideoDistance(network)
    meter.update(videos(20, 0)[rank::2], real=True)
    meter.update(videos(30, 1)[rank::2], real=False)
    np.save(f"{folder}/{rank}.npy", meter.compute().numpy())
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_number_of_one(tmp_path):
    processes = [
        multiprocessing.get_context("spawn").Process(target=_one_of_two, args=(rank, str(tmp_path))) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    x, y = (network(v.float() / 127.5 - 1).numpy() for v in (videos(20, 0), videos(30, 1)))
    for rank in (0, 1):
        assert float(np.load(tmp_path / f"{rank}.npy")) == pytest.approx(frechet_distance(x, y), rel=1e-6)
