"""What autoencoders are trained with: hinge losses, discriminators, the weight between players, perceptual distances,
the objective.
"""

import math

import numpy as np
import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.causal import CausalAutoencoder, CausalConfig
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.autoencoders.frame import FrameAutoencoder, FrameConfig
from clipmill.models.autoencoders.losses.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    hinge_discriminator_loss,
    hinge_generator_loss,
)
from clipmill.models.autoencoders.losses.objective import AutoencoderLossConfig, AutoencoderObjective, kl_divergence
from clipmill.models.autoencoders.losses.perceptual import NAMES, GradientPyramid, LearnedPatches, perceptual_named
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig
from clipmill.models.core.noise import SampleNoise

torch.set_num_threads(1)
QUIET = {"perceptual": "none", "discriminator": "none", "kl_weight": 0.0}


def moving_squares(clips=8, frames=5, side_px=16, seed=0):
    """float32 [clips, T, 3, S, S] in [-1, 1]: a coloured pattern that moves over a ramp, at most 1.5 px per frame."""
    generator, half = np.random.default_rng(seed), side_px // 2
    out, ramp = np.empty((clips, frames, 3, side_px, side_px), np.float32), np.linspace(-0.3, 0.3, side_px)
    for clip in out:
        colour, across, down = generator.uniform(-1, 1, (3, 3, 1, 1))
        pattern = generator.uniform(-0.9, 0.9, (3, 2, 2)).repeat(half // 2, 1).repeat(half // 2, 2)
        start, velocity = generator.uniform(0, side_px - half, 2), generator.uniform(-1.5, 1.5, 2)
        for time, picture in enumerate(clip):
            row, column = np.clip(np.round(start + velocity * time), 0, side_px - half).astype(int)
            picture[:] = 0.8 * colour + across * ramp + down * ramp[:, None]
            picture[:, row : row + half, column : column + half] = pattern
    return torch.from_numpy(out.clip(-1, 1))


def causal(**options):
    torch.manual_seed(0)
    tiny = {
        "latent_channels": 8,
        "width": 8,
        "multipliers": (1, 2),
        "depth": 1,
        "time_factor": 2,
        "space_factor": 2,
        "groups": 4,
    }
    return CausalAutoencoder(CausalConfig(**(tiny | {"attention": False} | options)))


def objective(autoencoder=None, **config):
    torch.manual_seed(1)
    settings = {"discriminator_width": 8, "discriminator_layers": 2, "discriminator_start": 3, "perceptual": "none"}
    return AutoencoderObjective(autoencoder or causal(), AutoencoderLossConfig(**(settings | config)))


def noise(indices=(0, 1)):
    return SampleNoise(0, indices)


# Losses and weights


def test_hinge_losses_at_known_values():
    real, fake = torch.tensor([[2.0, 1.0], [0.0, -1.0]]), torch.tensor([[-2.0, -1.0], [0.0, 3.0]])
    assert hinge_discriminator_loss(real, fake).tolist() == [0, (1.5 + 2.5) / 2]
    assert hinge_generator_loss(fake).tolist() == [1.5, -1.5]


def test_hinge_losses_of_certain_verdicts_have_no_slope():
    real, fake = torch.full((1, 3), 1.5, requires_grad=True), torch.full((1, 3), -1.5, requires_grad=True)
    hinge_discriminator_loss(real, fake).sum().backward()
    assert not real.grad.any()
    assert not fake.grad.any()


def test_the_adaptive_weight_is_the_ratio_of_gradients_at_the_last_layer():
    weight, x = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3)
    one, two = (x @ weight.T).square().mean(), (x @ weight.T).sin().sum()
    found = adaptive_weight(one, two, weight)
    gradients = [torch.autograd.grad(loss, weight, retain_graph=True)[0].norm() for loss in (one, two)]
    torch.testing.assert_close(found, gradients[0] / (gradients[1] + 1e-4))
    assert not found.requires_grad
    assert adaptive_weight(1e6 * one, 1e-9 * two, weight) == 1e4
    assert adaptive_weight(one, two * 0, weight) == min(1e4, gradients[0] / 1e-4)


