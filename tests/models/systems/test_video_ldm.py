"""Video LDM's presets fit one another: key frames, twice what is between, and larger."""

from pathlib import Path

import pytest
import torch
from helpers.commands import invoke, one_line
from helpers.gaussian_system import prompts

from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.files import write_mp4
from clipmill.models.generate.loading import Loaded
from clipmill.models.network import seeded_network
from clipmill.models.settings.training import size_px
from clipmill.models.stages.following import made_of
from clipmill.models.stages.taking import taking_of

CPU = torch.device("cpu")


def untrained(name: str, *settings: str) -> Loaded:
    """As a checkpoint whose training has not begun."""
    config = load(f"{name}-nano", settings)
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    return Loaded(Path(name), config, {}, 0, 0.0, seeded_network(config, autoencoder), autoencoder)


def test_three_key_frames_become_nine_and_then_thirty_three(tmp_path: Path):
    keys = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grid, videos = (3, 16, 16), keys
    for number, frames in enumerate((9, 33)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for k, video in enumerate(videos):
            write_mp4(folder / f"{k:06d}.mp4", video, 8.0, lossless=True)
        loaded = untrained("video-ldm-interpolate", "sample.steps=1")
        taking = taking_of(loaded, grid)
        assert (taking.grid, taking.kept, taking.rate) == ((frames, 16, 16), 4, 4)
        videos = made_of(taking, folder)(loaded.generator(CPU), prompts(2), SampleNoise(number, range(2)))
        grid = taking.grid
    assert videos.shape == (2, 33, 3, 16, 16)
    assert torch.equal(videos[:, ::16], keys), "what is given stays, bit by bit"
    assert taking_of(untrained("video-ldm-upscale"), grid).grid == (33, 32, 32)


def test_sizes_and_rates_of_the_full_presets_fit_one_another():
    keys, between, large = (load(f"video-ldm-{name}") for name in ("keys", "interpolate", "upscale"))
    assert keys.data.stride == 4 * between.data.stride
    assert between.data.frames == (5,)
    small, big = (size_px(config.data.sizes[0]) for config in (keys, large))
    assert big == tuple(large.conditioning.frames.space * side for side in small)
    assert between.data.sizes == keys.data.sizes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--config", "video-ldm-keys-nano"), "freezes weights that nothing has trained: set train.init"),
        (("--config", "video-ldm-decoder-nano"), "set autoencoder.weights to an autoencoder"),
    ],
)
def test_a_stage_without_the_one_before_it_is_one_line(
    options: tuple[str, ...], says: str, tiny_run: Path, tmp_path: Path
):
    one_line(invoke("models", "train", tiny_run, *options, "--out", tmp_path / "ckpt", "--device", "cpu"), says)
    assert not (tmp_path / "ckpt").exists()
