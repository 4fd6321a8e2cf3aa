"""Autoencoders: what may not reach what, which sizes fit, exact starts, and the statistics of latents."""

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.autoencoders.base import posterior_of
from clipmill.models.autoencoders.causal import CausalAutoencoder, CausalConfig, chunks_of
from clipmill.models.autoencoders.causal_resampling import CausalGrow
from clipmill.models.autoencoders.frame import FrameAutoencoder, FrameConfig
from clipmill.models.autoencoders.moments import RunningMoments
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig
from clipmill.models.autoencoders.statistics import fill_latent_statistics, measure_latents
from clipmill.models.layers.temporal import Mixer
from clipmill.models.training.objectives.reconstruction_flops import reconstruction_flops

torch.set_num_threads(1)
TINY_FRAME = {"latent_channels": 4, "widths": (8, 8, 16), "depth": 1, "groups": 4}
NORMS = ["frame", "voxel"]


def video(frames=5, height=16, width=24, batch=2, seed=0):
    return torch.rand(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def disturb(module, scale=0.1):
    """Numbers everywhere, also where layers start at zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return module


def causal(**options):
    torch.manual_seed(0)
    tiny = {
        "latent_channels": 4,
        "width": 8,
        "multipliers": (1, 1, 2),
        "depth": 1,
        "time_factor": 4,
        "space_factor": 4,
        "groups": 4,
    }
    return disturb(CausalAutoencoder(CausalConfig(**(tiny | options))), 0.02).eval()


def frame(**options):
    torch.manual_seed(0)
    return FrameAutoencoder(FrameConfig(**(TINY_FRAME | options))).eval()


# The causal autoencoder


@pytest.mark.parametrize("norm", NORMS)
@torch.no_grad()
def test_no_latent_knows_a_later_frame_bit_by_bit(norm):
    model, x = causal(norm=norm), video(frames=13)
    latents = model.encode(x)
    for changed_frame in range(13):
        other = x.clone()
        other[:, changed_frame] += 0.5
        found, first = model.encode(other), -(-changed_frame // 4)
        for before, after in zip(latents, found, strict=True):
            assert torch.equal(before[:, :first], after[:, :first])
        assert (latents.mean[:, first] - found.mean[:, first]).abs().max() > 1e-4


@pytest.mark.parametrize("norm", NORMS)
@torch.no_grad()
def test_no_frame_is_decoded_from_a_later_latent_bit_by_bit(norm):
    model, z = causal(norm=norm), torch.randn(2, 4, 4, 4, 6)
    frames = model.decode(z)
    for changed_latent in range(4):
        other = z.clone()
        other[:, changed_latent] += 0.5
        found, first = model.decode(other), max(0, 4 * changed_latent - 3)
        assert torch.equal(frames[:, :first], found[:, :first])
        assert (frames[:, first] - found[:, first]).abs().max() > 1e-4


@torch.no_grad()
def test_an_image_is_the_first_frame_of_a_video():
    model, x = causal(), video(frames=9)
    image, whole = model.encode(x[:, :1]), model.encode(x)
    torch.testing.assert_close(image.mean, whole.mean[:, :1], rtol=0, atol=1e-5)
    torch.testing.assert_close(image.std, whole.std[:, :1], rtol=0, atol=1e-5)
    torch.testing.assert_close(model.decode(whole.mean[:, :1]), model.decode(whole.mean)[:, :1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("time_factor", "latents_per_chunk"), [(4, 1), (4, 2), (2, 3), (1, 2)])
@torch.no_grad()
def test_chunks_join_to_the_whole(norm, time_factor, latents_per_chunk):
    model, x = causal(norm=norm, time_factor=time_factor), video(frames=17)
    whole = model.encode(x)
    parts = list(model.encode_chunks(chunks_of(x, latents_per_chunk, time_factor)))
    assert len(parts) > 1
    torch.testing.assert_close(torch.cat([part.mean for part in parts], dim=1), whole.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat([part.std for part in parts], dim=1), whole.std, rtol=0, atol=1e-5)
    frames = list(model.decode_chunks(whole.mean.split(latents_per_chunk, dim=1)))
    torch.testing.assert_close(torch.cat(frames, dim=1), model.decode(whole.mean), rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_is_remembered_of_a_long_video_does_not_grow():
    model, past, sizes = causal(), {}, []
    for chunk in chunks_of(video(frames=33, batch=1), 1, 4):
        model.encode_chunk(chunk, past)
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in past.values()))
    assert len(sizes) == 8
    assert len(set(sizes)) == 1
    # Two frames at the input's size, and less behind it: a fraction of what the chunk itself took.
    assert sizes[0] < 2 * 2 * 4 * (3 + 8 * 6) * 16 * 24


def test_chunks_of_other_lengths_are_refused():
    model = causal()
    with pytest.raises(UserError, match="1 frame and 4 more per latent, not 4 frames: the next is 5"):
        list(model.encode_chunks(video(frames=8).split(4, dim=1)))
    with pytest.raises(UserError, match="a multiple of 4 frames, not 3"):
        list(model.encode_chunks(video(frames=8).split([5, 3], dim=1)))
    with pytest.raises(UserError, match="at least one latent"):
        list(chunks_of(video(), 0, 4))


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 12, 20), (5, 4, 4), (9, 20, 12), (17, 12, 28)])
@torch.no_grad()
def test_shapes_of_the_causal_autoencoder(frames, height, width):
    model, x = causal(), video(frames, height, width, batch=1)
    grid = model.latent_grid((frames, height, width))
    assert grid == (1 + (frames - 1) // 4, height // 4, width // 4)
    posterior = model.encode(x)
    assert posterior.mean.shape == posterior.std.shape == (1, grid[0], 4, *grid[1:])
    assert model.decode(posterior.mean).shape == x.shape


@pytest.mark.parametrize(
    ("time_factor", "space_factor", "multipliers"),
    [(1, 4, (1, 1, 2)), (2, 8, (1, 1, 1, 2)), (4, 2, (1, 1, 1)), (1, 1, (1,))],
)
@torch.no_grad()
def test_factors_of_time_and_space_are_free_of_each_other(time_factor, space_factor, multipliers):
    model, x = (
        causal(time_factor=time_factor, space_factor=space_factor, multipliers=multipliers),
        video(9, 16, 8, batch=1),
    )
    posterior = model.encode(x)
    assert posterior.mean.shape == (1, 1 + 8 // time_factor, 4, 16 // space_factor, 8 // space_factor)
    assert model.decode(posterior.mean).shape == x.shape


def test_sizes_that_do_not_fit_name_the_next_that_does():
    model = causal()
    with pytest.raises(UserError, match="multiples of 4 px, not 18x24: the next is 20x24"):
        model.encode(video(height=18))
    with pytest.raises(UserError, match="not 6 frames: the next is 9"):
        model.latent_grid((6, 16, 16))
    with pytest.raises(UserError, match=r"float videos \[B, T, 3, H, W\]"):
        model.encode(video().to(torch.uint8))
    with pytest.raises(UserError, match=r"latents \[B, T, 4, H, W\]"):
        model.decode(torch.zeros(1, 2, 3, 4, 4))


@torch.no_grad()
def test_growing_starts_as_nearest_neighbour():
    found = CausalGrow(4, 2, 2)(torch.randn(2, 3, 4, 5, 6))
    assert found.shape == (2, 5, 4, 10, 12)
    assert torch.equal(found[:, 1], found[:, 2])
    assert torch.equal(found[..., ::2, ::2], found[..., 1::2, 1::2])
    assert not torch.equal(found[:, 2], found[:, 3])
    assert not torch.equal(found[..., 1:-1:2, :], found[..., 2::2, :])


@torch.no_grad()
def test_growing_puts_every_pixel_in_its_place():
    layer = CausalGrow(1, 2, 2)
    layer.convolution.weight.zero_()
    layer.convolution.bias.copy_(torch.arange(8.0))
    found = layer(torch.zeros(1, 2, 1, 1, 1))[0, :, 0]
    assert found.tolist() == [[[4, 5], [6, 7]], [[0, 1], [2, 3]], [[4, 5], [6, 7]]]


# Posteriors


def test_variance_is_clamped_and_may_be_nothing():
    moments = torch.tensor([1.0, 2.0, -99.0, 99.0]).view(1, 1, 4, 1, 1)
    found = posterior_of(moments, deterministic=False)
    assert found.mean.flatten().tolist() == [1, 2]
    torch.testing.assert_close(found.std.flatten(), torch.tensor([-15.0, 10.0]).exp())
    certain = posterior_of(moments, deterministic=True)
    assert torch.equal(certain.mean, moments)
    assert not certain.std.any()


@pytest.mark.parametrize("make", [causal, frame])
@torch.no_grad()
def test_a_deterministic_autoencoder_gives_as_many_channels_without_doubt(make):
    posterior = make(deterministic=True).encode(video())
    assert posterior.mean.shape[2] == 4
    assert not posterior.std.any()
    assert make().encode(video()).std.min() > 0


# The frame-wise autoencoder and its temporal decoder


@torch.no_grad()
def test_a_temporal_decoder_starts_bit_by_bit_as_the_image_decoder():
    image, x = disturb(frame()), video(frames=6)
    image.latent_mean += 2
    model = image.with_temporal_decoder()
    assert torch.equal(model.latent_mean, image.latent_mean)
    latents = image.encode(x).mean
    assert torch.equal(model.encode(x).mean, latents)
    assert torch.equal(model.decode(latents), image.decode(latents))
    disturb(model.over_time)
    disturb(model.decoder)
    other = latents.clone()
    other[:, 4] += 1
    assert (model.decode(latents) - model.decode(other))[:, :4].abs().amax(dim=(0, 2, 3, 4)).min() > 1e-5


@torch.no_grad()
def test_frames_are_encoded_one_by_one():
    model, x = frame(temporal_decoder=True), video(frames=3)
    torch.testing.assert_close(model.encode(x).mean[:, 1:2], model.encode(x[:, 1:2]).mean, rtol=0, atol=1e-6)
    assert model.latent_grid((3, 16, 24)) == (3, 4, 6)
    with pytest.raises(UserError, match="the next is 20x28"):
        model.encode(video(height=17, width=25))


def test_only_layers_along_time_learn_in_a_decoder_fine_tune():
    model, x = frame(temporal_decoder=True), video(frames=4)
    image_names = set(frame().state_dict())
    learning = model.freeze_for_decoder()
    assert learning == {name for name, _ in model.named_parameters()} - image_names
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2, weight_decay=0.1)
    for _ in range(3):
        (model.decode(model.encode(x).mean) - x).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in image_names)
    blocks = [module for module in model.modules() if isinstance(module, Mixer)]
    assert len(blocks) == 2 + 3 * 2
    assert all(not torch.equal(before[name], after[name]) for name in learning)


def test_a_fine_tune_needs_layers_along_time_and_an_image_model_of_its_shape():
    with pytest.raises(UserError, match="temporal_decoder=true"):
        frame().freeze_for_decoder()
    with pytest.raises(UserError, match="another shape"):
        frame(temporal_decoder=True).load_images(frame(widths=(8, 16, 16)))


# Pixels


@torch.no_grad()
def test_pixels_give_back_every_bit():
    model, x = Pixels(PixelsConfig(space_factor=4)), video(frames=3)
    posterior = model.encode(x)
    assert posterior.mean.shape == (2, 3, 48, 4, 6)
    assert not posterior.std.any()
    assert torch.equal(model.decode(posterior.mean), x)
    assert torch.equal(posterior.mean[0, 0, :16, 0, 0], x[0, 0, 0, :4, :4].flatten())


@torch.no_grad()
def test_components_are_orthonormal_uncorrelated_and_the_best_ones():
    smooth = torch.nn.functional.avg_pool2d(video(frames=40, height=19, width=27).flatten(0, 1), 4, 1).unflatten(
        0, (2, 40)
    )
    model = Pixels(PixelsConfig(space_factor=2, components=5)).fit(smooth.split(10, dim=1))
    torch.testing.assert_close(model.basis @ model.basis.T, torch.eye(5), rtol=0, atol=1e-5)
    latents = model.encode(smooth).mean
    covariance = torch.cov(latents.movedim(2, 0).flatten(1).double(), correction=0)
    variances = covariance.diagonal()
    assert (covariance - variances.diag()).abs().max() < 1e-5 * variances[0]
    assert (variances.diff() <= 0).all()
    blocks = torch.nn.functional.pixel_unshuffle(smooth, 2).movedim(2, 0).flatten(1).double()
    left_out = torch.linalg.eigvalsh(torch.cov(blocks, correction=0))[:-5].sum()
    error = (model.decode(latents) - smooth).double().square().sum() / blocks.shape[1]
    torch.testing.assert_close(error, left_out, rtol=1e-4, atol=0)


@torch.no_grad()
def test_all_components_lose_nothing_but_rounding():
    model, x = Pixels(PixelsConfig(space_factor=2, components=12)), video(frames=3)
    with pytest.raises(UserError, match="fit them to training videos"):
        model.encode(x)
    torch.testing.assert_close(model.fit([x]).decode(model.encode(x).mean), x, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="no video to measure"):
        model.fit([])


def moving(frames=8, height=8, width=12, batch=12):
    """Smooth patterns that drift, float [B, T, 3, H, W]."""
    phase = torch.rand(batch, 1, 3, 1, 1, generator=torch.Generator().manual_seed(5)) * 6
    t, y, x = (torch.arange(float(n)) for n in (frames, height, width))
    wave = (t.view(1, -1, 1, 1, 1) * 0.4 + y.view(1, 1, 1, -1, 1) * 0.7 + x * (0.3 + 0.1 * phase) + phase).sin()
    return wave + 0.05 * video(frames, height, width, batch)


@pytest.mark.parametrize(("frames", "time_factor"), [(8, 2), (6, 3), (8, 8), (1, 1)])
@torch.no_grad()
def test_blocks_of_several_frames_give_back_every_bit(frames, time_factor):
    model, x = Pixels(PixelsConfig(space_factor=4, time_factor=time_factor)), video(frames=frames)
    latents = model.encode(x).mean
    assert latents.shape == (2, frames // time_factor, 48 * time_factor, 4, 6)
    assert model.latent_grid((frames, 16, 24)) == (frames // time_factor, 4, 6)
    assert torch.equal(model.decode(latents), x)
    # Frame after frame within a latent: its last channels are of the block's last frame.
    assert torch.equal(latents[0, 0, -48:, 0, 0], Pixels(PixelsConfig(4)).encode(x).mean[0, time_factor - 1, :, 0, 0])


@pytest.mark.parametrize(("size", "space_factor"), [((8, 12), 4), ((40, 40), 40)])
@torch.no_grad()
def test_components_of_windows_are_the_best_ones_whether_few_or_many_channels(size, space_factor):
    """8 frames of 40x40 px have 38,400 values, 12 windows of them: the way by products of windows."""
    x = moving(8, *size)
    config = PixelsConfig(space_factor=space_factor, time_factor=8, components=5)
    model = Pixels(config).fit(x.split(3))
    torch.testing.assert_close(model.basis @ model.basis.T, torch.eye(5), rtol=0, atol=1e-5)
    blocks = Pixels(PixelsConfig(space_factor, None, 8)).encode(x).mean.movedim(2, 0).flatten(1).double()
    spectrum = torch.linalg.svdvals(blocks - blocks.mean(dim=1, keepdim=True)).square()
    latents = model.encode(x).mean
    covariance = torch.cov(latents.movedim(2, 0).flatten(1).double(), correction=0)
    torch.testing.assert_close(covariance.diagonal() * blocks.shape[1], spectrum[:5], rtol=1e-3, atol=0)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-4 * covariance.max()
    error = (model.decode(latents) - x).double().square().sum()
    torch.testing.assert_close(error, spectrum[5:].sum(), rtol=1e-3, atol=0)


@torch.no_grad()
def test_more_components_than_windows_lose_nothing_of_them():
    x = moving(8, 40, 40, batch=4)
    model = Pixels(PixelsConfig(space_factor=40, time_factor=8, components=6)).fit([x])
    torch.testing.assert_close(model.basis @ model.basis.T, torch.eye(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.decode(model.encode(x).mean), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@torch.no_grad()
def test_variances_of_latents_are_the_datas_to_one_minus_the_exponent(exponent):
    x = moving()
    model = Pixels(PixelsConfig(space_factor=4, time_factor=8, components=5, scale=exponent)).fit([x])
    fill_latent_statistics(model, [x])
    latents = model.encode(x).mean.movedim(2, 0).flatten(1).double()
    seen = (latents / model.latent_std[:, None]).var(dim=1, correction=0)
    wanted = latents.var(dim=1, correction=0) ** (1 - exponent)
    torch.testing.assert_close(seen, wanted / wanted.mean(), rtol=1e-4, atol=0)
    assert exponent == 1 or seen[0] > 1.2 * seen[-1]


def test_lengths_and_sizes_that_do_not_fill_blocks_are_one_line():
    model = Pixels(PixelsConfig(space_factor=4, time_factor=4))
    with pytest.raises(UserError, match="a multiple of 4 frames, not 6; the next is 8"):
        model.latent_grid((6, 16, 16))
    with pytest.raises(UserError, match="a multiple of 4 frames, not 1; the next is 4"):
        model.encode(video(frames=1))
    with pytest.raises(UserError, match="multiples of 4 px, not 18x24"):
        model.latent_grid((8, 18, 24))


# Statistics


def test_moments_of_batches_are_those_of_all_at_once_however_far_from_zero():
    values = torch.randn(7, 3, 4, 5, 6, dtype=torch.float64) + 1e6
    moments = RunningMoments(4)
    for batch in values.split([1, 4, 2]):
        moments.add(batch)
    flat = values.movedim(2, 0).flatten(1)
    torch.testing.assert_close(moments.mean, flat.mean(dim=1), rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.covariance, torch.cov(flat, correction=0), rtol=1e-8, atol=1e-10)


@torch.no_grad()
def test_standardised_latents_have_mean_zero_and_standard_deviation_one():
    model = causal()
    model.encoder.output.convolution.bias[4:] = 0
    clips = [video(9, 32, 32, seed=seed) for seed in range(3)]
    fill_latent_statistics(model, iter(clips))
    generator, drawn = torch.Generator().manual_seed(1), []
    for _ in range(4):
        for clip in clips:
            posterior = model.encode(clip)
            drawn.append(posterior.sample(torch.randn(posterior.mean.shape, generator=generator)))
    z = (torch.cat(drawn) - model.latent_mean.view(-1, 1, 1)) / model.latent_std.view(-1, 1, 1)
    # 4 608 positions of 4 draws: sampling errors of 0.007, and more for what neighbours share.
    assert z.mean(dim=(0, 1, 3, 4)).abs().max() < 0.03
    assert (z.std(dim=(0, 1, 3, 4)) - 1).abs().max() < 0.03
    mean, std = measure_latents(model, clips)
    assert mean.dtype == std.dtype == torch.float64
    assert std.min() > 0.5


@torch.no_grad()
def test_channels_that_never_change_are_not_blown_up():
    model, grey = Pixels(PixelsConfig(space_factor=2)), video(frames=2)
    grey[:, :, 0] = 0.25
    fill_latent_statistics(model, [grey])
    torch.testing.assert_close(model.latent_mean[:4], torch.full((4,), 0.25))
    assert model.latent_std[:4].tolist() == [1] * 4
    assert (model.latent_std[4:] - 3**-0.5).abs().max() < 0.1


# By name


@pytest.mark.parametrize("kind", ["pixels", "frame", "causal"])
def test_autoencoders_by_name(kind):
    options = {
        "pixels": {},
        "frame": {"widths": [8, 8]},
        "causal": {"width": 8, "multipliers": [1, 1, 1, 1], "groups": 4},
    }[kind]
    assert autoencoder_named(kind, options).kind == kind
    with pytest.raises(UserError, match=r"autoencoder.options.dept"):
        autoencoder_named(kind, {"dept": 1})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("pixel", {}, "there are pixels, frame, causal"),
        ("pixels", {"space_factor": 0}, "at least 1"),
        ("pixels", {"space_factor": 2, "components": 13}, "1 to 12 components"),
        ("pixels", {"space_factor": 2, "time_factor": 2, "components": 25}, "2 frames of 2x2 px have 1 to 24"),
        ("pixels", {"time_factor": 0}, "at least 1"),
        ("pixels", {"scale": 2.0}, "scale is 0 to 1"),
        ("frame", {"widths": []}, "at least 1"),
        ("causal", {"multipliers": []}, "at least 1"),
        ("causal", {"time_factor": 3}, "1, 2, 4, 8"),
        ("causal", {"multipliers": [1, 2]}, "factors up to 2"),
        ("causal", {"norm": "batch"}, "frame, voxel"),
    ],
)
def test_options_that_cannot_work_are_one_line(kind, options, message):
    with pytest.raises(UserError, match=message) as caught:
        autoencoder_named(kind, options)
    assert "\n" not in str(caught.value)


def test_operations_are_those_of_the_convolutions():
    shape = {"latent_channels": 2, "width": 4, "multipliers": (1,), "depth": 1, "time_factor": 1, "space_factor": 1}
    model = causal(**shape, attention=False, deterministic=True)
    # Of both sides: first and last 3 -> 4 and 4 -> 2, and one way back; 3 and 4 residual blocks of two convolutions 4
    # -> 4.
    weights = 27 * (2 * 3 * 4 + 2 * 4 * 2 + (3 + 4) * 2 * 4 * 4)
    assert reconstruction_flops(model, (5, 6, 7)) == 2 * weights * 5 * 6 * 7
    assert reconstruction_flops(causal(), (5, 16, 16)) > 0
    with pytest.raises(UserError, match="the next is 9"):
        reconstruction_flops(causal(), (6, 16, 16))
