"""The picture path against slow references written out pixel by pixel, and against what the named peers compute."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError
from clipmill.evaluate.frames.protocol import Protocol, load
from clipmill.evaluate.frames.resize import covering, loader_step, preprocess, tf1_bilinear

SIZES = [(64, 64), (128, 128), (256, 256), (240, 320), (37, 301), (1, 5), (224, 224)]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def protocol(**fields):
    return Protocol(name="test", version=1, **fields)


def slow_legacy(picture, height, width):
    """TensorFlow 1's loops: uint8 [H, W, 3] -> float32 [height, width, 3]."""
    rows, columns = picture.shape[:2]
    out = np.empty((height, width, 3), np.float32)
    f = np.float32
    for y in range(height):
        at_y = f(y) * (f(rows) / f(height))
        y0 = math.floor(at_y)
        y1, dy = min(y0 + 1, rows - 1), f(at_y - f(y0))
        for x in range(width):
            at_x = f(x) * (f(columns) / f(width))
            x0 = math.floor(at_x)
            x1, dx = min(x0 + 1, columns - 1), f(at_x - f(x0))
            corners = picture[[y0, y0, y1, y1], [x0, x1, x0, x1]].astype(np.float32)
            top = corners[0] + (corners[1] - corners[0]) * dx
            bottom = corners[2] + (corners[3] - corners[2]) * dx
            out[y, x] = top + (bottom - top) * dy
    return out


@pytest.mark.parametrize("size", [(64, 64), (240, 320), (37, 301), (1, 5)])
def test_legacy_bilinear_is_the_slow_loop_to_the_bit(size):
    frames = noise(2, *size, 3)
    fast = tf1_bilinear(frames, 56, 40)
    for t in range(2):
        assert np.array_equal(fast[t].transpose(1, 2, 0), slow_legacy(frames[t], 56, 40))


def test_legacy_bilinear_to_the_networks_size_and_to_the_same_size():
    frames = noise(1, 64, 64, 3)
    assert np.array_equal(tf1_bilinear(frames, 224, 224)[0].transpose(1, 2, 0), slow_legacy(frames[0], 224, 224))
    assert np.array_equal(tf1_bilinear(frames, 64, 64), frames.transpose(0, 3, 1, 2).astype(np.float32))


def test_legacy_grid_is_not_the_half_pixel_grid():
    """The two differ by several grey levels on the same frames, as measured on the original graph (30.5 for noise, 64
    to 224).
    """
    frames = noise(4, 64, 64, 3)
    legacy = preprocess(frames, load("original"), 224)
    half_pixel = preprocess(frames, load("stylegan-v"), 224)
    assert (legacy - half_pixel).abs().mean().item() * 127.5 == pytest.approx(30.5, abs=0.5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["tf1-bilinear", "bilinear", "bilinear-antialias"])
@pytest.mark.parametrize("geometry", ["stretch", "short-side-crop"])
def test_shape_range_and_dtype(size, resize, geometry):
    out = preprocess(noise(2, *size, 3), protocol(resize=resize, geometry=geometry), 48)
    assert out.shape == (2, 3, 48, 48)
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    assert -1 <= out.min() <= out.max() <= 1 + 1e-6


def test_extremes_are_minus_one_and_one():
    frames = np.zeros((2, 30, 50, 3), np.uint8)
    frames[1] = 255
    for resize in ("tf1-bilinear", "bilinear", "bilinear-antialias"):
        out = preprocess(frames, protocol(resize=resize), 32)
        assert torch.equal(out[0], torch.full((3, 32, 32), -1.0))
        assert (out[1] - 1).abs().max() < 1e-6


def test_channels_keep_their_place():
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    frames[..., 0], frames[..., 2] = 255, 51
    for resize in ("tf1-bilinear", "bilinear", "bilinear-antialias"):
        means = preprocess(frames, protocol(resize=resize), 16).mean(dim=(0, 2, 3))
        assert means.tolist() == pytest.approx([1, -1, -0.6], abs=1e-6)


