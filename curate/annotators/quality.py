"""Technical quality without a network: sharpness, blockiness, exposure, near-black, flicker, duplicated frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import Annotator, ClipFrames
from clipmill.curate.contract.column import Column

WORK_SIDE_PX = 256
TILES = 8
BLOCK_TILES = 4
BLOCK_PX = 8
MIN_BLOCK_SIDE_PX = 48
ROW_STEP = 8
MIN_CONTRAST = 2.0
BLOCK_FLOOR = 0.25
BAR_LUMA = 16.0
MAX_RUN_S = 0.25
UNEVEN = 1.5
HELD_S = 1.05  # one frame a second is a rate, not a still

_MAPS = 5 * TILES * TILES
_PHASES = 2 * BLOCK_TILES * BLOCK_TILES * BLOCK_PX


@dataclass(frozen=True)
class Quality(Annotator):
    """Technical quality inside the crop box. Luma is taken as coded; limited-range video spans 16 to 235 of 255.

    black_area: share of the picture, 0 to 1. same_below: luma levels of 255.
    """

    version: ClassVar[int] = 1
    observe_fps: ClassVar[float] = 1.0
    columns: ClassVar[Mapping[str, Column]] = {
        "sharpness": Column(
            pa.float32(),
            ">= 0, rms of the finest band (I - G1 * I) over rms of the band two octaves below (G2 * I - G4 * I) at a"
            " short side of 256 px (smaller pictures at their own size), upper quartile of the tiles that hold"
            " contrast, median over time. Natural pictures have about equal energy per octave (D. J. Field, JOSA A"
            " 1987), so contrast cancels: 0.35 to 3 for ordinary footage, 0.16 to 0.25 when blurred by 1 % of the short"
            " side. Null where nothing has contrast",
        ),
        "blockiness": Column(
            pa.float32(),
            ">= 0, excess of luma steps on an 8 px grid over the steps beside it, at the worst of the 8 phases, smaller"
            " of both directions; 0 = no grid, 1 = steps twice as large on the grid. Measured at native size: a grid"
            " that was rescaled after coding is not seen. Null for pictures under 48 px",
        ),
        "exposure": Column(pa.float32(), "in [0, 1], mean luma / 255"),
        "over_share": Column(pa.float32(), "in [0, 1], share of luma >= 235"),
        "under_share": Column(pa.float32(), "in [0, 1], share of luma <= 20"),
        "near_black": Column(
            pa.float32(), "in [0, 1], share of the display time of frames of which at least `black_area` has luma <= 32"
        ),
        "flicker": Column(
            pa.float32(),
            ">= 0, 1/s: summed height of the up-and-down swings of mean luma, relative to it, per second. Only swings"
            " that turn within 0.25 s count, fades and cuts do not; a step counts only as far as the whole picture"
            " shares it (|change of the mean| over mean |change|), so motion counts little. Null below three frames",
        ),
        "dup_frame_share": Column(
            pa.float32(),
            "in [0, 1], share of frames equal to the one before (mean luma difference <= `same_below`); where frames"
            " last unequally long, of the display time, and what a frame stands longer than 1.05 s repeats it. Null for"
            " a single short frame",
        ),
    }

    black_area: float = 0.98
    same_below: float = 0.02

    def observe(self, luma: np.ndarray) -> np.ndarray:
        """uint8 [H, W] -> float32 [576]: tile maps (fine, mid, luma, over, under), then grid-step means per tile and
        phase.
        """
        return np.concatenate([tile_maps(luma).ravel(), step_phases(luma).ravel()]).astype(np.float32)

    def measure(self, clip: ClipFrames) -> dict[str, Any]:
        """The columns, from what was observed and from the signals of every frame."""
        return {**_observed(clip), **self._signals(clip)}

    def _signals(self, clip: ClipFrames) -> dict[str, Any]:
        if len(clip.signals_t_s) == 0:
            return dict.fromkeys(("near_black", "flicker", "dup_frame_share"))
        difference = np.asarray(clip.signals["difference"], np.float64).copy()
        difference[0] = np.nan  # the change into the clip is the cut, not the clip
        inside = picture_share(clip.crop)
        shown_s = np.diff(clip.signals_t_s, append=clip.end_s)
        mean = (clip.signals["luma_mean"] - (1 - inside) * BAR_LUMA) / inside
        dark = (clip.signals["dark_share"] - (1 - inside)) / inside
        return {
            "near_black": time_share(dark >= self.black_area, shown_s),
            "flicker": flicker_per_s(clip.signals_t_s, np.maximum(mean, 1.0), difference / inside),
            "dup_frame_share": repeated_share(difference <= self.same_below, shown_s),
        }


def _even(shown_s: np.ndarray) -> bool:
    """Whether frames last equally long, but for rounding: counting them is exact then."""
    return bool(shown_s.max() <= UNEVEN * np.median(shown_s))


def time_share(chosen: np.ndarray, shown_s: np.ndarray) -> float:
    """Share of the display time that the chosen frames have. chosen: bool [N]; shown_s: float64 [N], how long each is
    on the screen.
    """
    return float(np.mean(chosen)) if _even(shown_s) else float(shown_s[chosen].sum() / shown_s.sum())


def repeated_share(repeats: np.ndarray, shown_s: np.ndarray) -> float | None:
    """Share of the display time without a new picture: frames that repeat the one before, and what others stand longer
    than `HELD_S`. repeats: bool [N], the first does not count; shown_s: float64 [N]. None for a single short frame.
    """
    held = shown_s.max() > HELD_S
    if not held and len(repeats) < 2:
        return None
    if not held and _even(shown_s):
        return float(np.mean(repeats[1:]))
    again_s = np.where(repeats, shown_s, np.maximum(shown_s - HELD_S, 0.0))
    again_s[0] = max(shown_s[0] - HELD_S, 0.0)
    return float(again_s.sum() / shown_s.sum())


def picture_share(crop: tuple[float, float, float, float]) -> float:
    """Share of the full picture's area inside the crop box (x0, y0, x1, y1 in fractions)."""
    return max((crop[2] - crop[0]) * (crop[3] - crop[1]), 1e-3)


