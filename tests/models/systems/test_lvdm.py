"""LVDM: a 3-D autoencoder, latents that are continued, told noise, guidance over frames, and the hierarchy."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.commands import invoke, made_once, models, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_named, frozen
from clipmill.models.autoencoders.pieces import Pieces
from clipmill.models.autoencoders.saving import load_autoencoder, save_autoencoder
from clipmill.models.autoencoders.volume import VolumeGrow
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.files import write_mp4
from clipmill.models.generate.given import Given
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator, as_bytes
from clipmill.models.network import Diffusion, seeded_network
from clipmill.models.stages.extension import Extension, extended
from clipmill.models.stages.following import made_of
from clipmill.models.stages.taking import taking_of

CPU, TWO = torch.device("cpu"), SampleNoise(0, [0, 1])
QUICK = ("--n", 1, "--set", "sample.steps=2", "--device", "cpu")


def autoencoder(**options):
    torch.manual_seed(0)
    return frozen(autoencoder_named("volume", load("lvdm-nano").autoencoder.options | options), CPU)


def video(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, frames, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def prompts() -> list[Prompt]:
    return [Prompt(index, "", None, {}) for index in range(2)]


# The autoencoder


@torch.no_grad()
def test_sixteen_frames_are_four_latents_and_come_back_sixteen():
    model = autoencoder()
    found = model.encode(video(16))
    assert found.mean.shape == found.std.shape == (2, 4, 4, 4, 4)
    assert model.decode(found.mean).shape == (2, 16, 3, 16, 16)
    with pytest.raises(UserError, match="it takes no 15, the next is 16"):
        model.encode(video(15))


@torch.no_grad()
def test_a_video_that_stands_still_has_latents_that_stand_still():
    """To both ends, but for rounding: what is continued by zeros would change there. On the way back what stands
    still is the same two frames again and again.
    """
    model = autoencoder()
    still = model.encode(video(1).expand(-1, 16, -1, -1, -1)).mean
    torch.testing.assert_close(still, still[:, :1].expand_as(still), rtol=0, atol=1e-5)
    grown = VolumeGrow(4, stride=2, time_stride=2)(still)
    assert grown.shape == (2, 8, 4, 8, 8)
    torch.testing.assert_close(grown, grown[:, :2].repeat(1, 4, 1, 1, 1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_latent_knows_frames_before_and_behind_its_own():
    model, x = autoencoder(), video(32)
    for changed, reaches in ((0, 1), (31, 6)):
        other = x.clone()
        other[:, changed] += 0.5
        moved = (model.encode(other).mean - model.encode(x).mean).abs().amax(dim=(0, 2, 3, 4))
        assert float(moved[reaches]) > 1e-6


@torch.no_grad()
def test_of_every_fourth_latent_a_model_sees_the_first_and_the_last(tmp_path: Path):
    """As latents of the whole video; each stands until the next where they are decoded. Kept in the file."""
    model, sparse, x = autoencoder(), autoencoder(every=4), video(36)
    whole = model.encode(x).mean
    assert torch.equal(sparse.encode(x).mean, whole[:, [0, 4, 8]])
    held = whole[:, [0, 0, 0, 0, 4, 4, 4, 4, 8]]
    assert torch.equal(sparse.decode(whole[:, [0, 4, 8]]), model.decode(held))
    save_autoencoder(tmp_path / "a.safetensors", sparse)
    assert load_autoencoder(tmp_path / "a.safetensors").latent_grid((36, 16, 16)) == (3, 4, 4)
    with pytest.raises(UserError, match="it takes no 40, the next is 52"):
        sparse.latent_grid((40, 16, 16))
    assert torch.equal(Pieces(model).encode(x).mean, whole)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"groups": 3}, "multiples of groups=3"),
        ({"time_factor": 3}, "1, 2, 4, 8"),
        ({"space_factor": 8}, "factor of 4"),
    ],
)
def test_options_that_cannot_be_are_one_line(options: dict[str, int], says: str):
    with pytest.raises(UserError, match=says):
        autoencoder(**options)


# What is given


class Remembers(torch.nn.Module):
    """As `Network`, of a network with random weights: what it was shown."""

    knows_images = False

    def __init__(self, network):
        super().__init__()
        self.network, self.conditioner, self.shown = network, network.conditioner, []

    def forward(self, z, noise_level, conditions):
        self.shown.append((z.clone(), conditions))
        return self.network(z, noise_level, conditions)


def generator(name: str = "lvdm", given: dict | None = None, **sample: object) -> Generator:
    config = load(f"{name}-nano")
    frames = replace(config.conditioning.frames, **(given or {}))
    config = replace(config, conditioning=replace(config.conditioning, frames=frames))
    latents = autoencoder(**({"every": 4} if name == "lvdm-keys" else {}))
    network = seeded_network(config, latents)
    for parameter in network.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    sampling = replace(config.sample, **({"steps": 3} | sample))
    return Generator(Remembers(network), latents, Diffusion(config), sampling, CPU)


def test_a_window_begins_with_the_latent_of_the_one_before_bit_by_bit():
    """It was never decoded and encoded between: what the second window is given is what the first had."""
    system, made = generator(given={"sampling_noise": 0.0}), []
    decode = system.decoded
    object.__setattr__(system, "decoded", lambda z: (made.append(z), decode(z))[1])
    videos = extended(Extension(28, (16, 16, 16), 1, 4))(system, prompts(), TWO)
    assert videos.shape == (2, 28, 3, 16, 16)
    assert len(made) == 2
    assert torch.equal(made[1][:, 0], made[0][:, -1])
    assert not torch.equal(made[1][:, 1:], made[0][:, 1:])


def test_what_is_given_is_noised_as_told_and_comes_back_as_it_was():
    """At 0 it is itself; at another level alpha x + sigma eps, and the level is the last of the model's numbers."""
    known, system = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0)), generator(guidance=1.0)
    told = {}
    for noise in (0.0, 0.45, 3.0):
        config = replace(system.network.conditioner.config.frames, sampling_noise=noise)
        system.network.conditioner.config = replace(system.network.conditioner.config, frames=config)
        conditions = system.network.conditioner.with_known_frames(Conditions(), known, 4, TWO)
        alpha = (1 + noise**2) ** -0.5
        eps = (conditions.frames[:, :1, :4] - alpha * known) / max(alpha * noise, 1e-9)
        assert noise or torch.equal(conditions.frames[:, :1, :4], known)
        assert not noise or 0.8 < float(eps.std()) < 1.2
        prompted = system.network.conditioner.conditions(["", ""], {}, [None, None])
        again = system.network.conditioner.with_known_frames(prompted, known, 4, TWO)
        assert bool(again.micro_known[:, -1].all())
        told[noise] = float(again.micro[0, -1])
    assert told[0.0] < told[0.45] < told[3.0]


