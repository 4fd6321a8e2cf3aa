"""Guidance: what it must leave alone, what it must change, and known conditional errors on correlated Gaussian
frames.
"""

import pytest
import torch
import torch.nn.functional as F
from helpers.denoising_oracles import correlated_frames, gaussian, normal, one_thread, point_mass  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.core.denoiser import branches_one_by_one
from clipmill.models.core.guidance import classifier_free, dynamic_threshold, oscillating, per_frame_linear
from clipmill.models.core.noise_level import noised
from clipmill.models.core.parametrisation import Edm, Epsilon, Estimate, FlowVelocity, V, estimate_of_x0
from clipmill.models.core.reconstruction import reconstruction_guidance, replacement
from clipmill.models.core.samplers.ancestral import ancestral
from clipmill.models.core.samplers.ddim import ddim
from clipmill.models.core.samplers.edm import Churn, edm_heun
from clipmill.models.core.sampling_levels import start, stations
from clipmill.models.core.schedules import Cosine, Karras

SHAPE = (2, 5, 3, 4, 4)
Z, LEVEL = normal(*SHAPE), Cosine().level(torch.tensor([0.3, 0.8]))
CONDITIONAL, UNCONDITIONAL = gaussian(0.25), point_mass(torch.full(SHAPE, 0.5, dtype=torch.float64))
BRANCHES = branches_one_by_one(CONDITIONAL, UNCONDITIONAL)


def test_weights_of_one_and_zero_are_the_two_models():
    for weight, model in ((1.0, CONDITIONAL), (0.0, UNCONDITIONAL)):
        for found, wanted in zip(classifier_free(BRANCHES, weight)(Z, LEVEL), model(Z, LEVEL), strict=True):
            assert (found - wanted).abs().max() < 1e-15


@pytest.mark.parametrize("parametrisation", [Epsilon(), V(), FlowVelocity(), Edm()])
def test_guidance_of_predictions_is_guidance_of_estimates(parametrisation):
    c, u = (parametrisation.target(*model(Z, LEVEL), LEVEL) for model in (CONDITIONAL, UNCONDITIONAL))
    expected = parametrisation.estimate(u + 7.5 * (c - u), Z, LEVEL)
    for found, wanted in zip(classifier_free(BRANCHES, 7.5)(Z, LEVEL), expected, strict=True):
        assert (found - wanted).abs().max() < 1e-12


def test_rescaled_guidance_has_the_conditional_spread():
    conditional, plain = CONDITIONAL(Z, LEVEL).x0, classifier_free(BRANCHES, 7.5)(Z, LEVEL).x0
    full, part = (classifier_free(BRANCHES, 7.5, share)(Z, LEVEL) for share in (1.0, 0.7))
    spread = [x.flatten(1).std(dim=1) for x in (conditional, plain, full.x0)]
    assert (spread[1] / spread[0]).min() > 2
    assert torch.allclose(spread[2], spread[0])
    assert torch.allclose(part.x0, 0.7 * full.x0 + 0.3 * plain)
    assert (noised(*part, LEVEL) - Z).abs().max() < 1e-13


def test_guidance_that_grows_over_the_frames():
    weights = per_frame_linear(1.0, 2.5, 5)
    found = classifier_free(BRANCHES, weights)(Z.float(), LEVEL)
    assert found.x0.dtype == torch.float32
    for frame, weight in enumerate((1.0, 1.375, 1.75, 2.125, 2.5)):
        expected = classifier_free(BRANCHES, weight)(Z.float(), LEVEL)
        assert (found.x0[:, frame] - expected.x0[:, frame]).abs().max() < 1e-5
    assert per_frame_linear(3.0, 3.0, 1).flatten().tolist() == [3.0]


