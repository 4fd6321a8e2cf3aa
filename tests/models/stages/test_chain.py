"""`models sample --then`: every stage is made of the videos of the one before it."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.commands import contents, invoke, models, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import correlations, gaussian_generator, markov, prompts

from clipmill.curate.errors import UserError
from clipmill.models import sample
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.files import write_mp4
from clipmill.models.generate.sampling import as_bytes
from clipmill.models.stages.following import made_of
from clipmill.models.stages.plain import plain
from clipmill.models.stages.sample_folder import frames_of
from clipmill.models.stages.taking import Taking, Window, cut, meeting

RHO = 0.8
QUICK = ("--set", "sample.steps=2", "--device", "cpu")


def written(folder: Path, videos: torch.Tensor) -> torch.Tensor:
    for number, video in enumerate(videos):
        write_mp4(folder / f"{number:06d}.mp4", video, 8.0, lossless=True)
    return videos


@pytest.mark.slow
def test_two_gaussians_make_the_long_one_together(tmp_path: Path):
    """Key frames by one model, two windows of what is between by another: jointly as one video of five frames."""
    noise = SampleNoise(0, range(150))
    keys = gaussian_generator(markov(3, RHO**2))
    videos = written(tmp_path, plain((3, 2, 2))(keys, prompts(150), noise))
    between = gaussian_generator(markov(3, RHO))
    taking = Taking("", (5, 2, 2), meeting(3, 2, 2), 2, 2)
    assert taking.windows == [Window(0, 3, 0, 2), Window(2, 3, 1, 2)]
    found = made_of(taking, tmp_path)(between, prompts(150), noise.of_part("stage 1"))
    assert torch.equal(found[:, ::2], videos), "what is given stays, bit by bit"
    assert float((correlations(found) - markov(5, RHO)).abs().max()) < 0.12


class ShowsWhatItSees(torch.nn.Module):
    """As `Network`: x0 is what it is given."""

    knows_images = False

    def __init__(self, conditioner):
        super().__init__()
        self.conditioner = conditioner

    def forward(self, z, noise_level, conditions):
        return conditions.frames[:, :, : z.shape[2]]


@pytest.mark.parametrize("frames", [2, 4, 5])
def test_a_small_video_is_seen_whole_by_windows_that_cover_it(frames: int, tmp_path: Path):
    """Twice as large, twice as many frames; windows of four frames, the last one as long as the others."""
    usual = gaussian_generator(markov(4, RHO), "low")
    config = replace(usual.network.conditioner.config.frames, space=2, time=2)
    conditioner = type(usual.network.conditioner)(
        replace(usual.network.conditioner.config, frames=config), usual.autoencoder.latent_channels
    )
    generator = replace(usual, network=ShowsWhatItSees(conditioner))
    pixels = torch.randint(0, 256, (2, frames, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    written(tmp_path, pixels)
    taking = Taking("", (2 * frames, 8, 12), cut(2 * frames, 4, 2), 0, 2)
    found = made_of(taking, tmp_path)(generator, prompts(2), SampleNoise(0, range(2)))
    large = torch.nn.functional.interpolate(pixels.float().flatten(0, 1), scale_factor=2, mode="bilinear")
    wanted = as_bytes((large / 127.5 - 1).unflatten(0, (2, frames)).repeat_interleave(2, dim=1))
    assert int((found.int() - wanted.int()).abs().max()) <= 1


@pytest.mark.parametrize("most", [2, 3, 5])
def test_every_pair_of_given_frames_is_filled_once(most: int):
    for given in range(2, 12):
        windows = meeting(given, most, 3)
        new = []
        for before, window in zip([None, *windows], windows, strict=False):
            there = before.begin + before.frames if before else 0
            new += range(max(there, window.begin), window.begin + window.frames)
            assert (window.begin, window.frames) == (3 * window.source, (window.sources - 1) * 3 + 1)
        assert new == list(range((given - 1) * 3 + 1))


def test_a_chain_writes_every_stage_goes_on_and_says_what_made_it(trained: Path, interpolates: Path, tmp_path: Path):
    out = tmp_path / "chain"
    chain = (trained, "--then", interpolates, "--then", interpolates, "--then-set", "2:sample.steps=3", *QUICK)
    models("sample", *chain, "--out", out, "--n", 2)
    first, second = out / "stages" / "1-ckpt", out / "stages" / "2-c"
    for name in ("000000.mp4", "000001.mp4"):
        keys, middle = frames_of(first / name), frames_of(second / name)
        assert (len(keys), len(middle), len(frames_of(out / name))) == (4, 10, 28)
        assert torch.equal(middle[::3], keys)
    stages = json.loads((out / "chain.json").read_text())["stages"]
    assert [stage["folder"] for stage in stages] == ["stages/1-ckpt", "stages/2-c", "."]
    assert [stage["checkpoint"] for stage in stages] == [str(trained), str(interpolates), str(interpolates)]
    assert [stage["sampling"]["steps"] for stage in stages] == [2, 4, 3]
    for stage in stages:
        table = pd.read_parquet(out / stage["folder"] / "manifest.parquet")
        assert len(table) == stage["videos"] == 2
        assert set(table["weights_sha256"]) == {stage["weights_sha256"]}
        assert set(table["fps"]) == {stage["fps"]}
    ids = [pd.read_parquet(out / stage["folder"] / "manifest.parquet")["clip_id"] for stage in stages]
    assert len(set(pd.concat(ids))) == 6
    before = contents(out)
    (out / "000001.mp4").unlink()
    (second / "000001.mp4").write_bytes(b"half")
    models("sample", *chain, "--out", out, "--n", 2)
    assert contents(out) == before, "an interrupted chain goes on to the same bytes"
    one_line(invoke("models", "sample", *chain, "--seed", 1, "--out", out), "other settings")
    one_line(invoke("models", "sample", trained, *QUICK, "--out", out), "other settings")


def test_the_api_makes_the_same_chain(trained: Path, interpolates: Path, tmp_path: Path):
    models("sample", trained, "--then", interpolates, "--out", tmp_path / "a", "--n", 1, *QUICK)
    few = {"sample.steps": 2}
    then = {"then": interpolates, "then_settings": few}
    assert sample(trained, tmp_path / "b", 1, few, device="cpu", tell=None, **then) == tmp_path / "b"
    first = "stages/1-ckpt/000000.mp4"
    assert (tmp_path / "a" / first).read_bytes() == (tmp_path / "b" / first).read_bytes()
    with pytest.raises(UserError, match="for 2 stages, and then has 1"):
        sample(trained, tmp_path / "d", 1, device="cpu", tell=None, then=[interpolates], then_settings=[few, few])
    again = sample(trained, tmp_path / "c", 1, {"sample.steps": 3}, device="cpu", tell=None, **then)
    ids = {pd.read_parquet(tmp_path / name / "manifest.parquet")["clip_id"][0] for name in ("a", "b", again.name)}
    assert len(ids) == 3, "another last stage, and another first one"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--then", "TRAINED"), "takes nothing of the videos before it"),
        (("--then", "BETWEEN", "--size", "8x8"), "makes videos of 16x16 px, of ones of 16x16 px, and not of 8x8"),
        (("--then", "BETWEEN", "--frames", 1), "have one"),
        (("--then", "NOWHERE"), "no checkpoint"),
        (("--then", "BETWEEN", "--then-set", "2:sample.steps=3"), "--then-set takes K:KEY=VALUE"),
        (("--then-set", "1:sample.steps=3"), "there are 0"),
        (("--then", "BETWEEN", "--then-set", "1:data.batch=3"), "fixed but for sample.*"),
        (("--then", "BETWEEN", "--then-set", "1:sample.sampler=magic"), "no sampler 'magic'"),
        (("--reference", "NOWHERE"), "leave --reference out"),
        (("--set", "sample.given_noise=0.1"), "was not trained with noise on what it is given"),
    ],
)
def test_what_does_not_fit_is_one_line(options: tuple, says: str, trained: Path, interpolates: Path, tmp_path: Path):
    places = {"TRAINED": trained, "BETWEEN": interpolates, "NOWHERE": tmp_path / "nowhere"}
    words = [places.get(word, word) if isinstance(word, str) else word for word in options]
    one_line(invoke("models", "sample", trained, "--out", tmp_path / "s", "--n", 1, *words, *QUICK), says)
    assert not (tmp_path / "s").exists()
