"""Guidance as `sample.*` asks for it, by a network whose caption says the mean of what it makes."""

from dataclasses import replace

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import captioned_generator, prompts

from clipmill.models.config import SampleConfig
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.pixels import restored

CAPTION = "a square"


def latents(**sample: object) -> torch.Tensor:
    generator = captioned_generator(**({"steps": 8} | sample))
    wanted = [replace(prompt, caption=CAPTION) for prompt in prompts(4)]
    return generator.latents((4, 2, 2), conditions_of(generator, wanted, (4, 2, 2)), SampleNoise(0, range(4)))


def test_a_weight_moves_the_mean_by_itself_at_every_frame_or_growing_over_them():
    plain, mean = latents(), captioned_generator().network.mean_of(CAPTION)
    moved = latents(guidance=4.0) - plain
    assert torch.allclose(moved, torch.full_like(moved, 3 * mean), atol=1e-5)
    growing = (latents(guidance=1.0, guidance_last=4.0) - plain).mean(dim=(0, 2, 3, 4)) / mean
    assert growing.tolist() == pytest.approx([0, 1, 2, 3], abs=1e-4)


def test_oscillating_guidance_begins_high_and_is_the_same_weight_where_both_are():
    high, low = latents(guidance=5.0), latents(guidance=1.0)
    assert torch.equal(latents(guidance=5.0, guidance_low=5.0), high)
    assert torch.equal(latents(guidance=5.0, guidance_low=1.0, guidance_constant_steps=8), high)
    assert torch.allclose(latents(guidance=1.0, guidance_low=1.0), low, atol=1e-5)
    turns = latents(guidance=5.0, guidance_low=1.0)
    later = latents(guidance=5.0, guidance_low=1.0, guidance_constant_steps=4)
    share = ((turns - low) / (high - low)).mean()
    assert 0.3 < float(share) < 0.7
    assert float(((later - low) / (high - low)).mean()) < 1
    assert float((later - turns).abs().min()) > 0


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "flow-heun", "edm-euler"])
def test_a_threshold_keeps_strong_guidance_within_the_pixels(sampler: str):
    schedule = {"schedule": "karras"} if sampler == "edm-euler" else {}
    strong = {"guidance": 400.0, "sampler": sampler} | schedule
    assert float(pixels(latents(**strong)).abs().max()) > 1.5
    assert float(pixels(latents(**strong, dynamic_threshold=0.9)).abs().max()) <= 1 + 1e-4
    mild = {"sampler": sampler} | schedule
    assert torch.allclose(latents(**mild, dynamic_threshold=1.0), latents(**mild), atol=1e-3), "nothing is clipped"


def pixels(z: torch.Tensor) -> torch.Tensor:
    return restored(z, captioned_generator().autoencoder)


def test_settings_that_change_nothing_are_no_part_of_what_made_a_video():
    """Ids and folders of samples from before these settings stay as they were."""
    before = {
        "sampler",
        "steps",
        "schedule",
        "schedule_options",
        "guidance",
        "guidance_last",
        "rescale",
        "gamma",
        "fps",
    }
    assert set(SampleConfig().deciding()) == before
    assert SampleConfig(known="guidance", context=2).deciding().keys() - before == {"known", "context"}