@pytest.mark.parametrize(("sampler", "schedule"), [(ddim, Cosine()), (edm_heun, Karras())])
def test_guidance_oscillates_from_step_to_step(sampler, schedule):
    """Both calls of a Heun step belong to it or to the next one, and churn changes nothing."""
    levels, asked = stations(schedule, 8), []
    weight = oscillating(levels, 15.0, 1.0, constant_steps=3)

    def recorded(level):
        asked.append((float(level.angle), weight(level)))
        return weight(level)

    if sampler is edm_heun:
        edm_heun(
            classifier_free(BRANCHES, recorded),
            start(Z, levels),
            levels,
            Churn(0.01),
            lambda step: normal(*SHAPE, seed=step),
        )
    else:
        sampler(classifier_free(BRANCHES, recorded), start(Z, levels), levels)
    expected = [15, 15, 15, 15, 1, 15, 1, 15]
    per_step = [expected[0]] + [w for w in expected[1:] for _ in range(2 if sampler is edm_heun else 1)]
    assert [w for _, w in asked] == per_step


def test_dynamic_threshold():
    x = normal(2, 3, 3, 8, 8, seed=1) * torch.tensor([0.2, 4.0]).reshape(2, 1, 1, 1, 1)
    z = noised(x, normal(*x.shape), LEVEL)
    found = dynamic_threshold(point_mass(x), 0.9)(z, LEVEL)
    assert torch.equal(found.x0[0], x[0])
    bound = x[1].abs().flatten().quantile(0.9)
    assert torch.allclose(found.x0[1], x[1].clamp(-bound, bound) / bound, atol=2e-2)
    assert float(found.x0.abs().max()) == 1
    assert (found.x0[1].abs() == 1).double().mean().item() == pytest.approx(0.1, abs=0.005)
    assert (noised(*found, LEVEL) - z).abs().max() < 1e-13
    scaled = dynamic_threshold(point_mass(x), 1.0)(z, LEVEL).x0[1]
    assert torch.allclose(scaled, x[1] / x[1].abs().max())


RHO, STEPS = 0.9, 128
FRAMES = torch.tensor([[1, RHO], [RHO, 1]], dtype=torch.float64)
IS_KNOWN = torch.tensor([True, False]).reshape(1, 2, 1, 1, 1)


def slope_and_error(weight):
    """E[x_b | x_a] / x_a and E (x_b - rho x_a)² of the second frame given the first, exactly: everything is linear, so
    sample i of the batch has a 1 in the i-th random number (the known frame, the start, each step's noise, each
    replacement's) and 0 in all others.
    """
    levels = stations(Cosine(), STEPS)
    numbers = torch.eye(3 + 4 * STEPS, dtype=torch.float64).reshape(3 + 4 * STEPS, -1, 1, 1, 1, 1)
    known = torch.cat([numbers[0], torch.zeros_like(numbers[0])], dim=1)

    def pair(first):
        return torch.cat([numbers[first], numbers[first + 1]], dim=1)

    denoise = correlated_frames(FRAMES)
    if weight:
        denoise = reconstruction_guidance(denoise, known[:, :1], lambda x0: x0[:, :1], weight)
    denoise = replacement(denoise, known, IS_KNOWN, lambda step: pair(3 + 2 * step), levels)
    found = ancestral(denoise, pair(1), levels, lambda step: pair(3 + 2 * STEPS + 2 * step))
    assert torch.equal(found[:, :1], known[:, :1])
    response = found[:, 1].flatten()
    return float(response[0]), float((response[0] - RHO) ** 2 + response[1:].square().sum())


def test_reconstruction_guidance_halves_the_error_of_replacement():
    """The figures are exact; drawing samples gave 0.376, 0.243, 0.172 and 0.120. Weight 4 listens too much: its error
    is below that of the conditional distribution itself, 1 - rho².
    """
    slopes, errors = zip(*(slope_and_error(weight) for weight in (0, 1, 2, 4)), strict=True)
    assert slopes == pytest.approx([0.6216, 0.7555, 0.8531, 0.9758], abs=5e-4)
    assert errors == pytest.approx([0.3778, 0.2413, 0.1720, 0.1205], abs=5e-4)
    assert errors[2] < errors[0] / 2
    assert errors[3] < 1 - RHO**2 < errors[1]