def test_divergence_from_a_normal_distribution_is_torchs():
    posterior = Posterior(torch.randn(2, 3, 4, 2, 2), torch.rand(2, 3, 4, 2, 2) + 0.1)
    normals = torch.distributions.Normal(posterior.mean, posterior.std), torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(
        kl_divergence(posterior), torch.distributions.kl_divergence(*normals).sum(dim=(1, 2, 3, 4))
    )


# Discriminators


@pytest.mark.parametrize("across_time", [False, True])
@pytest.mark.parametrize("frames", [1, 5, 8])
def test_a_discriminator_judges_patches_of_images_and_videos(across_time, frames):
    model = PatchDiscriminator(across_time, width=8, layers=2)
    logits = model(torch.randn(2, frames, 3, 24, 32))
    halved = -(-frames // 2) if across_time else frames
    # 24 x 32 px, halved twice, less one pixel twice.
    assert logits.shape == (2, halved * 4 * 6)
    with pytest.raises(UserError, match="discriminator_layers lower"):
        model(torch.randn(1, frames, 3, 11, 32))
    assert model(torch.randn(1, frames, 3, 12, 12)).shape == (1, halved)


@torch.no_grad()
def test_a_verdict_belongs_to_its_sample():
    x = torch.randn(3, 4, 3, 16, 16)
    for model in (PatchDiscriminator(True, 8, 2), PatchDiscriminator(False, 8, 2)):
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=0, atol=1e-5)


def test_only_the_discriminator_of_videos_learns_the_order_of_frames():
    clips = moving_squares(clips=96, frames=8, side_px=24, seed=1)
    order = torch.tensor([3, 6, 0, 5, 2, 7, 1, 4])
    margins = {}
    for across_time in (True, False):
        torch.manual_seed(0)
        model = PatchDiscriminator(across_time, width=8, layers=2)
        optimiser = torch.optim.Adam(model.parameters(), 1e-3, betas=(0.5, 0.9))
        for step in range(40):
            some = clips[:80].roll(-8 * step, 0)[:8]
            optimiser.zero_grad()
            hinge_discriminator_loss(model(some), model(some[:, order])).mean().backward()
            optimiser.step()
        with torch.no_grad():
            unseen = clips[80:]
            margins[across_time] = model(unseen).mean(dim=1) - model(unseen[:, order]).mean(dim=1)
    assert (margins[True] > 0).sum() >= 15
    assert margins[True].mean() > 1
    assert margins[False].abs().max() < 1e-5


# Perceptual distances


@pytest.mark.parametrize("size_px", [(32, 48), (5, 7), (1, 1), (16, 2)])
def test_the_distance_without_weights_is_zero_only_to_itself_and_has_a_slope(size_px):
    distance, one = GradientPyramid(), torch.rand(2, 3, 3, *size_px) * 2 - 1
    assert distance(one, one).tolist() == [0, 0]
    other = (one + 0.1 * torch.randn(one.shape)).requires_grad_()
    found = distance(one, other)
    assert found.shape == (2,)
    found.sum().backward()
    assert torch.isfinite(other.grad).all()
    if min(size_px) > 1:
        assert found.min() > 0
        assert other.grad.abs().sum(dim=(2, 3, 4)).min() > 0


def test_blur_costs_more_than_a_shade_of_the_same_squared_error():
    clip = moving_squares(2, 2, 32)
    blurred = torch.nn.functional.avg_pool2d(clip.flatten(0, 1), 5, 1, 2, count_include_pad=False).unflatten(0, (2, 2))
    shaded = clip + (blurred - clip).square().mean().sqrt()
    distance = GradientPyramid()
    assert (distance(clip, blurred) > 5 * distance(clip, shaded)).all()


def test_the_fallback_is_never_called_lpips(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert perceptual_named("auto").name == "gradient-pyramid"
    assert perceptual_named("none") is None
    with pytest.raises(UserError, match="perceptual=gradient-pyramid needs no weights") as caught:
        perceptual_named("lpips-vgg")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="lpips-vgg"):
        perceptual_named("lpips")
    assert objective(perceptual="auto").perceptual_name == "gradient-pyramid"
    assert objective().perceptual_name == "none"
    assert "lpips" not in GradientPyramid.name
    assert GradientPyramid.name in NAMES


