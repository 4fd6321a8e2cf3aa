"""A reference picture by its CLIP embedding: made, dropped, trained with, sampled from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import invoke, one_line
from helpers.small_clip import EMBED_DIM, write_clip
from helpers.trainings import NANO
from PIL import Image

from clipmill import models
from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import ClipModel
from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.conditioning.conditioner import Conditioner, joined
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig, ReferenceConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import load as load_config
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.generate.loading import load
from clipmill.models.generate.pictures import pictures_at
from clipmill.models.network import seeded_network
from clipmill.models.stages.plan import plan
from clipmill.models.stages.request import Request
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.diffusion import DiffusionObjective

torch.set_num_threads(1)
MANY = 2000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP."""
    return write_clip(tmp_path_factory.mktemp("clip") / "network")


def conditioner_of(clip: Path, **options: object) -> Conditioner:
    reference = ReferenceConfig("clip", str(clip), **options)
    return Conditioner(ConditioningConfig(reference=reference, frames=FramesConfig("first")), 3)


def pictures(count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 20, 30), dtype=torch.uint8, generator=generator)


def test_an_embedding_is_that_of_clip_with_numbers_of_order_one(clip: Path):
    conditioner = conditioner_of(clip)
    found = conditioner.with_reference(conditioner.conditions(["", ""], {}, [None, None]), pictures()).reference
    assert torch.allclose(found.square().mean(1), torch.ones(2), atol=1e-5)
    plain = ClipModel(str(clip), clip, "cpu").pictures([np.array(p) for p in pictures().permute(0, 2, 3, 1)])
    assert torch.allclose(found, torch.from_numpy(plain) * EMBED_DIM**0.5, atol=1e-5)
    assert conditioner.vector_dim == conditioner.reference_dim == EMBED_DIM
    for_all = conditioner.with_reference(conditioner.conditions([""] * 3, {}, [None] * 3), pictures(1)).reference
    assert torch.allclose(for_all, found[:1].expand(3, -1), atol=1e-5)


def test_absent_dropped_and_left_out_by_guidance_are_the_same(clip: Path):
    conditioner = conditioner_of(clip, drop=1.0)
    blank = conditioner.conditions(["", ""], {}, [None, None])
    given = conditioner.with_reference(blank, pictures())
    for hidden in (conditioner.dropped(given, SampleNoise(0, [0, 1])), conditioner.unconditional(given)):
        assert torch.equal(conditioner(hidden).vector, conditioner(blank).vector)
    assert not torch.equal(conditioner(given).vector, conditioner(blank).vector)
    assert torch.equal(conditioner(joined(given, Conditions())).vector[2:], conditioner(blank).vector)
    frames = conditioner.with_known_frames(given, torch.ones(2, 1, 3, 4, 4), 3, SampleNoise(0, [0, 1]))
    assert torch.equal(conditioner.unconditional(frames).frames, frames.frames), "guidance is over the picture alone"


def test_in_tokens_it_is_the_one_token_and_not_in_the_vector(clip: Path):
    conditioner = conditioner_of(clip, place="tokens")
    assert (conditioner.token_dim, conditioner.token_count, conditioner.vector_dim) == (EMBED_DIM, 1, 0)
    blank = conditioner.conditions(["", ""], {}, [None, None])
    given = conditioner.with_reference(blank, pictures())
    found = conditioner(joined(given, conditioner.unconditional(given), blank))
    assert found.vector is None
    assert torch.equal(found.tokens[:2, 0], given.reference)
    assert found.token_mask[:, 0].tolist() == [True, True, False, False, False, False]
    with pytest.raises(UserError, match="no place for the condition 'tokens'"):
        conditioner(Conditions(tokens=torch.zeros(2, 1, EMBED_DIM)))


def test_it_is_dropped_as_often_as_stated_and_on_its_own(clip: Path):
    conditioner = conditioner_of(clip, drop=0.3)
    given = Conditions(reference=torch.ones(MANY, EMBED_DIM), frames=torch.ones(MANY, 2, 4, 1, 1))
    found = conditioner.dropped(given, SampleNoise(0, range(MANY)))
    lost, frames = ~found.reference.any(1), ~found.frames.flatten(1).any(1)
    assert lost.float().mean().item() == pytest.approx(0.3, abs=0.036)
    assert (lost & frames).float().mean().item() == pytest.approx(0.03, abs=0.014)


