"""The sanity study of a feature network: does the distance grow as clips get worse? Corruptions, the study and its
plot.

The static ones and the four temporal ones local swap, global swap, interleaving and switching follow Unterthiner et
al., "Towards accurate generative models of video" (arXiv 1812.01717, section on noise). Extents are shares of the short
side, so that a level means the same at any size.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from clipmill.curate.errors import UserError, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORK_SIDE_PX = 256  # larger clips are shrunk first: networks see less, and corrupting full size takes minutes
GRAINS = 64  # noise grains along the short side: finer ones would vanish in the network's resize
MIN_FRAMES = 8
MIN_CLIPS = 8


@dataclass(frozen=True)
class Source:
    """What a corruption draws from. rng: fresh for every clip, the same for every level. other: another clip of the
    same shape.
    """

    rng: np.random.Generator
    other: np.ndarray


@dataclass(frozen=True)
class Corruption:
    """level: what the numbers in `levels` are. of_clips: they are the share of the clips that are changed, each in
    full.
    temporal: pictures stay as they are. change: (clip, level, source) -> clip, uint8 [T, H, W, 3] both.
    """

    name: str
    level: str
    levels: tuple[float, ...]
    temporal: bool
    change: Callable[[np.ndarray, float, Source], np.ndarray]
    of_clips: bool = False


class Row(TypedDict):
    """One point of the study. meaning: of `level`. distance: Fréchet distance between the clips and their corrupted
    copies.
    """

    corruption: str
    level: float
    meaning: str
    distance: float


def _grain(clip: np.ndarray, values: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """`values` drawn per grain, repeated to [T, H, W, C]."""
    frames, height, width = clip.shape[:3]
    side_px = max(1, round(min(height, width) / GRAINS))
    drawn = values((frames, -(-height // side_px), -(-width // side_px)))
    return drawn.repeat(side_px, 1).repeat(side_px, 2)[:, :height, :width]


def gaussian_noise(clip: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add independent noise to every frame and channel. sigma: grey levels of 255."""
    noise = _grain(clip, lambda shape: rng.standard_normal((*shape, 3), dtype=np.float32))
    return np.clip(np.rint(clip + np.float32(sigma) * noise), 0, 255).astype(np.uint8)