def test_lpips_is_the_network_that_evaluate_measures_with(tmp_path):
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    from clipmill.evaluate.metrics.lpips import LPIPS

    torch.manual_seed(0)
    path = tmp_path / "squeezenet-random.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    one, other = (torch.randint(0, 256, (1, 2, 64, 64, 3), dtype=torch.uint8) for _ in range(2))
    expected = LPIPS(net="squeeze", backbone=str(path), any_backbone=True)(one[0].numpy(), other[0].numpy())
    distance = LearnedPatches("squeeze", str(path), any_backbone=True)
    assert "other weights" in distance.name
    video, changed = (x.movedim(-1, 2).float() / 127.5 - 1 for x in (one, other))
    found = distance(video, changed.requires_grad_())
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.sum().backward()
    assert changed.grad.abs().max() > 0
    with pytest.raises(UserError, match="32 px and more"):
        distance(video[..., :16], changed[..., :16])


# The objective


def test_players_move_from_their_start_on_and_own_their_parameters():
    two = objective(discriminator="2d")
    assert two.players(2) == ("generator",)
    assert two.players(3) == ("generator", "discriminator")
    assert objective(discriminator="none").players(9) == ("generator",)
    names = {player: {name for name, _ in two.parameters_of(player)} for player in two.players(3)}
    assert names["generator"] | names["discriminator"] == {name for name, _ in two.named_parameters()}
    assert not names["generator"] & names["discriminator"]


@pytest.mark.parametrize("discriminator", ["2d", "3d"])
@pytest.mark.parametrize("frames", [1, 5])
def test_gradients_reach_the_player_whose_turn_it_is(discriminator, frames):
    game, video = objective(discriminator=discriminator), moving_squares(2, frames)
    game.generator_losses(video, noise(), 3)[0].mean().backward()
    assert all(parameter.grad is None for parameter in game.discriminator.parameters())
    assert all(parameter.grad is not None for _, parameter in game.parameters_of("generator"))
    game.zero_grad(set_to_none=True)
    each, parts = game.discriminator_losses(video, game.reconstruct(video, noise()), 3)
    each.mean().backward()
    assert all(parameter.grad is None for parameter in game.autoencoder.parameters())
    assert all(
        parameter.grad.abs().sum() > 0
        for name, parameter in game.discriminator.named_parameters()
        if name.endswith("weight")
    )
    assert set(parts) == {"discriminator", "verdict_on_real", "verdict_on_fake"}


def test_the_total_is_the_weighted_sum_of_its_parts():
    game = objective(
        discriminator="3d",
        discriminator_weight=0.7,
        perceptual="gradient-pyramid",
        perceptual_weight=0.3,
        kl_weight=0.01,
        reconstruction="l2",
    )
    video = moving_squares(2)
    each, parts = game.generator_losses(video, noise(), 3)
    likeness = parts["reconstruction"] + 0.3 * parts["perceptual"]
    torch.testing.assert_close(each, likeness + 0.01 * parts["kl"] + parts["adversarial_weight"] * parts["adversarial"])
    assert all(part.shape == (2,) and not part.requires_grad for part in parts.values())
    reconstruction = game.reconstruct(video, noise())
    torch.testing.assert_close(parts["reconstruction"], (reconstruction - video).square().mean(dim=(1, 2, 3, 4)))
    torch.testing.assert_close(parts["kl"], kl_divergence(game.autoencoder.encode(video)) / video[0].numel())
    # The weight by its definition, from gradients with respect to the last convolution's weight.
    last = game.autoencoder.decoder.output.convolution.weight
    posterior = game.autoencoder.encode(video)
    made = game.autoencoder.decode(posterior.sample(noise().normal(posterior.mean.shape[1:], "autoencoder latents")))
    wanted = (made - video).square().mean() + 0.3 * game.perceptual(video, made).mean()
    fooled = -game.discriminator(made).mean()
    norms = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (wanted, fooled)]
    torch.testing.assert_close(parts["adversarial_weight"][0], 0.7 * norms[0] / (norms[1] + 1e-4), rtol=1e-4, atol=0)