def peer_short_side(frames, side, antialias):
    """The steps that VideoGPT and cd-fvd write down, in their order: fractions, scale the short side, crop the
    centre.
    """
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255.0
    height, width = x.shape[2:]
    scale = side / min(height, width)
    size = (side, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), side)
    x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=antialias)
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    return x[:, :, top : top + side, left : left + side]


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (64, 64), (200, 200), (301, 450)])
def test_videogpt_path(size):
    frames = noise(3, *size, 3)
    expected = (peer_short_side(frames, 224, antialias=False) - 0.5) * 2
    for name in ("videogpt", "digan"):
        assert (preprocess(frames, load(name), 224) - expected).abs().max() < 2e-6


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (128, 128), (301, 450)])
def test_cd_fvd_path(size):
    frames = noise(2, *size, 3)
    loaded = (peer_short_side(frames, 256, antialias=True) * 255).byte()
    assert np.array_equal(loader_step(frames, 256), loaded.permute(0, 2, 3, 1).numpy())
    expected = 2.0 * F.interpolate(loaded.float(), size=(224, 224), mode="bilinear", align_corners=False) / 255.0 - 1
    assert torch.equal(preprocess(frames, load("cd-fvd"), 224), expected)


def test_short_side_is_covered_and_the_long_side_rounded_up():
    assert covering((240, 320), 224) == (224, 299)
    assert covering((320, 240), 224) == (299, 224)
    assert covering((64, 64), 224) == (224, 224)


def test_crop_takes_the_centre():
    frames = np.zeros((1, 20, 60, 3), np.uint8)
    frames[:, :, 20:40] = 255
    assert torch.equal(
        preprocess(frames, protocol(resize="bilinear", geometry="short-side-crop"), 20), torch.ones(1, 3, 20, 20)
    )


def test_antialiasing_keeps_a_fine_pattern_from_folding():
    frames = np.zeros((1, 224 * 4, 224 * 4, 3), np.uint8)
    frames[:, ::4] = 255
    plain = preprocess(frames, protocol(resize="bilinear"), 224)
    smooth = preprocess(frames, protocol(resize="bilinear-antialias"), 224)
    assert plain.mean().item() == pytest.approx(-1, abs=0.01)
    assert smooth.mean().item() == pytest.approx(-0.5, abs=0.01)
    assert smooth.std() < 0.02


def test_eight_bits_are_truncated():
    frames = np.array([[10, 11]], np.uint8)[None, :, :, None].repeat(3, axis=3)
    exact = preprocess(frames, protocol(resize="tf1-bilinear"), 4)
    cut = preprocess(frames, protocol(resize="tf1-bilinear", uint8_after_resize=True), 4)
    assert ((exact[0, 0, 0] + 1) * 127.5).tolist() == pytest.approx([10, 10.5, 11, 11], abs=1e-4)
    assert ((cut[0, 0, 0] + 1) * 127.5).tolist() == pytest.approx([10, 10, 11, 11], abs=1e-4)


def test_large_pictures_in_chunks_are_the_same():
    frames = noise(5, 1080, 1920, 3)
    whole = preprocess(frames, load("clipmill"), 224)
    single = torch.cat([preprocess(frames[t : t + 1], load("clipmill"), 224) for t in range(5)])
    assert torch.equal(whole, single)


def test_no_resize_needs_the_size():
    same = noise(2, 32, 32, 3)
    out = preprocess(same, protocol(resize="none"), 32)
    assert np.array_equal(np.rint((out.numpy() + 1) * 127.5).astype(np.uint8), same.transpose(0, 3, 1, 2))
    with pytest.raises(UserError, match="must be 224 x 224, these are 32 x 30"):
        preprocess(noise(2, 30, 32, 3), protocol(resize="none"), 224)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"float32 \[2, 8, 8, 3\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"uint8 \[2, 3, 8, 8\]"),
        (np.zeros((8, 8, 3), np.uint8), r"uint8 \[8, 8, 3\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"uint8 \[0, 8, 8, 3\]"),
        ([[1]], "list"),
    ],
)
def test_other_arrays_are_refused_in_one_line(frames, said):
    with pytest.raises(UserError, match=said) as error:
        preprocess(frames, load("original"), 224)
    assert "\n" not in str(error.value)