def test_reconstruction_is_the_equation():
    """On a linear model the gradient is known: x0 = A z, so grad |a - P A z|² = -2 (P A)^T (a - P A z)."""
    level = Cosine().level(torch.tensor(0.6))
    inner, z, observed = correlated_frames(FRAMES), normal(3, 2, 1, 4, 4), normal(3, 1, 1, 4, 4, seed=1)
    matrix = (
        level.alpha
        * FRAMES
        @ torch.linalg.inv(level.alpha**2 * FRAMES + level.sigma**2 * torch.eye(2, dtype=torch.float64))
    )
    x0 = torch.einsum("ij,bj...->bi...", matrix, z)
    gradient = -2 * matrix[0].reshape(1, 2, 1, 1, 1) * (observed - x0[:, :1])
    with torch.no_grad():
        found = reconstruction_guidance(inner, observed, lambda x: x[:, :1], 1.7)(z, level)
        none = reconstruction_guidance(inner, observed, lambda x: x[:, :1], 0.0)(z, level)
    assert (found.x0 - (x0 - 1.7 * level.alpha / 2 * gradient)).abs().max() < 1e-13
    assert (noised(*found, level) - z).abs().max() < 1e-13
    assert (none.x0 - x0).abs().max() < 1e-14
    assert not found.x0.requires_grad


def test_a_smaller_video_guides_a_larger_one():
    """Equation 8: samples of a Gaussian of smooth frames agree better with a given half-size video, which without
    guidance they ignore.
    """

    def half(x0):
        return F.avg_pool2d(x0.flatten(0, 1), 2).unflatten(0, x0.shape[:2])

    truth, levels = normal(64, 2, 1, 4, 4, seed=2), stations(Cosine(), 64)
    observed = half(truth)
    left = []
    for weight in (0.0, 2.0):
        denoise = reconstruction_guidance(gaussian(1.0), observed, half, weight * 4)
        left.append(float((half(ddim(denoise, normal(64, 2, 1, 4, 4, seed=3), levels)) - observed).square().mean()))
    assert left[0] == pytest.approx(0.5, abs=0.06)
    assert left[1] < left[0] / 4


def test_samples_do_not_disturb_each_other():
    """The gradient of one sample's error does not reach another's z."""
    observed = normal(2, 1, 1, 4, 4, seed=1)
    z = normal(2, 2, 1, 4, 4)
    level = Cosine().level(torch.tensor([0.5, 0.9]))

    def both(z, level):
        parts = [correlated_frames(FRAMES)(z[i : i + 1], level[i]) for i in range(len(z))]
        return Estimate(*(torch.cat(side) for side in zip(*parts, strict=True)))

    together = reconstruction_guidance(both, observed, lambda x: x[:, :1])(z, level)
    alone = reconstruction_guidance(both, observed[1:], lambda x: x[:, :1])(z[1:], level[1:])
    assert torch.equal(together.x0[1:], alone.x0)


def test_replacement_shows_the_model_noise_at_the_right_level():
    levels, seen = stations(Cosine(), 6), []

    def watching(z, level):
        seen.append(z)
        return estimate_of_x0(z, z, level)

    known, noise = normal(*SHAPE, seed=1), [normal(*SHAPE, seed=10 + step) for step in range(6)]
    mask = (torch.arange(5) < 2).reshape(1, 5, 1, 1, 1)
    found = ancestral(
        replacement(watching, known, mask, lambda step: noise[step], levels), Z, levels, lambda step: torch.zeros(SHAPE)
    )
    for step, z in enumerate(seen):
        assert torch.equal(z[:, :2], noised(known, noise[step], levels[step])[:, :2])
    assert torch.equal(found[:, :2], known[:, :2])
    assert not torch.equal(found[:, 2:], known[:, 2:])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: classifier_free(BRANCHES, 2.0, 1.5), "share from 0 to 1"),
        (lambda: dynamic_threshold(CONDITIONAL, 0), "over 0 and up to 1"),
    ],
)
def test_wrong_guidance_is_one_line(make, says):
    with pytest.raises(UserError, match=says):
        make()