def test_before_its_start_the_discriminator_says_nothing():
    game, video = objective(discriminator="2d"), moving_squares(2)
    each, parts = game.generator_losses(video, noise(), 2)
    assert "adversarial" not in parts
    torch.testing.assert_close(each, parts["reconstruction"] + 1e-6 * parts["kl"])
    zero, nothing = game.discriminator_losses(video, video, 2)
    assert zero.tolist() == [0, 0]
    assert nothing == {}


def test_losses_belong_to_their_samples_and_their_noise():
    game, video = objective(), moving_squares(4)
    whole = game.generator_losses(video, noise((5, 6, 7, 8)), 0)[0]
    part = game.generator_losses(video[2:], noise((7, 8)), 0)[0]
    torch.testing.assert_close(whole[2:], part, rtol=1e-5, atol=1e-6)
    assert (whole[2:] - game.generator_losses(video[2:], noise((9, 10)), 0)[0]).abs().max() > 1e-5
    torch.testing.assert_close(game.validation_losses(video), game.validation_losses(video), rtol=0, atol=0)
    assert game.validation_losses(video).shape == (4,)


def test_without_gradients_the_losses_can_still_be_asked_for():
    with torch.no_grad():
        each, parts = objective(discriminator="2d").generator_losses(moving_squares(2), noise(), 3)
    assert torch.isfinite(each).all()
    assert parts["adversarial_weight"].tolist() == [0, 0]


def test_a_decoder_fine_tune_moves_layers_along_time_only():
    torch.manual_seed(0)
    shape = {"latent_channels": 4, "widths": (8, 8), "depth": 1, "groups": 4, "temporal_decoder": True}
    game = objective(
        FrameAutoencoder(FrameConfig(**shape)), decoder_only=True, discriminator="3d", discriminator_start=0
    )
    learning = {name for name, _ in game.parameters_of("generator")}
    assert learning == {f"autoencoder.{name}" for name in game.autoencoder.temporal_parameter_names()}
    each, parts = game.generator_losses(moving_squares(2), noise(), 0)
    each.mean().backward()
    assert parts["adversarial_weight"].min() > 0
    assert game.autoencoder.over_time.weight.grad.abs().sum() > 0
    with pytest.raises(UserError, match="kind=frame"):
        objective(decoder_only=True)


def test_autoencoders_that_cannot_be_trained_so_are_refused():
    with pytest.raises(UserError, match="nothing to train"):
        objective(Pixels(PixelsConfig()))
    with pytest.raises(UserError, match="kl_weight=0"):
        objective(causal(deterministic=True))
    with pytest.raises(ValueError, match="0 or more"):
        AutoencoderLossConfig(kl_weight=-1.0)
    with pytest.raises(ValueError, match="at least 1"):
        AutoencoderLossConfig(discriminator_layers=0)


@pytest.mark.slow
def test_a_short_training_on_images_and_videos_learns_both():
    clips, steps = moving_squares(frames=3), 60
    game = objective(
        causal(latent_channels=12, width=12), discriminator="none", perceptual="gradient-pyramid", perceptual_weight=0.1
    )
    optimiser = torch.optim.Adam(
        [parameter for _, parameter in game.parameters_of("generator")], 1e-3, betas=(0.9, 0.99)
    )

    def errors():
        with torch.no_grad():
            return [
                (game.autoencoder.decode(game.autoencoder.encode(x).mean) - x).square().mean()
                for x in (clips, clips[:, :1])
            ]

    before = errors()
    for step in range(steps):
        numbers = [4 * step + i for i in range(4)]
        batch = clips[[number % 8 for number in numbers]]
        optimiser.param_groups[0]["lr"] = 1e-3 * math.sin(math.pi * (step + 1) / (steps + 1))
        losses, _ = game.generator_losses(batch[:, :1] if step % 5 == 4 else batch, noise(numbers), step)
        optimiser.zero_grad()
        losses.mean().backward()
        optimiser.step()
    shares = [float(after / start) for after, start in zip(errors(), before, strict=True)]
    assert max(shares) < 0.3, shares
