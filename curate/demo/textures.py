"""Pictures that SpriteWorld moves about: backdrops with the 1/f spectrum of natural images, and sprites cut from them.

Everything is drawn from a numpy Generator, so a seed fixes every pixel. Backdrops are periodic: a camera may travel for
ever.
"""

from dataclasses import dataclass

import cv2
import numpy as np

HALO = 1.25  # a sprite's tile is this much larger than the sprite, to hold its shadow
SHAPES = ("disc", "square", "star", "hexagon", "blob", "ring", "flower")
STYLES = ("marble", "ridges", "cells", "clouds")


@dataclass(frozen=True)
class Palette:
    """Two backdrop colours and two sprite colours, sRGB float32 [3] in 0 to 255."""

    shade: np.ndarray
    light: np.ndarray
    sprite: np.ndarray
    accent: np.ndarray


def oklch(lightness: float, chroma: float, hue_deg: float) -> np.ndarray:
    """OKLCH -> sRGB, float32 [3] in 0 to 255 (B. Ottosson, "A perceptual color space for image processing", 2020)."""
    a, b = chroma * np.cos(np.radians(hue_deg)), chroma * np.sin(np.radians(hue_deg))
    lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_rgb @ (lms @ np.array([lightness, a, b])) ** 3, 0, 1)
    return (255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(np.float32)


def palette(rng: np.random.Generator, hue_deg: float, bright: bool) -> Palette:
    """Backdrop around `hue_deg`, sprites from the other side of the colour circle; `bright` picks a high or low key."""
    level = 0.68 if bright else 0.52
    other = hue_deg + rng.uniform(140, 220)
    return Palette(
        shade=oklch(level - 0.15, 0.075, hue_deg + rng.uniform(-25, 25)),
        light=oklch(level + 0.18, 0.065, hue_deg + rng.uniform(20, 60)),
        sprite=oklch(0.70 if not bright else 0.55, 0.15, other),
        accent=oklch(0.90 if not bright else 0.35, 0.09, other + rng.uniform(-40, 40)),
    )


def noise(rng: np.random.Generator, height: int, width: int, beta: float) -> np.ndarray:
    """Periodic Gaussian field float32 [H, W], mean 0, deviation 1, amplitude spectrum 1/f^beta.

    A Gaussian roll-off at 0.3 cycles per pixel band-limits it, so that bilinear sampling between pixels does not make
    the sharpness breathe with the sub-pixel phase. Natural images: beta about 1 (D. Field, JOSA A 1987).
    """
    from scipy.fft import irfft2

    fy = np.fft.fftfreq(height).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(width).astype(np.float32)[None]
    f = np.hypot(fy, fx)
    f[0, 0] = 1
    gain = f**-beta * np.exp(-0.5 * (f / 0.3) ** 2)
    gain[0, 0] = 0
    spectrum = rng.standard_normal((2, *gain.shape), dtype=np.float32)
    field = irfft2((spectrum[0] + 1j * spectrum[1]) * gain, s=(height, width)).astype(np.float32)
    return field / field.std()


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _ridges(rng: np.random.Generator, coarse: np.ndarray) -> np.ndarray:
    """Dunes: a whole number of waves over the tile, bent by the coarse field."""
    height, width = coarse.shape
    waves_y, waves_x = int(rng.integers(4, 7)), int(rng.integers(-3, 4))
    phase = waves_y * np.arange(height)[:, None] / height + waves_x * np.arange(width)[None] / width
    return 0.5 + 0.5 * np.sin(2 * np.pi * (phase + 0.25 * coarse)).astype(np.float32)


def _cells(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Paving: distance to the nearest of scattered points, cell by cell tinted; periodic by wrapping the points."""
    height, width = shape
    margin = height // 3
    mask = np.full(shape, 255, np.uint8)
    count = int(rng.integers(50, 90))
    mask[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    wrapped = cv2.copyMakeBorder(mask, margin, margin, margin, margin, cv2.BORDER_WRAP)
    distance = cv2.distanceTransform(wrapped, cv2.DIST_L2, 5)[margin:-margin, margin:-margin]
    return np.asarray(1 - distance / distance.max(), np.float32)


def _relief(rng: np.random.Generator, style: str, height: int, width: int) -> np.ndarray:
    """The backdrop's large forms, float32 [H, W] about 0 to 1."""
    coarse = noise(rng, height, width, 1.8)
    if style == "ridges":
        return _ridges(rng, coarse)
    if style == "cells":
        return _cells(rng, (height, width))
    if style == "marble":
        return _smoothstep(0.5 + 0.5 * np.sin(2.2 * coarse))
    return _smoothstep(0.5 + 0.32 * coarse)


def backdrop(rng: np.random.Generator, height: int, width: int, colours: Palette, style: str) -> np.ndarray:
    """Periodic tile uint8 [H, W, 3] RGB: large forms in two colours, lit from the upper left, with fine 1/f detail."""
    relief = _relief(rng, style, height, width)
    detail = noise(rng, height, width, 0.8)
    slope = np.roll(relief, 2, (0, 1)) - np.roll(relief, -2, (0, 1))
    light = 1 + 0.13 * detail + np.clip(1.2 * slope, -0.25, 0.25)
    mix = np.clip(relief, 0, 1)[..., None]
    colour = colours.shade * (1 - mix) + colours.light * mix
    return np.clip(colour * light[..., None], 0, 255).astype(np.uint8)


def _outline(rng: np.random.Generator, shape: str, theta: np.ndarray) -> np.ndarray:
    """Radius of the outline at each angle, at most 1."""
    if shape == "square":
        return 0.8 / (np.abs(np.cos(theta)) ** 6 + np.abs(np.sin(theta)) ** 6) ** (1 / 6)
    if shape == "star":
        return 0.78 + 0.22 * np.cos(5 * theta)
    if shape == "flower":
        return 0.72 + 0.28 * np.abs(np.cos(3 * theta))
    if shape == "hexagon":
        sector = np.mod(theta, np.pi / 3) - np.pi / 6
        return np.cos(np.pi / 6) / np.cos(sector)
    if shape == "blob":
        a, b = rng.uniform(0, 2 * np.pi, 2)
        return 0.8 + 0.12 * np.cos(2 * theta + a) + 0.08 * np.cos(3 * theta + b)
    return np.ones_like(theta)


def _pattern(rng: np.random.Generator, size: int, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Where the sprite shows its second colour, float32 [S, S] 0 to 1: wedges, bands or marble, so that a turn is
    seen.
    """
    kind = rng.integers(0, 3)
    warp = 0.5 * noise(rng, size, size, 1.8)
    if kind == 0:
        return _smoothstep(0.5 + 2.5 * np.sin(int(rng.integers(2, 5)) * theta + warp))
    if kind == 1:
        return _smoothstep(0.5 + 2.5 * np.sin(7 * x + warp))
    return _smoothstep(0.5 + 2.5 * np.sin(3 * warp))


def sprite(rng: np.random.Generator, diameter_px: float, colours: Palette, shape: str) -> np.ndarray:
    """Tile float32 [S, S, 4], premultiplied RGBA 0 to 255 (alpha 0 to 1), anti-aliased, with a soft round shadow.

    S = HALO * diameter, rounded up to even; the sprite's centre is the tile's.
    """
    size = 2 * int(np.ceil(HALO * diameter_px / 2))
    axis = (np.arange(size, dtype=np.float32) - (size - 1) / 2) / (diameter_px / 2)
    x, y = np.meshgrid(axis, axis)
    radius, theta = np.hypot(x, y), np.arctan2(y, x)
    edge = _outline(rng, shape, theta)
    alpha = np.clip((edge - radius) * diameter_px / 2 + 0.5, 0, 1)
    if shape == "ring":
        alpha *= np.clip((radius - 0.45) * diameter_px / 2 + 0.5, 0, 1)
    mix = _pattern(rng, size, x, theta)[..., None]
    colour = colours.sprite * (1 - mix) + colours.accent * mix
    shading = (1.08 - 0.45 * (radius / edge) ** 3) * (1 + 0.12 * noise(rng, size, size, 0.8))
    colour = np.clip(colour * shading[..., None], 0, 255)
    shadow = 0.45 * np.clip((HALO - radius) / (HALO - 0.9), 0, 1) ** 2
    cover = alpha + (1 - alpha) * shadow
    return np.dstack([colour * alpha[..., None], cover]).astype(np.float32)
