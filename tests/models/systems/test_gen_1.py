"""Gen-1: structure in every branch, content as a picture's token, and a weight for time."""

from dataclasses import replace

import torch

from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion, seeded_network

CPU = torch.device("cpu")
DEVIATION = 0.1


def made_by(content: int = 0, frames: int = 4, changed: int | None = None, **weights: float) -> torch.Tensor:
    """Latents of one video. content: seed of the picture. changed: a frame of the structure that is another."""
    config = load("gen-1-nano")
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    network = seeded_network(config, autoencoder)
    for number, parameter in enumerate(network.parameters()):
        parameter.data += DEVIATION * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    generator = Generator(network, autoencoder, Diffusion(config), replace(config.sample, **weights), CPU)
    video = torch.randint(256, (1, 4, 3, 32, 32), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
    if changed is not None:
        video[:, changed] = video[:, changed].flip(3)
    video = video[:, :frames]
    picture = torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(content), dtype=torch.uint8)
    grid = (frames, 8, 8)
    conditions = conditions_of(generator, [Prompt(0, "", None, {}, reference=picture)], grid)
    return generator.latents(grid, conditions, SampleNoise(0, [0]), generator.observed(video))


def test_the_weights_of_time_and_content_choose_the_model():
    """1 and 1: the conditional model. 1 and 0: the video model, whatever the content."""
    plain = made_by(guidance=1.0, motion_guidance=1.0)
    torch.testing.assert_close(made_by(guidance=1.0, motion_guidance=1.0 + 1e-7), plain, rtol=0, atol=1e-3)
    without = made_by(guidance=0.0, motion_guidance=1.0)
    assert torch.equal(without, made_by(1, guidance=0.0, motion_guidance=1.0))
    assert (without - plain).abs().max() > 1e-3
    assert (made_by(1, guidance=1.0, motion_guidance=1.0) - plain).abs().max() > 1e-3


def test_frames_without_time_know_nothing_of_one_another():
    still = made_by(guidance=0.0, motion_guidance=0.0)
    alone = made_by(frames=1, guidance=0.0, motion_guidance=0.0)
    torch.testing.assert_close(still[:, :1], alone, rtol=0, atol=1e-4)
    other = made_by(changed=3, guidance=0.0, motion_guidance=0.0)
    torch.testing.assert_close(still[:, :3], other[:, :3], rtol=0, atol=1e-4)
    moving = made_by(guidance=0.0, motion_guidance=1.0)
    assert (moving - made_by(changed=3, guidance=0.0, motion_guidance=1.0))[:, :3].abs().max() > 1e-4


def test_every_branch_of_guidance_sees_the_structure():
    for time, content in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)):
        weights = {"motion_guidance": time, "guidance": content}
        assert (made_by(**weights) - made_by(changed=3, **weights))[:, 3].abs().max() > 1e-3, weights
