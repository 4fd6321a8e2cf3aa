"""A model that was given nothing in training makes videos larger, guided by them, as a closed form has it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.commands import invoke, models, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import PIXEL_STD, gaussian_generator, markov, prompts

from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import estimate_of_x0
from clipmill.models.core.reconstruction import reconstruction_guidance
from clipmill.models.generate.files import write_mp4
from clipmill.models.generate.guided import Known, Small
from clipmill.models.generate.sampling import as_bytes
from clipmill.models.stages.following import made_of
from clipmill.models.stages.sample_folder import frames_of
from clipmill.models.stages.taking import Taking, cut

pytestmark = pytest.mark.slow

QUICK = ("--set", "sample.steps=2", "--device", "cpu")
TIME, SPACE, COUNT = 0.9, 0.6, 120  # correlations from frame to frame and within squares of 2x2 px; videos


def blocks(video: torch.Tensor) -> torch.Tensor:
    """[B, T, 3, H, W] -> [N, T * 4]: the squares of 2x2 px, each through all frames."""
    parts = torch.nn.functional.pixel_unshuffle(video, 2).unflatten(2, (3, 4))
    return parts.permute(0, 2, 4, 5, 1, 3).flatten(4).flatten(0, 3)


def unblocked(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The inverse of `blocks`."""
    batch, frames, _, height, width = like.shape
    parts = values.reshape(batch, 3, height // 2, width // 2, frames, 4).permute(0, 4, 1, 5, 2, 3)
    return torch.nn.functional.pixel_shuffle(parts.flatten(2, 3), 2)


def covariance(frames: int) -> torch.Tensor:
    """float64 [T * 4, T * 4] of `blocks`."""
    return torch.kron(markov(frames, TIME), torch.full((4, 4), SPACE).double() + (1 - SPACE) * torch.eye(4).double())


class GaussianBlocks(torch.nn.Module):
    """As `Network`: x0 = E[x | z] for `covariance`."""

    knows_images = False

    def __init__(self, conditioner):
        super().__init__()
        self.conditioner = conditioner

    def forward(self, z, noise_level, conditions):
        angle = float(noise_level.double()[0]) * torch.pi / 2
        gain = wiener(z.shape[1], torch.tensor(angle).cos(), torch.tensor(angle).sin())
        return unblocked(blocks(z) @ gain.T.to(z), z)


def wiener(frames: int, alpha, sigma) -> torch.Tensor:
    sized = covariance(frames)
    return alpha * sized @ torch.linalg.inv(alpha**2 * sized + sigma**2 * torch.eye(len(sized)))


def generator(**sample):
    usual = gaussian_generator(markov(3, TIME), "none", known="guidance", sampler="ancestral", **sample)
    return replace(usual, network=GaussianBlocks(usual.network.conditioner))


def drawn(frames: int, seed: int = 0) -> torch.Tensor:
    """float64 [COUNT, T, 3, 4, 4], of variance 1."""
    root = torch.linalg.cholesky(covariance(frames))
    noise = torch.randn(COUNT * 3 * 4, len(root), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return unblocked(noise @ root.T, torch.zeros(COUNT, frames, 3, 4, 4))


def means(video: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(video.flatten(0, 1), 2).unflatten(0, video.shape[:2])


def test_an_estimate_moves_along_the_gradient_of_the_error_of_the_small_video():
    """x + w alpha G' A' (y - A x) for x = G z, the mean A of squares and the small video y (section 3.1)."""
    system, weight, alpha = generator(), 3.0, 0.6
    level = NoiseLevel(torch.tensor([alpha]).double(), torch.tensor([0.8]).double())
    small, z = as_bytes(means(drawn(3)) * PIXEL_STD), drawn(3, seed=1)
    gain = wiener(3, alpha, 0.8)

    def denoise(z, level):
        return estimate_of_x0(unblocked(blocks(z) @ gain.T, z), z, level)

    known = Known(z.new_zeros(COUNT, 3, 1, 1, 1), torch.zeros(3).bool(), Small.of_bytes(small, 2, system.autoencoder))
    found = reconstruction_guidance(denoise, known.observed(), known.observe, weight)(z, level).x0
    mean = torch.kron(torch.eye(3), torch.full((1, 4), 0.25)).double()
    plain, wanted = blocks(z) @ gain.T, (small.double() / 127.5 - 1) / PIXEL_STD
    error = wanted.permute(0, 2, 3, 4, 1).flatten(0, 3) - plain @ mean.T
    torch.testing.assert_close(blocks(found), plain + weight * alpha * error @ mean @ gain, rtol=0, atol=1e-5)


def enlarged(folder: Path, frames: int, shared: int, **sample: object) -> tuple[torch.Tensor, torch.Tensor]:
    """(small, made), both of variance 1 but for shrinking."""
    small = as_bytes(means(drawn(frames)) * PIXEL_STD)
    for number, video in enumerate(small):
        write_mp4(folder / f"{number:06d}.mp4", video, 8.0, lossless=True)
    taking = Taking("", (frames, 4, 4), cut(frames, 3, 1, shared), 0, 1)
    made = made_of(taking, folder)(generator(**sample), prompts(COUNT), SampleNoise(1, range(COUNT)))
    assert made.shape == (COUNT, frames, 3, 4, 4)
    return tuple((video.double() / 127.5 - 1) / PIXEL_STD for video in (small, made))


def test_what_is_made_shrinks_to_the_small_video_and_its_detail_is_that_of_the_data(tmp_path: Path):
    small, made = enlarged(tmp_path, 3, 0, reconstruction=8.0)
    assert float((means(made) - small).square().mean().sqrt()) < 0.2 * float(small.std())
    detail = made - torch.nn.functional.interpolate(means(made).flatten(0, 1), scale_factor=2).unflatten(0, (COUNT, 3))
    assert float(detail.square().mean()) == pytest.approx(0.75 * (1 - SPACE), rel=0.2)


def test_without_guidance_it_is_any_other_video(tmp_path: Path):
    small, made = enlarged(tmp_path, 3, 0, reconstruction=0.0)
    assert float((means(made) - small).square().mean().sqrt()) > float(small.std())


@pytest.mark.parametrize("shared", [0, 1])
def test_a_window_goes_on_from_the_frames_before_as_well(shared: int, tmp_path: Path):
    """The detail, of which the small video says nothing, across the seam: correlated as the data's, or not at all."""
    _, made = enlarged(tmp_path, 5 if shared else 6, shared, reconstruction=4.0, steps=25)
    large = torch.nn.functional.interpolate(means(made).flatten(0, 1), scale_factor=2).unflatten(0, made.shape[:2])
    before, behind = (made - large)[:, 2].flatten(), (made - large)[:, 3].flatten()
    correlation = float((before * behind).mean() / (before.square().mean() * behind.square().mean()).sqrt())
    assert correlation > 0.7 if shared else abs(correlation) < 0.1


def test_the_chain_makes_them_and_says_what_does_not_fit(trained: Path, tiny_run: Path, tmp_path: Path):
    large = tmp_path / "large"
    models("train", tiny_run, "--config", "demo-nano", "--steps", 2, "--device", "cpu", "--out", large,
           "--set", "data.sizes=['32x32']", "--set", "train.validate_every=0")  # fmt: skip
    guided = ("--then", large, "--then-set", "1:sample.known=guidance")
    models("sample", trained, *guided, "--out", tmp_path / "s", "--n", 1, "--extend", 6, "--set",
           "sample.known=guidance", *QUICK)  # fmt: skip
    assert frames_of(tmp_path / "s" / "000000.mp4").shape == (6, 3, 32, 32)
    one_line(
        invoke("models", "sample", trained, "--then", large, "--out", tmp_path / "t", *QUICK),
        "takes nothing of the videos before it", "--then-set K:sample.known=guidance",
    )  # fmt: skip
    one_line(
        invoke("models", "sample", large, *guided, "--out", tmp_path / "t", *QUICK),
        "behind videos of 32x32 px choose a model of larger ones",
    )
    assert not (tmp_path / "t").exists()