def salt_pepper(clip: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Set a share of the grains of every frame to black or white."""
    drawn = _grain(clip, lambda shape: rng.random(shape, dtype=np.float32))
    out = clip.copy()
    out[drawn < share / 2] = 0
    out[drawn > 1 - share / 2] = 255
    return out


def gaussian_blur(clip: np.ndarray, sigma: float) -> np.ndarray:
    """Blur every frame. sigma: share of the short side."""
    import cv2

    return np.stack([cv2.GaussianBlur(f, (0, 0), sigma * min(f.shape[:2])) for f in clip]) if sigma > 0 else clip


def black_rectangle(clip: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray:
    """Cover a share of the picture, at the same place in all frames; larger shares cover what smaller ones do."""
    height, width = clip.shape[1:3]
    high, wide = round(height * area**0.5), round(width * area**0.5)
    top, left = (round(float(u) * room) for u, room in zip(rng.random(2), (height - high, width - wide), strict=True))
    out = clip.copy()
    out[:, top : top + high, left : left + wide] = 0
    return out


def blockiness(clip: np.ndarray, side: float) -> np.ndarray:
    """Square blocks of one colour, their mean. side: share of the short side."""
    import cv2

    height, width = clip.shape[1:3]
    side_px = side * min(height, width)
    if side_px <= 1:
        return clip
    grid = (max(1, round(width / side_px)), max(1, round(height / side_px)))
    small = [cv2.resize(f, grid, interpolation=cv2.INTER_AREA) for f in clip]
    return np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_NEAREST) for f in small])


def frozen_frames(clip: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Replace a share of the frames by the one before, as a player that stutters; the first frame always plays."""
    frames = len(clip)
    frozen = 1 + rng.permutation(frames - 1)[: round(share * (frames - 1))]
    shown = np.arange(frames)
    shown[frozen] = 0
    return clip[np.maximum.accumulate(shown)]


def local_swap(clip: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Exchange neighbouring frames. share: of the disjoint pairs of neighbours."""
    pairs = len(clip) // 2
    first = 2 * rng.permutation(pairs)[: round(share * pairs)]
    return _exchanged(clip, first, first + 1)


def global_swap(clip: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Exchange frames anywhere. share: of the frames that leave their place."""
    drawn = rng.permutation(len(clip) // 2 * 2).reshape(-1, 2)[: round(share * (len(clip) // 2))]
    return _exchanged(clip, drawn[:, 0], drawn[:, 1])


def _exchanged(clip: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    order = np.arange(len(clip))
    order[one], order[two] = two, one
    return clip[order]


def interleave(clip: np.ndarray, share: float, other: np.ndarray) -> np.ndarray:
    """Weave in another clip's frames at their own time. share: of foreign frames, evenly spread."""
    # rounded, so that 1/3 three times is 1
    passed = np.floor(np.round(np.arange(len(clip) + 1) * share, 9))
    return np.where((np.diff(passed) > 0)[:, None, None, None], other, clip)


def switch(clip: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Jump to another clip midway."""
    middle = len(clip) // 2
    return np.concatenate([clip[:middle], other[middle:]])


def shuffle(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames in random order."""
    return clip[rng.permutation(len(clip))]


_SHARES = (0.25, 0.5, 0.75, 1.0)
CORRUPTIONS = (
    Corruption(
        "gaussian-noise", "sigma, grey levels", (8, 16, 32, 64), False, lambda c, x, s: gaussian_noise(c, x, s.rng)
    ),
    Corruption(
        "gaussian-blur",
        "sigma, share of short side",
        (0.005, 0.01, 0.02, 0.04),
        False,
        lambda c, x, s: gaussian_blur(c, x),
    ),
    Corruption(
        "salt-pepper", "share of pixels", (0.02, 0.05, 0.1, 0.2), False, lambda c, x, s: salt_pepper(c, x, s.rng)
    ),
    Corruption(
        "black-rectangle",
        "share of picture",
        (0.05, 0.1, 0.2, 0.4),
        False,
        lambda c, x, s: black_rectangle(c, x, s.rng),
    ),
    Corruption(
        "blockiness",
        "block, share of short side",
        (1 / 32, 1 / 16, 1 / 8, 1 / 4),
        False,
        lambda c, x, s: blockiness(c, x),
    ),
    Corruption(
        "frozen-frames", "share of frames", (0.2, 0.4, 0.6, 0.8), True, lambda c, x, s: frozen_frames(c, x, s.rng)
    ),
    Corruption("local-swap", "share of neighbours", _SHARES, True, lambda c, x, s: local_swap(c, x, s.rng)),
    Corruption(
        "global-swap", "share of frames", (1 / 8, 1 / 4, 1 / 2, 3 / 4), True, lambda c, x, s: global_swap(c, x, s.rng)
    ),
    Corruption(
        "interleave", "share of foreign frames", (1 / 8, 1 / 4, 1 / 2), True, lambda c, x, s: interleave(c, x, s.other)
    ),
    Corruption("switch", "share of clips", _SHARES, True, lambda c, x, s: switch(c, s.other), of_clips=True),
    Corruption("reverse", "share of clips", _SHARES, True, lambda c, x, s: c[::-1], of_clips=True),
    Corruption("shuffle", "share of clips", _SHARES, True, lambda c, x, s: shuffle(c, s.rng), of_clips=True),
)


def _rng(seed: int, *words: object) -> np.random.Generator:
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], "<u4").tolist()])


def _resized(clip: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    import cv2

    if clip.shape[1:3] == (height_px, width_px):
        return clip
    return np.stack([cv2.resize(f, (width_px, height_px), interpolation=cv2.INTER_AREA) for f in clip])


def _shrunk(clip: np.ndarray) -> np.ndarray:
    height, width = clip.shape[1:3]
    scale = min(1.0, WORK_SIDE_PX / min(height, width))
    return _resized(clip, round(height * scale), round(width * scale))


def corrupted(clips: Sequence[np.ndarray], corruption: Corruption, level: float, seed: int = 0) -> Iterator[np.ndarray]:
    """Corrupted copies, one by one. Randomness is keyed by (seed, corruption, place in the set), so that levels nest:
    what a low one changes, a higher one changes too. The other clip is the next one of the set.
    """
    rank = _rng(seed, corruption.name).permutation(len(clips))
    for i, clip in enumerate(clips):
        if corruption.of_clips and rank[i] >= round(level * len(clips)):
            yield clip
        else:
            source = Source(_rng(seed, corruption.name, i), _resized(clips[(i + 1) % len(clips)], *clip.shape[1:3]))
            yield corruption.change(clip, level, source)


def study(
    clips: Sequence[np.ndarray],
    features: Callable[[Sequence[np.ndarray]], np.ndarray],
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    seed: int = 0,
    batch: int = 8,
) -> list[Row]:
    """Fréchet distance (ddof 1) between clips and their own corrupted copies, for every corruption and level.

    clips: uint8 [T, H, W, 3] each, T the same; those of a short side above 256 px are shrunk to it. features: some
    clips -> float [N, D] (or [N, T, D], one row per frame). The pairing keeps the distance between two draws of a set
    out of it: 0 where nothing is changed. Needs memory for the shrunk clips and one batch of copies. Raises UserError
    for fewer than 8 clips, fewer than 8 frames, or clips of different lengths.
    """
    from clipmill.evaluate.distances.frechet import frechet_distance

    _check(clips)
    clips = [_shrunk(c) for c in clips]
    clean = _features(iter(clips), features, batch)
    rows = []
    for corruption in corruptions:
        for level in corruption.levels:
            changed = _features(corrupted(clips, corruption, level, seed), features, batch)
            distance = float(frechet_distance(clean, changed, ddof=1))
            rows.append(Row(corruption=corruption.name, level=level, meaning=corruption.level, distance=distance))
    return rows


def _check(clips: Sequence[np.ndarray]) -> None:
    lengths = sorted({len(c) for c in clips})
    if len(clips) < MIN_CLIPS:
        raise UserError(f"the degradation study needs at least {MIN_CLIPS} clips, the set gave {len(clips)}")
    if len(lengths) > 1 or lengths[0] < MIN_FRAMES:
        found = ", ".join(map(str, lengths))
        raise UserError(f"the degradation study needs clips of one length, at least {MIN_FRAMES} frames, not {found}")


def _features(
    clips: Iterator[np.ndarray], features: Callable[[Sequence[np.ndarray]], np.ndarray], batch: int
) -> np.ndarray:
    """float64 [rows, D]."""
    parts, waiting = [], []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == batch:
            parts.append(features(waiting))
            waiting = []
    if waiting:
        parts.append(features(waiting))
    values = np.concatenate(parts).astype(np.float64)
    return values.reshape(-1, values.shape[-1])


def monotone(rows: Sequence[Row]) -> dict[str, bool]:
    """For every corruption, whether each level is farther from the clean clips than the one below it."""
    names = dict.fromkeys(row["corruption"] for row in rows)
    series = {name: sorted((r["level"], r["distance"]) for r in rows if r["corruption"] == name) for name in names}
    return {name: all(b > a for (_, a), (_, b) in pairwise(s)) for name, s in series.items()}


_INK, _MUTED, _STATIC, _TEMPORAL = "#222222", "#8a8a8a", "#2a6f97", "#c1592b"


def plot(rows: Sequence[Row], path: Path, label: str) -> None:
    """One small chart per corruption, from 0 at no corruption; the format is that of the path's suffix (.png, .svg,
    .pdf).

    label: what the distance is called, the network's `frechet_name`. Raises UserError where the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["corruption"] for row in rows))
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.3 * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{label} between clips and their corrupted copies. Blue: pictures corrupted, orange: order of frames"
    figure.suptitle(title, color=_INK, fontsize=11, x=0.01, ha="left")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for name, axis in zip(names, axes, strict=False):
        _panel(axis, name, [r for r in rows if r["corruption"] == name])
    for axis in axes[len(names) :]:
        axis.remove()
    try:
        figure.savefig(path, dpi=160, facecolor="white")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write the plot {path}: {one_line(error)}") from error


def _panel(axis: "Axes", name: str, rows: Sequence[Row]) -> None:
    temporal = next((c.temporal for c in CORRUPTIONS if c.name == name), False)
    points = [(0.0, 0.0), *sorted((r["level"], r["distance"]) for r in rows)]
    colour = _TEMPORAL if temporal else _STATIC
    axis.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3.5, linewidth=1.6, clip_on=False)
    axis.set_title(name.replace("-", " "), loc="left", fontsize=10, color=_INK)
    axis.set_xlabel(rows[0]["meaning"], fontsize=8, color=_MUTED)
    axis.set_xlim(0, points[-1][0])
    axis.set_ylim(0, None)
    axis.locator_params(nbins=4)
    axis.tick_params(labelsize=7.5, colors=_MUTED, length=0)
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color("#cccccc")
