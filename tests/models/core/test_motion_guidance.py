"""Motion-free guidance: what both weights at one, or at none, must be, and motion as a condition that is dropped."""

from dataclasses import replace

import pytest
import torch
from helpers.denoising_oracles import gaussian, normal, one_thread, point_mass  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig
from clipmill.models.config import SampleConfig, load
from clipmill.models.core.denoiser import branches_one_by_one
from clipmill.models.core.guidance import classifier_free, motion_free
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.schedules import Cosine
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion, seeded_network
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.diffusion import DiffusionObjective

CPU = torch.device("cpu")
SHAPE = (2, 4, 3, 4, 4)
Z, LEVEL = normal(*SHAPE), Cosine().level(torch.tensor([0.3, 0.8]))
CONDITIONAL, UNCONDITIONAL = gaussian(0.25), gaussian(2.0)
STILL = point_mass(torch.full(SHAPE, 0.5, dtype=torch.float64))
BRANCHES = branches_one_by_one(CONDITIONAL, UNCONDITIONAL, STILL)


@pytest.mark.parametrize(("weights", "model"), [((1, 1), CONDITIONAL), ((0, 1), UNCONDITIONAL), ((0, 0), STILL)])
def test_weights_of_one_and_zero_are_the_three_models(weights, model):
    for found, wanted in zip(motion_free(BRANCHES, *weights)(Z, LEVEL), model(Z, LEVEL), strict=True):
        assert (found - wanted).abs().max() < 1e-14


def test_it_is_the_equation():
    c, u, s = (model(Z, LEVEL).eps for model in (CONDITIONAL, UNCONDITIONAL, STILL))
    found = motion_free(BRANCHES, 7.5, 1.3)(Z, LEVEL).eps
    assert (found - (s + 7.5 * (c - u) + 1.3 * (u - s))).abs().max() < 1e-13
    two = classifier_free(branches_one_by_one(CONDITIONAL, UNCONDITIONAL), 7.5)(Z, LEVEL).eps
    assert torch.equal(motion_free(BRANCHES, 7.5, 1.0)(Z, LEVEL).eps, two)


def system(preset: str = "gentron-nano", *settings: str):
    config = load(preset, settings)
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    network = seeded_network(config, autoencoder)
    for number, parameter in enumerate(network.parameters()):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return config, network, autoencoder


def latents(made, frames: int = 4, **sample: object) -> torch.Tensor:
    config, network, autoencoder = made
    generator = Generator(network, autoencoder, Diffusion(config), replace(config.sample, **sample), CPU)
    grid = (frames, 8, 8)
    wanted = [Prompt(index, "a red ball", None, {}) for index in range(2)]
    return generator.latents(grid, conditions_of(generator, wanted, grid), SampleNoise(0, range(2)))


def test_both_weights_at_one_sample_the_conditional_model_exactly():
    made, asked = system(), []
    made[1].backbone.register_forward_hook(lambda _, given, found: asked.append(len(found)))
    plain = latents(made, guidance=1.0, motion_guidance=1.0)
    assert set(asked) == {2}, "one branch"
    asked.clear()
    close = latents(made, guidance=1.0, motion_guidance=1.0 + 1e-6)
    assert set(asked) == {6}, "three branches in one call"
    torch.testing.assert_close(close, plain, rtol=0, atol=1e-3)
    assert (latents(made, guidance=1.0, motion_guidance=1.3) - plain).abs().max() > 1e-2


def test_without_motion_guidance_makes_frames_that_know_nothing_of_one_another():
    """Both weights at zero: each frame is what the image model makes of its own noise."""
    made = system()
    still = latents(made, guidance=0.0, motion_guidance=0.0)
    images = latents(made, frames=1, guidance=0.0, motion_guidance=0.0)
    assert made[1].knows_images
    torch.testing.assert_close(still[:, :1], images, rtol=0, atol=1e-4)


def test_training_takes_motion_from_as_many_samples_as_it_says():
    _, network, _ = system("gentron-nano", "conditioning.motion_drop=0.3")
    conditioner, noise = network.conditioner, SampleNoise(0, range(2000))
    made = conditioner.conditions(["a"] * 2000, {}, [None] * 2000)
    found = conditioner.still(made, 4, noise).independent
    assert found.shape == (2000, 4)
    assert torch.equal(found.any(dim=1), found.all(dim=1)), "all frames of a sample or none"
    assert float(found[:, 0].float().mean()) == pytest.approx(0.3, abs=0.03)
    behind = torch.tensor([[False, False, True]] * 2000)
    kept = conditioner.still(replace(made, independent=behind), 3, noise).independent
    assert bool(kept[:, 2].all()), "images behind a clip stay so"
    none = system("gentron-nano", "conditioning.motion_drop=0.0")[1].conditioner
    assert none.still(made, 4, noise) is made


def test_a_training_step_sees_what_is_dropped():
    config, network, autoencoder = system("gentron-nano", "conditioning.motion_drop=0.5")
    objective, seen = DiffusionObjective(config, network, autoencoder, CPU), []
    network.backbone.register_forward_hook(lambda _, given, found: seen.append(given[2].independent))
    video = torch.randint(0, 256, (16, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = VideoBatch(0, 16, tuple(range(16)), ("a",) * 16, video, None, ("a",) * 16, {}, (None,) * 16)
    assert bool(torch.isfinite(objective("model", batch, 0).each).all())
    assert 3 <= int(seen[0].all(dim=1).sum()) <= 13
    objective.validation(batch, 1)
    assert seen[1] is None, "validation drops nothing"


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match=r"train it with conditioning\.motion_drop"):
        latents(system("gentron-nano", "conditioning.motion_drop=0.0"))
    for settings in (["data.image_share=0.5"], ["data.images_per_clip=1"], ["conditioning.motion_drop=0.1"]):
        config, network, autoencoder = system("uvit-nano", *settings)
        with pytest.raises(UserError, match=r"no text in the sequence: set data\.image_share=0"):
            DiffusionObjective(config, network, autoencoder, CPU)
    with pytest.raises(UserError, match="are shown no given frame"):
        ConditioningConfig(frames=FramesConfig(given="first"), motion_drop=0.1)
    with pytest.raises(ValueError, match="set motion_guidance=1, or rescale=0"):
        SampleConfig(motion_guidance=1.2, rescale=0.5)
    assert "motion_guidance" not in SampleConfig().deciding()