def test_guidance_leaves_out_what_is_given_and_that_branch_sees_it_at_its_level():
    """u + w (c - u): with w = 1 it is the model that is given the latent. The other branch is told nothing, and sees
    in z, where the latent stands, alpha x + sigma eps of the eps that the video began with.
    """
    known = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    given = {"sampling_noise": 0.0}
    system = generator(given=given, guidance=1.5)
    conditions = system.network.conditioner.conditions(["", ""], {}, [None, None])
    found = system.latents((4, 4, 4), conditions, TWO, Given(known, [0]))
    assert torch.equal(found[:, 0], known[:, 0])
    start = TWO.normal((4, 4, 4, 4), "start")
    for z, told in system.network.shown[1:]:
        assert bool(told.frames[:2, 0, -1].all())
        assert not bool(told.frames[2:].any())
        seen = z[2:, 0]
        both = torch.stack([known[:, 0].flatten(), start[:, 0].flatten()], dim=1).double()
        shares = torch.linalg.lstsq(both, seen.flatten().double()[:, None]).solution
        torch.testing.assert_close(both @ shares, seen.flatten().double()[:, None], rtol=0, atol=1e-4)
        assert float(shares[0]) > 0.01
    others = [generator(given=given, guidance=w).latents((4, 4, 4), conditions, TWO, Given(known, [0])) for w in (1, 0)]
    assert not torch.allclose(found, others[0], atol=1e-3)
    assert not torch.allclose(others[0], others[1], atol=1e-3)