def _tile_mean(values: np.ndarray, tiles: int) -> np.ndarray:
    """float [h, w] -> float [tiles, tiles] means; pictures of fewer pixels than tiles repeat them."""
    rows, cols = (np.linspace(0, n, tiles + 1).astype(int)[:-1].clip(0, n - 1) for n in values.shape)
    total = np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float32), cols, axis=1)
    heights = np.maximum(np.diff([*rows, values.shape[0]]), 1)
    widths = np.maximum(np.diff([*cols, values.shape[1]]), 1)
    return np.asarray(total / (heights[:, None] * widths))


def tile_maps(luma: np.ndarray) -> np.ndarray:
    """uint8 [H, W] -> float32 [5, 8, 8]: energy of the fine band and the middle band, mean luma, share >= 235, share <=
    20.
    """
    import cv2

    from clipmill.curate.video.picture import shrink

    scale = min(1.0, WORK_SIDE_PX / min(luma.shape))
    small = shrink(luma, max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale)))
    picture = small.astype(np.float32)
    fine = cv2.subtract(picture, cv2.GaussianBlur(picture, (0, 0), 1.0))
    half = cv2.resize(picture, (max(1, small.shape[1] // 2), max(1, small.shape[0] // 2)), interpolation=cv2.INTER_AREA)
    mid = cv2.subtract(cv2.GaussianBlur(half, (0, 0), 1.0), cv2.GaussianBlur(half, (0, 0), 2.0))
    layers = (cv2.multiply(fine, fine), cv2.multiply(mid, mid), half, half >= 235, half <= 20)
    return np.stack([_tile_mean(np.asarray(layer), TILES) for layer in layers])


def step_phases(luma: np.ndarray) -> np.ndarray:
    """uint8 [H, W] -> float32 [2, 4, 4, 8]: mean luma step in excess of its neighbours, by direction, tile and phase
    (px mod 8).

    Every eighth row (or column) is read; steps are capped, so that strong edges of the content do not decide.
    """
    if min(luma.shape) < MIN_BLOCK_SIDE_PX:
        return np.full((2, BLOCK_TILES, BLOCK_TILES, BLOCK_PX), np.nan, np.float32)
    across = _phases(np.ascontiguousarray(luma[::ROW_STEP]))
    down = _phases(np.ascontiguousarray(luma[:, ::ROW_STEP].T)).swapaxes(0, 1)
    return np.stack([across, down])


def _phases(lines: np.ndarray, cap: int = 24) -> np.ndarray:
    """uint8 [n, length] -> float32 [4 (lines), 4 (along), 8]."""
    import cv2

    step = np.minimum(cv2.absdiff(lines[:, 1:], lines[:, :-1]), cap)
    beside = cv2.addWeighted(step[:, :-2], 0.5, step[:, 2:], 0.5, 0)
    excess = cv2.subtract(step[:, 1:-1], beside)  # saturates at 0
    bands = [cv2.reduce(band, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[0] for band in np.array_split(excess, BLOCK_TILES)]
    # excess[x] is the step from pixel x + 1 to x + 2: its phase is that of the pixel behind the step
    profile = np.stack(bands)[:, 6:]
    whole = profile[:, : profile.shape[1] // BLOCK_PX * BLOCK_PX].reshape(BLOCK_TILES, -1, BLOCK_PX)
    return np.stack([part.mean(axis=1) for part in np.array_split(whole, BLOCK_TILES, axis=1)], axis=1)


def _inside(crop: tuple[float, float, float, float], tiles: int) -> np.ndarray:
    """bool [tiles, tiles]: tiles wholly in the crop box, else those whose centre is, else all."""
    edges = np.linspace(0, 1, tiles + 1)
    slack = 0.02 / tiles
    cols = (edges[:-1] >= crop[0] - slack) & (edges[1:] <= crop[2] + slack)
    rows = (edges[:-1] >= crop[1] - slack) & (edges[1:] <= crop[3] + slack)
    centre = (edges[:-1] + edges[1:]) / 2
    cols = cols if cols.any() else (centre >= crop[0]) & (centre <= crop[2])
    rows = rows if rows.any() else (centre >= crop[1]) & (centre <= crop[3])
    chosen = rows[:, None] & cols
    return chosen if chosen.any() else np.ones_like(chosen)


def _observed(clip: ClipFrames) -> dict[str, Any]:
    names = ("sharpness", "blockiness", "exposure", "over_share", "under_share")
    if clip.observed.size == 0:
        return dict.fromkeys(names)
    maps = clip.observed[:, :_MAPS].reshape(-1, 5, TILES, TILES)[:, :, _inside(clip.crop, TILES)]
    phases = clip.observed[:, _MAPS:].reshape(-1, 2, BLOCK_TILES, BLOCK_TILES, BLOCK_PX)[
        :, :, _inside(clip.crop, BLOCK_TILES)
    ]
    luma, over, under = (float(maps[:, i].mean()) for i in (2, 3, 4))
    return dict(
        zip(names, (sharpness(maps[:, 0], maps[:, 1]), blockiness(phases), luma / 255, over, under), strict=True)
    )


def sharpness(fine: np.ndarray, mid: np.ndarray) -> float | None:
    """float [S, tiles] band energies -> ratio of amplitudes (see `Quality`), None where no tile has contrast."""
    ratio = np.where(mid >= MIN_CONTRAST**2, np.sqrt(fine / np.maximum(mid, MIN_CONTRAST**2)), np.nan)
    ratio = ratio[~np.isnan(ratio).all(axis=1)]
    return float(np.median(np.nanpercentile(ratio, 75, axis=1))) if len(ratio) else None


def blockiness(phases: np.ndarray) -> float | None:
    """float [S, 2, tiles, 8] step means -> excess of the strongest phase over the median phase, smaller of both
    directions.
    """
    mean = phases.mean(axis=(0, 2))
    if not np.isfinite(mean).all():
        return None
    ratio = (mean.max(axis=1) + BLOCK_FLOOR) / (np.median(mean, axis=1) + BLOCK_FLOOR)
    return float(ratio.min() - 1)


def flicker_per_s(t_s: np.ndarray, luma_mean: np.ndarray, difference: np.ndarray) -> float | None:
    """Relative up-and-down swing per second. t_s, luma_mean, difference: float [N]; see `Quality`. None for N < 3."""
    if len(t_s) < 3 or t_s[-1] <= t_s[0]:
        return None
    step = np.diff(luma_mean) / np.maximum((luma_mean[1:] + luma_mean[:-1]) / 2, 8.0)
    shared = np.abs(np.diff(luma_mean)) / np.maximum(np.nan_to_num(difference[1:]), 1e-3)
    step = step * np.clip(2 * shared - 0.5, 0, 1)
    changed = np.abs(step) > 1e-6  # a duplicated frame belongs to no run
    step, start_s, end_s = step[changed], t_s[:-1][changed], t_s[1:][changed]
    if len(step) < 2:
        return 0.0
    turns = np.flatnonzero(np.sign(step[1:]) != np.sign(step[:-1])) + 1
    first, last = np.concatenate([[0], turns]), np.concatenate([turns - 1, [len(step) - 1]])
    heights = np.abs(np.add.reduceat(step, first))
    longest_s = max(MAX_RUN_S, 1.5 * float(np.median(end_s - start_s)))
    heights = np.where(end_s[last] - start_s[first] <= longest_s + 1e-6, heights, 0.0)
    return float(np.minimum(heights[1:], heights[:-1]).sum() / (t_s[-1] - t_s[0]))