def test_a_model_is_trained_with_middle_frames_and_sampled_from_a_picture(clip: Path, tiny_run: Path, tmp_path: Path):
    own = shutil.copytree(clip, tmp_path / "own")
    settings = {"conditioning.reference.encoder": "clip", "conditioning.reference.network": str(own)}
    quick = {"data.cache": "none", "data.workers": 0, "train.validate_every": 2, "train.steps": 2}
    out = models.train(tiny_run, tmp_path / "ckpt", "demo-nano", settings | quick, device="cpu", tell=None)
    assert json.loads((out / "card.json").read_text())["config"]["conditioning"]["reference"]["dim"] == EMBED_DIM
    loaded = load(out)
    generator, noise = loaded.generator(torch.device("cpu")), SampleNoise(0, [0, 1])
    conditioner = loaded.network.conditioner
    blank = conditioner.conditions(["", ""], {}, [None, None])

    def made(conditions: Conditions) -> torch.Tensor:
        return generator.videos(loaded.autoencoder.latent_grid((4, 16, 16)), conditions, noise)

    assert not torch.equal(made(conditioner.with_reference(blank, pictures())), made(blank))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(pictures()):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    work = plan(loaded, Request(count=2, reference=folder))
    shown = conditions_of(generator, work.prompts(2), (4, 4, 4)).reference
    fitted = torch.stack(pictures_at(folder, 16, 16).pixels)
    assert torch.equal(shown, conditioner.with_reference(blank, fitted).reference), "pictures by turns, as videos are"
    assert not torch.equal(shown[0], shown[1])
    models.sample(out, tmp_path / "samples", 1, reference=folder, device="cpu", tell=None)
    shutil.rmtree(own)
    alone = load(out).network.conditioner
    assert alone.vector_dim == EMBED_DIM, "a checkpoint is loaded without the network"
    with pytest.raises(UserError, match="own"):
        alone.with_reference(blank, pictures())
    other = write_clip(tmp_path / "other", embed_dim=16)
    with pytest.raises(UserError, match="16 numbers of a picture, and this model has places for 32"):
        Conditioner(ConditioningConfig(reference=ReferenceConfig("clip", str(other), dim=EMBED_DIM)), 3).with_reference(
            blank, pictures()
        )


@pytest.mark.parametrize(("which", "place"), [("middle", 2), ("first", 0)])
def test_the_picture_of_a_window_is_the_clips_middle_or_first_frame(which: str, place: int, clip: Path):
    """Also where images of their own lie behind it, and in a batch of images."""
    sets = ["conditioning.reference.encoder=clip", f"conditioning.reference.network={clip}", "data.images_per_clip=2"]
    sets += ["data.cache=none", f"conditioning.reference.frame={which}"]
    config = load_config("demo-nano", sets)
    autoencoder = autoencoder_named("pixels", {"space_factor": 4})
    objective = DiffusionObjective(config, seeded_network(config, autoencoder), autoencoder, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 256, (2, 7, 3, 16, 16), dtype=torch.uint8, generator=generator)
    alone = (torch.arange(7) >= 5).expand(2, -1)
    for frames, independent, shown in ((video, alone, place), (video[:, :1], torch.ones(2, 1, dtype=torch.bool), 0)):
        facts = (("", ""), {}, (None, None), independent)
        batch = VideoBatch(0, 2, (0, 1), ("a", "b"), frames, None, *facts)
        noise = SampleNoise(0, batch.indices)
        conditions, _ = objective.conditions(batch, objective.latents(batch, noise), noise, drop=False)
        expected = objective.network.conditioner.with_reference(conditions, frames[:, shown])
        assert torch.equal(conditions.reference, expected.reference)


def test_a_model_without_a_place_for_a_picture_says_so():
    with pytest.raises(UserError, match="not conditioned on a reference picture"):
        Conditioner(ConditioningConfig(), 3).with_reference(Conditions(), pictures())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("network=nothing",), "nothing"),
        (("network=/nowhere/at/all",), "/nowhere/at/all"),
        (("network={clip}", "dim=-1"), "dim is at least 1"),
        (("network={clip}", "drop=2"), "between 0 and 1"),
        (("network={clip}", "encoder=vgg"), "clip"),
        (("network={clip}",), "data.cache=none"),
    ],
)
def test_mistakes_are_one_line(settings: tuple[str, ...], says: str, clip: Path, tiny_run: Path, tmp_path: Path):
    chosen = ("encoder=clip", *(text.format(clip=clip) for text in settings))
    sets = [word for text in chosen for word in ("--set", f"conditioning.reference.{text}")]
    done = invoke("models", "train", tiny_run, *NANO, *sets, "--out", tmp_path / "ckpt")
    one_line(done, says)
    assert not (tmp_path / "ckpt").exists()