# The hierarchy


def loaded(name: str) -> Loaded:
    config = load(f"{name}-nano")
    latents = autoencoder(**({"every": 4} if name == "lvdm-keys" else {}))
    return Loaded(Path(name), config, {}, 1, 0.05, seeded_network(config, latents), latents)


def test_every_pair_of_key_latents_is_filled_once_to_512_frames():
    taking = taking_of(loaded("lvdm-between"), (516, 16, 16))
    assert taking.grid == (516, 16, 16)
    pairs = [(window.begin // 4, (window.begin + window.frames) // 4 - 1) for window in taking.windows]
    assert pairs == [(key, key + 4) for key in range(0, 128, 4)]
    with pytest.raises(UserError, match=r"takes no videos of 512 frames, the next is 516"):
        taking_of(loaded("lvdm-between"), (512, 16, 16))
    with pytest.raises(UserError, match=r"takes no videos of 16 frames, the next is 20"):
        taking_of(loaded("lvdm-between"), (16, 16, 16))


def test_what_is_between_is_made_from_both_ends_which_stay(tmp_path: Path):
    system, made = generator("lvdm-between"), []
    decode = system.decoded
    object.__setattr__(system, "decoded", lambda z: (made.append(z), decode(z))[1])
    before = as_bytes(video(36))
    for number in range(2):
        write_mp4(tmp_path / f"{number:06d}.mp4", before[number], 8.0, lossless=True)
    taking = taking_of(loaded("lvdm-between"), (36, 16, 16))
    assert made_of(taking, tmp_path)(system, prompts(), TWO).shape == (2, 36, 3, 16, 16)
    for part, window in zip(made, taking.windows, strict=True):
        keys = system.encoded(before[:, window.source : window.source + window.sources])[:, ::4]
        torch.testing.assert_close(part[:, [0, 4]], keys, rtol=0, atol=1e-5)
        assert not torch.equal(part[:, 1:4], system.encoded(before[:, window.begin : window.begin + 20])[:, 1:4])


@pytest.fixture(scope="module")
def stages(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The autoencoder, key latents and what is between, of two steps each."""

    def make(folder: Path) -> None:
        two = ("--steps", 2, "--device", "cpu", "--set", "train.validate_every=0")
        models("train", tiny_run, "--config", "lvdm-autoencoder-nano", "--out", folder / "ae", *two)
        for name in ("keys", "between"):
            sets = ("--set", f"autoencoder.weights={folder / 'ae'}")
            models("train", tiny_run, "--config", f"lvdm-{name}-nano", "--out", folder / name, *sets, *two)

    return made_once(tmp_path_factory, "lvdm", make)


def test_keys_and_what_is_between_are_a_long_video(stages: Path, tmp_path: Path):
    chain = (stages / "keys", "--then", stages / "between", *QUICK)
    models("sample", *chain, "--extend", 68, "--out", tmp_path / "long")
    assert pd.read_parquet(tmp_path / "long" / "manifest.parquet")["n_frames"].tolist() == [68]
    one_line(
        invoke("models", "sample", *chain, "--extend", 64, "--out", tmp_path / "b"),
        "takes no videos of 64 frames, the next is 68",
    )
    one_line(
        invoke("models", "sample", stages / "keys", "--frames", 40, "--out", tmp_path / "b", *QUICK), "the next is 52"
    )
    one_line(
        invoke("models", "sample", stages / "keys", "--first", tmp_path / "long", "--out", tmp_path / "b", *QUICK),
        "can be given no single picture",
    )
    assert not (tmp_path / "b").exists()
