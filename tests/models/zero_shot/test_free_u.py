"""FreeU: the factor 1 is the identity, few frequencies change, frames do not mix, and what it cannot be asked of."""

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.layers.plan import SPATIAL
from clipmill.models.settings.zero_shot import FreeUConfig
from clipmill.models.zero_shot.free_u import check_free_u, low_frequencies_times, with_free_u

SMALL = UNetConfig(
    3, 3, width=8, multipliers=(1, 2), depth=1, plans=((SPATIAL,), ()), middle_plans=(), head_dim=4, groups=2
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unet() -> UNet:
    torch.manual_seed(0)
    network = UNet(SMALL)
    torch.nn.init.normal_(network.convolution_out.weight)
    return network


@torch.no_grad()
def predicted(network: UNet, z: torch.Tensor, config: FreeUConfig) -> torch.Tensor:
    with with_free_u(network, config):
        return network(z, torch.full((len(z),), 0.5), Conditioning())


def test_factors_of_one_are_the_identity_and_nothing_stays_behind():
    network, z = unet(), normal(2, 3, 3, 8, 6)
    plain = predicted(network, z, FreeUConfig())
    assert torch.equal(predicted(network, z, FreeUConfig((1.0, 1.0), (1.0, 1.0))), plain)
    for config in (FreeUConfig((1.4,)), FreeUConfig((1.0, 1.4)), FreeUConfig((), (0.2,)), FreeUConfig((), (1.0, 0.2))):
        assert not torch.allclose(predicted(network, z, config), plain, atol=1e-4), config
    assert torch.equal(predicted(network, z, FreeUConfig()), plain)


@pytest.mark.parametrize(("threshold", "sides"), [(1, (8, 6)), (2, (9, 12)), (1, (5, 7))])
def test_few_low_frequencies_change_and_by_the_factor(threshold: int, sides: tuple[int, int]):
    """A picture's coefficients come in pairs, f and -f, that are one number."""
    x = normal(*sides).double()
    before = torch.fft.fft2(x)
    share = torch.fft.fft2(low_frequencies_times(x, 0.0, threshold)) / before
    changed = {(int(a), int(b)) for a, b in (share - 1).abs().gt(1e-9).nonzero()}
    pairs = {frozenset([(a, b), (-a % sides[0], -b % sides[1])]) for a, b in changed}
    assert 0 < len(pairs) <= (2 * threshold) ** 2
    assert abs(complex(share[0, 0])) < 1e-9, "the mean"
    assert float(low_frequencies_times(x, 0.25, threshold).mean() / x.mean()) == pytest.approx(0.25)


def test_the_filter_is_that_of_the_released_code():
    """There: shift, multiply a square around the middle, shift back, real part."""
    x, threshold, factor = normal(2, 3, 6, 8), 2, 0.3
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))
    spectrum[..., 3 - threshold : 3 + threshold, 4 - threshold : 4 + threshold] *= factor
    wanted = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    torch.testing.assert_close(low_frequencies_times(x, factor, threshold), wanted, rtol=0, atol=1e-6)


def test_half_of_what_comes_from_below_is_louder_at_the_levels_that_were_named():
    network, z = unet(), normal(1, 2, 3, 8, 8)
    seen: dict[int, torch.Tensor] = {}

    def look() -> list:
        return [
            layer.residual.register_forward_pre_hook(lambda _, given, k=k: seen.update({k: given[0].clone()}))
            for k, layer in enumerate(network.up)
        ]

    handles = look()
    predicted(network, z, FreeUConfig())
    plain, channels = dict(seen), (16, 16)  # of two levels, from below: the middle's, and those of the level itself
    predicted(network, z, FreeUConfig((3.0,)))
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(seen[0][:, :, :8], 3 * plain[0][:, :, :8])
    torch.testing.assert_close(seen[0][:, :, 8:], plain[0][:, :, 8:])
    assert seen[0].shape[2] > channels[0]
    assert float((seen[1][:, :, :8] / plain[1][:, :, :8] - 3).abs().median()) > 0.01, (
        "it has changed for other reasons too"
    )


def test_frames_do_not_mix_and_half_precision_is_widened():
    x = normal(1, 3, 2, 8, 8)
    whole = low_frequencies_times(x, 0.2, 1)
    alone = torch.cat([low_frequencies_times(x[:, t : t + 1], 0.2, 1) for t in range(3)], dim=1)
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-6)
    narrow = low_frequencies_times(x.bfloat16(), 0.2, 1)
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow, low_frequencies_times(x.bfloat16().float(), 0.2, 1).bfloat16(), rtol=0, atol=0)
    assert torch.equal(low_frequencies_times(x.bfloat16(), 1.0, 1), x.bfloat16())


def test_a_transformer_has_no_skips_and_a_unet_so_many_levels():
    with pytest.raises(UserError, match=r"skips of a U-Net"):
        check_free_u(DiT(DiTConfig(3, 3, width=8, depth=1, head_dim=4)), FreeUConfig((1.2,)))
    with pytest.raises(UserError, match="2 levels"):
        check_free_u(unet(), FreeUConfig((1.2,) * 3))
    check_free_u(DiT(DiTConfig(3, 3, width=8, depth=1, head_dim=4)), FreeUConfig())
