"""What latents keep of videos: closed forms, and the words."""

import pytest
import torch

from clipmill.models.autoencoders.causal import CausalAutoencoder, CausalConfig
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig
from clipmill.models.training.kept import Keeping, Kept, keeping_of, kept_of


def waves(frames=8, seed=0, side=8):
    """Twelve windows, float [1, T, 3, H, W] each: a still picture each, and one wave that moves by its own speed."""
    generator = torch.Generator().manual_seed(seed)
    still, speed = torch.rand(12, 1, 3, side, side, generator=generator) - 0.5, torch.rand(12, generator=generator)
    places = torch.arange(side) * 0.7
    moving = (places + speed[:, None, None, None, None] * torch.arange(frames).view(1, -1, 1, 1, 1)).sin()
    return list((still + 0.3 * moving).split(1))


def test_everything_is_kept_by_all_values_and_nothing_of_the_change_by_a_mean():
    every = kept_of(Pixels(PixelsConfig(4)), waves())
    assert every == Kept(1.0, 1.0, 12)
    # One component of whole windows that are all alike but for noise: what it keeps is the largest eigenvalue's share.
    still = [window[:, :1].expand(-1, 8, -1, -1, -1) for window in waves()]
    assert kept_of(Pixels(PixelsConfig(4)), still) == Kept(1.0, None, 12)
    assert kept_of(Pixels(PixelsConfig(4)), []) is None
    assert kept_of(Pixels(PixelsConfig(4)), [window[:, :1] for window in waves()]) == Kept(1.0, None, 12)


@pytest.mark.parametrize(("space_factor", "time_factor", "components"), [(8, 1, 4), (8, 8, 4), (4, 2, 7)])
def test_components_keep_what_the_spectrum_says(space_factor, time_factor, components):
    windows = waves()
    model = Pixels(PixelsConfig(space_factor, components, time_factor)).fit(windows)
    blocks = torch.cat([Pixels(PixelsConfig(space_factor, None, time_factor)).encode(w).mean for w in windows])
    vectors = blocks.movedim(2, -1).flatten(0, -2).double()
    lost = torch.linalg.svdvals(vectors - vectors.mean(dim=0)).square()[components:].sum()
    video = torch.cat(windows).double()
    energy = (video - video.mean(dim=(0, 1, 3, 4)).view(3, 1, 1)).square().sum()
    error = model.decode(model.encode(torch.cat(windows)).mean).double() - video
    change = 1 - error.diff(dim=1).square().sum() / video.diff(dim=1).square().sum()
    found = kept_of(model, windows)
    assert found.energy == pytest.approx(float(1 - lost / energy), abs=1e-4)
    assert found.change == pytest.approx(float(change), abs=1e-4)
    assert 0.05 < found.energy < 0.999


def test_frames_that_come_back_shuffled_keep_the_energy_of_none_of_their_change():
    """The measure is of what comes back, not of how much moves in it."""

    class Late(Pixels):
        def decode(self, latents):
            return super().decode(latents).roll(1, dims=1)

    found = kept_of(Late(PixelsConfig(4)), waves())
    assert found.change < 0.2 < found.energy


def test_too_little_is_a_warning_with_its_remedy():
    windows, others = waves(), [window.transpose(3, 4) for window in waves(seed=3)]
    kept = keeping_of(Pixels(PixelsConfig(8, 1, 1)).fit(windows), windows, others)
    assert set(kept.facts()) == {f"{a}_{b}" for a in ("training", "held_out") for b in ("energy", "change")}
    line, warning = kept.lines()
    assert "of 12 training windows; " in line
    assert "of 12 held-out windows" in line
    assert "raise autoencoder.options.components, now 1, or autoencoder.options.time_factor, now 1" in warning
    every = PixelsConfig(8, 12, 8)
    kept = keeping_of(Pixels(every).fit(windows), windows, others)
    assert kept.training.change > 0.99
    assert "components of so few clips fit no others; take more clips, or smaller blocks" in kept.lines()[1]
    assert "\n" not in "".join(kept.lines())
    good = keeping_of(Pixels(PixelsConfig(4)), windows, [])
    assert good.lines() == [
        "  latents keep 100 % of the energy and 100 % of the change over time of 12 training windows"
    ]
    assert good.held_out is None


def test_a_learned_autoencoder_is_measured_likewise():
    torch.manual_seed(0)
    tiny = {"width": 8, "multipliers": (1, 1), "depth": 1, "time_factor": 2, "space_factor": 2, "groups": 4}
    model = CausalAutoencoder(CausalConfig(latent_channels=4, **tiny)).eval().requires_grad_(False)
    kept = keeping_of(model, waves(frames=9), [])
    assert kept.training.change < 0.5
    assert "train the autoencoder longer" in kept.lines()[1]
    assert Keeping(None, None, "").lines() == []
