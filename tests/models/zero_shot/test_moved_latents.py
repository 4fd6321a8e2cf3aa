"""Latents that are moved, brought back to a noisier level, told from their background, and smoothed."""

import pytest
import torch
from helpers.denoising_oracles import gaussian, normal, one_thread, point_mass  # noqa: F401

from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise_level import NoiseLevel, noised
from clipmill.models.core.samplers.ddim import ddim
from clipmill.models.core.samplers.edm import edm_euler
from clipmill.models.core.samplers.flow import flow_euler
from clipmill.models.core.sampling_levels import stations
from clipmill.models.core.schedules import Cosine
from clipmill.models.zero_shot.background import salient, with_background
from clipmill.models.zero_shot.motion import moved, noised_further, station_at
from clipmill.models.zero_shot.smoothing import between_neighbours, smoothed


def test_whole_steps_move_the_interior_exactly_and_none_move_nothing():
    picture = normal(2, 1, 3, 6, 8)
    assert torch.equal(moved(picture, 4, (0.0, 0.0)), picture.expand(-1, 4, -1, -1, -1))
    found = moved(picture, 4, (2.0, -1.0))
    for k in range(4):
        right, down = 2 * k, -k
        assert torch.equal(found[:, k, :, : 6 + down, right:], picture[:, 0, :, -down:, : 8 - right])
    assert torch.equal(found[:, 1, :, :, 0], torch.roll(picture, 1, dims=4)[:, 0, :, [1, 2, 3, 4, 5, 5], 2]), "mirrored"


def test_motion_is_rounded_to_whole_latents_and_ends_nowhere():
    picture = normal(1, 1, 1, 4, 4)
    found = moved(picture, 40, (0.4, 0.0))
    assert torch.equal(found[:, 1], picture[:, 0])
    assert torch.equal(found[:, 2, ..., 1:], picture[:, 0, ..., :3])
    assert torch.equal(found[:, 20], picture[:, 0]), "eight latents further, there and back between two mirrors"


def test_frames_further_from_clean_have_the_mean_and_the_spread_of_the_noising_chain():
    levels = stations(Cosine(), 50)
    now, then = levels[6], levels[3]
    x0 = torch.full((1, 100_000), 2.0, dtype=torch.float64)
    z = noised(x0, normal(*x0.shape), now)
    found = noised_further(z, now, then, normal(*x0.shape, seed=1))
    assert float(found.mean()) == pytest.approx(2 * float(then.alpha), abs=0.01)
    assert float(found.std()) == pytest.approx(float(then.sigma), abs=0.01)
    assert float((found * z).mean() - found.mean() * z.mean()) == pytest.approx(
        float(then.alpha / now.alpha * now.sigma**2), abs=0.02
    )


def test_shares_of_steps_still_to_go_name_stations():
    assert [station_at(share, 50) for share in (1.0, 0.941, 0.881, 0.4)] == [0, 3, 6, 30]
    assert [station_at(share, 8) for share in (0.941, 0.881)] == [1, 1]


def test_what_stands_out_is_found_and_the_rest_is_background():
    video = torch.full((1, 2, 3, 64, 64), 80, dtype=torch.uint8)
    video[0, 0, :, 16:32, 16:32] = 220
    mask = salient(video, (16, 16))
    assert mask[0, 0, 4:8, 4:8].all()
    assert float(mask[0, 0].float().mean()) < 0.2
    assert not mask[0, 1].any(), "nothing stands out of one colour"


def test_the_background_goes_towards_the_moved_picture_and_the_rest_stays():
    z, shown = normal(1, 3, 2, 4, 4), normal(1, 3, 2, 4, 4, seed=1)
    background = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    background[:, :, :2] = True
    found = with_background(z, shown, background, 0.6)
    assert torch.equal(found[..., 2:, :], z[..., 2:, :])
    torch.testing.assert_close(found[..., :2, :], 0.6 * shown[..., :2, :] + 0.4 * z[..., :2, :])
    assert torch.equal(with_background(z, shown, background, 0.0), z)


def test_the_smoother_leaves_what_goes_evenly_and_takes_away_what_flickers():
    even = normal(1, 1, 3, 4, 4) + torch.arange(7).reshape(1, 7, 1, 1, 1) * normal(1, 1, 3, 4, 4, seed=1)
    flicker = torch.tensor([1.0, -1.0] * 4)[:7].reshape(1, 7, 1, 1, 1) * normal(1, 1, 3, 4, 4, seed=2)
    for first in (1, 2):
        torch.testing.assert_close(between_neighbours(even, first), even)
        found = between_neighbours(even + flicker, first)
        untouched = sorted(set(range(7)) - set(range(first, 6, 2)))
        assert torch.equal(found[:, untouched], (even + flicker)[:, untouched])
        assert {0, 6} <= set(untouched), "boundaries"
    both = between_neighbours(between_neighbours(even + flicker, 1), 2)

    def energy(video: torch.Tensor) -> float:
        return float((video[:, 2:] - 2 * video[:, 1:-1] + video[:, :-2]).square().mean())

    assert energy(both) < 0.1 * energy(even + flicker)


@pytest.mark.parametrize(
    ("sampler", "geometry"), [(ddim, "PRESERVING"), (flow_euler, "STRAIGHT"), (edm_euler, "EXPLODING")]
)
def test_a_smoothed_step_ends_at_the_smoothed_video_with_the_old_noise(sampler, geometry: str):
    """As in the released code: the next z is alpha x0 + sigma eps of the smoothed x0 and the eps that was found."""
    angle = torch.linspace(1.4, 0.3, 11, dtype=torch.float64)
    whole = Geometry[geometry].level(angle.cos(), angle.sin())
    x, z = normal(1, 5, 2, 3, 3), normal(1, 5, 2, 3, 3, seed=1)
    codec = (lambda x0: 2 * x0 + 1, lambda video: (video - 1) / 2)
    denoise = smoothed(point_mass(x), whole, 0.4, codec)
    at_six = sampler(point_mass(x), z, whole[:7])
    now, then = whole[6], whole[7]
    eps = (at_six - now.alpha * x) / now.sigma
    found = sampler(denoise, z, whole[:8])
    torch.testing.assert_close(found, then.alpha * between_neighbours(x, 1) + then.sigma * eps)
    torch.testing.assert_close(sampler(denoise, z, whole[:7]), at_six)
    later = sampler(denoise, z, whole[:9])
    assert not torch.allclose(later[:, 2], sampler(point_mass(x), z, whole[:9])[:, 2]), "the other half, a step later"
    assert torch.equal(later[:, [0, 4]], sampler(point_mass(x), z, whole[:9])[:, [0, 4]])


def test_a_video_that_goes_evenly_is_sampled_as_without_a_smoother():
    levels = stations(Cosine(), 10)
    even = torch.arange(5.0, dtype=torch.float64).reshape(1, 5, 1, 1, 1).expand(1, 5, 2, 3, 3)
    codec = (lambda x0: x0, lambda video: video)
    z = normal(1, 5, 2, 3, 3)
    smooth = ddim(smoothed(point_mass(even), levels, 0.4, codec), z, levels)
    torch.testing.assert_close(smooth, even, rtol=0, atol=1e-9)
    assert isinstance(levels, NoiseLevel)
