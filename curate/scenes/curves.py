"""Per-frame score curves for cut detection, from the small pictures of the one decode.

Every number the cascade decides on is a curve, so thresholds can change without decoding. The statistic behind most of
them is a two-sample test over time: means of k frames before and after a boundary, over the variation inside each side
(cf. Hanjalic, "Shot-boundary detection: unraveled and resolved?", IEEE TCSVT 2002). Frames are described by an 18 x 32
luma grid and two 9 x 16 opponent-colour grids, all in 8-bit code values.
"""

from dataclasses import dataclass

import numpy as np

from clipmill.curate.settings.scenes import ScenesConfig

STEP_FRAMES = (2, 4, 8, 16)
"""k of the gapless two-sided statistic: k frames before and k after a boundary."""
SPAN_FRAMES = (8, 16, 32, 64)
"""Widths of the gaps left out between the two sides for gradual transitions."""
SIDE_FRAMES = 8
"""Frames averaged on each side of a gap."""

_CONTEXT = max(SPAN_FRAMES) // 2 + SIDE_FRAMES
_BATCH = 256
_GRID = (18, 32)
_CELLS = _GRID[0] * _GRID[1]
_COLOUR_CELLS = 9 * 16
_BINS = 512
_SHARP_FRAMES = 2
_FLAT_CONTRAST = 0.5
_CONTRAST_CAP = 12.0
_FLAT_SLOPE = 1.0  # squared code values
_OTHER_LUMA = 4.0
_DETAILED = 2.0  # code values of mean local contrast: more than the outline of one thing before a flat ground


def curve_names() -> tuple[str, ...]:
    """Names of all curves, in the order `CurveBuilder.finish` returns them."""
    steps = [f"{name}_{k}" for k in STEP_FRAMES for name in ("between", "within")]
    spans = [
        f"{name}_{t}"
        for t in SPAN_FRAMES
        for name in ("span_between", "span_within", "span_overshoot", "span_structure", "span_other")
    ]
    return ("jump", "colour_jump", "contrast", "structure", "turned", *steps, *spans)


class CurveBuilder:
    """Collects, for every frame i pushed in display order (a boundary i lies between frames i - 1 and i):

    jump: distance of frames i - 1 and i, in code values (0 to 765). 0 at the first frame.
    colour_jump: 1 - Bhattacharyya coefficient of their 8 x 8 x 8 RGB histograms, 0 to 1.
    contrast: standard deviation of frame i's luma grid, code values: near 0 for black, white and other flat frames.
    between_k: distance of the mean pictures of the k frames before and the k from i on, code values.
    within_k: mean standard deviation inside those two sides, code values.
    structure: share of the picture's local contrast replaced across the boundary (k = 2), the smaller of what leaves
    and
        what enters, 0 to 1: an overlay that appears replaces little, a new shot most of it (cf. the edge change ratio
        of Zabih et al., ACM Multimedia 1995).
    turned: share of the local slopes of luma that point elsewhere across the boundary (k = 2), 0 to about 1: no tone
        curve turns a slope, so a step of exposure or white balance leaves it near 0, a cut does not. Where there are no
        slopes it is the share of the picture with another luma.
    span_between_T, span_within_T, span_structure_T: the same, with a gap of T frames centred on i and 8 frames a side.
    span_other_T: over that gap, the smaller of `turned` and of the share of the picture with another luma; less where
        one side has hardly any local contrast.
    span_overshoot_T: how far frame i lies outside the range of the two sides, over span_between_T: 0 where each pixel
    goes
        monotonically from one side to the other (dissolve, fade, wipe), larger for motion.

    Distances add the mean absolute luma difference and the mean absolute differences of G - R and G - B. Ends of the
    video are mirrored. Memory is bounded: pictures are held for one batch, curves (float32) for the whole video.
    """

    def __init__(self, config: ScenesConfig) -> None:
        self._config = config
        self._luma = np.empty((_BATCH, 54, 96), np.uint8)
        self._rgb = np.empty((_BATCH, 27, 48, 3), np.uint8)
        self._filled = 0
        self._pending = np.empty((0, _CELLS + 2 * _COLOUR_CELLS), np.float32)
        self._histogram: np.ndarray | None = None
        self._started = False
        self._colour: list[np.ndarray] = []
        self._parts: list[np.ndarray] = []

    def push(self, luma: np.ndarray, rgb: np.ndarray) -> None:
        """luma: uint8 [54, 96], area average of the whole frame; rgb: uint8 [27, 48, 3]."""
        self._luma[self._filled] = luma
        self._rgb[self._filled] = rgb
        self._filled += 1
        if self._filled == _BATCH:
            self._absorb()

    def finish(self) -> dict[str, np.ndarray]:
        """name -> float32 [N], N = frames pushed."""
        self._absorb(last=True)
        table = np.concatenate(self._parts, 1) if self._parts else np.empty((len(curve_names()) - 1, 0), np.float32)
        colour = np.concatenate(self._colour) if self._colour else np.empty(0, np.float32)
        curves = dict(zip([n for n in curve_names() if n != "colour_jump"], table, strict=True))
        curves["colour_jump"] = colour
        return {name: np.ascontiguousarray(curves[name]) for name in curve_names()}

    def _absorb(self, last: bool = False) -> None:
        luma, rgb = self._luma[: self._filled], self._rgb[: self._filled]
        self._filled = 0
        if len(luma):
            self._colour.append(self._colour_jump(rgb))
            self._pending = np.concatenate([self._pending, _describe(luma, rgb)])
        if len(self._pending) and not self._started and (last or len(self._pending) > _CONTEXT):
            self._pending = _mirror(self._pending, before=True)
            self._started = True
        if last and len(self._pending):
            self._pending = _mirror(self._pending, before=False)
        ready = len(self._pending) - 2 * _CONTEXT
        if self._started and ready > 0:
            self._parts.append(_window_curves(self._pending))
            self._pending = self._pending[ready:]

    def _colour_jump(self, rgb: np.ndarray) -> np.ndarray:
        """float32 [n]: 1 - Bhattacharyya coefficient of successive colour histograms."""
        roots = _histogram_roots(rgb)
        before = roots[:1] if self._histogram is None else self._histogram
        self._histogram = roots[-1:]
        shifted = np.concatenate([before, roots[:-1]])
        return np.maximum(1.0 - np.einsum("nb,nb->n", shifted, roots), 0.0).astype(np.float32)


def _histogram_roots(rgb: np.ndarray) -> np.ndarray:
    """Square roots of normalised 8 x 8 x 8 RGB histograms of every other row, float32 [n, 512]."""
    n = len(rgb)
    coarse = (rgb[:, ::2] >> 5).reshape(n, -1, 3).astype(np.intp)
    codes = coarse @ np.array([64, 8, 1], np.intp) + np.arange(n, dtype=np.intp)[:, None] * _BINS
    counts = np.bincount(codes.ravel(), minlength=n * _BINS).reshape(n, _BINS)
    return np.sqrt(counts.astype(np.float32) / codes.shape[1])


def _describe(luma: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Luma and opponent-colour grids of n frames, float32 [n, 576 + 288]."""
    import cv2

    n = len(luma)
    gray = cv2.resize(luma.reshape(n * 54, 96), (_GRID[1], n * _GRID[0]), interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb.reshape(n * 27, 48, 3), (16, n * 9), interpolation=cv2.INTER_AREA).reshape(
        n, _COLOUR_CELLS, 3
    )
    out = np.empty((n, _CELLS + 2 * _COLOUR_CELLS), np.float32)
    out[:, :_CELLS] = gray.reshape(n, -1)
    green = small[..., 1].astype(np.float32)
    np.subtract(green, small[..., 0], out=out[:, _CELLS : _CELLS + _COLOUR_CELLS])
    np.subtract(green, small[..., 2], out=out[:, _CELLS + _COLOUR_CELLS :])
    return out


def _mirror(frames: np.ndarray, before: bool) -> np.ndarray:
    """Adds _CONTEXT frames by reflection at one end; shorter videos bounce."""
    pad = (_CONTEXT, 0) if before else (0, _CONTEXT)
    return np.pad(frames, (pad, (0, 0)), mode="symmetric")


_WEIGHTS = np.concatenate([np.full(_CELLS, 1 / _CELLS), np.full(2 * _COLOUR_CELLS, 1 / _COLOUR_CELLS)]).astype(
    np.float32
)
_MEAN = np.full(_CELLS, 1 / _CELLS, np.float32)
_SLOPE_CELLS = (_GRID[0] - 1) * (_GRID[1] - 1)
_SLOPE_MEAN = np.full(_SLOPE_CELLS, 1 / _SLOPE_CELLS, np.float32)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Weighted mean absolute difference of descriptions, float32 [n]."""
    import cv2

    return cv2.absdiff(a, b) @ _WEIGHTS


@dataclass(frozen=True)
class _Runs:
    """Every run of k successive frames, by its first frame: sums, scatters (sums of squared deviations), variation
    (mean deviation).
    """

    k: int
    mean: np.ndarray
    scatter: np.ndarray
    variation: np.ndarray

    def doubled(self) -> "_Runs":
        """Runs of 2k frames from pairs of runs of k (Chan, Golub and LeVeque, 1979: exact in float32, unlike sums of
        squares).
        """
        first, second = self.mean[: -self.k], self.mean[self.k :]
        scatter = second - first
        scatter *= scatter
        scatter *= self.k / 2
        scatter += self.scatter[: -self.k]
        scatter += self.scatter[self.k :]
        deviation = np.sqrt(scatter) @ _WEIGHTS / np.float32(np.sqrt(2 * self.k))
        mean = first + second
        mean *= 0.5
        return _Runs(2 * self.k, mean, scatter, deviation)

    def between(self, left: slice, right: slice) -> np.ndarray:
        return _distance(self.mean[left], self.mean[right])

    def within(self, left: slice, right: slice) -> np.ndarray:
        return (self.variation[left] + self.variation[right]) / 2


def _contrast(luma: np.ndarray) -> np.ndarray:
    """Local contrast, the larger absolute difference to the neighbours right and below, capped, float32 [n, 576]."""
    import cv2

    n, (height, width) = len(luma), _GRID
    rows = np.ascontiguousarray(luma).reshape(n * height, width)
    out = np.zeros((n, height, width), np.float32)
    flat = out.reshape(n * height, width)
    flat[:, :-1] = cv2.absdiff(rows[:, 1:], rows[:, :-1])
    grid = rows.reshape(n, height * width)
    below = cv2.absdiff(grid[:, width:], grid[:, :-width]).reshape(n, height - 1, width)
    np.maximum(out[:, :-1], below, out=out[:, :-1])
    return np.minimum(out, _CONTRAST_CAP, out=out).reshape(n, -1)


class _Structure:
    """Local contrast of run means, to ask how much of it a boundary replaces."""

    def __init__(self, mean: np.ndarray) -> None:
        self._luma = np.ascontiguousarray(mean[:, :_CELLS])
        self._contrast = _contrast(self._luma)
        self._total = self._contrast @ _MEAN + _FLAT_CONTRAST
        self._slopes, self._weight = _slopes(self._luma)

    def replaced(self, left: slice, right: slice) -> np.ndarray:
        """Share of local contrast replaced between two runs, the smaller of leaving and entering, float32 [n]."""
        import cv2

        change = cv2.absdiff(self._luma[left], self._luma[right])
        shares = [(cv2.min(change, self._contrast[s]) @ _MEAN + _FLAT_CONTRAST) / self._total[s] for s in (left, right)]
        return np.minimum(*shares)

    def turned(self, left: slice, right: slice) -> np.ndarray:
        """1 - mean cosine between the slopes of two runs, weighted by both slopes' sizes; float32 [n]."""
        x, y = self._slopes
        dot = x[left] * x[right]
        dot += y[left] * y[right]
        weight = self._weight[left] * self._weight[right]
        same = 1 - self.changed(left, right)
        return 1 - (dot @ _SLOPE_MEAN + _FLAT_SLOPE * same) / (weight @ _SLOPE_MEAN + _FLAT_SLOPE)

    def changed(self, left: slice, right: slice) -> np.ndarray:
        """Share of the picture whose luma differs between two runs, float32 [n]."""
        return (np.abs(self._luma[left] - self._luma[right]) >= _OTHER_LUMA) @ _MEAN

    def other(self, left: slice, right: slice) -> np.ndarray:
        """How far this is another picture, float32 [n]: other slopes and lumas, less where little is to be seen."""
        seen = np.minimum(self._total[left], self._total[right]) / _DETAILED
        return np.minimum(self.turned(left, right), self.changed(left, right)) * np.minimum(seen, 1)


def _slopes(luma: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Slopes to the right and down, no steeper than the cap, float32 [n, 527] each, and their size."""
    grid = luma.reshape(-1, *_GRID)
    x, y = grid[:, :-1, 1:] - grid[:, :-1, :-1], grid[:, 1:, :-1] - grid[:, :-1, :-1]
    size = np.hypot(x, y)
    part = _CONTRAST_CAP / np.maximum(size, _CONTRAST_CAP)
    x, y, size = ((v * part).reshape(len(luma), -1) for v in (x, y, size))
    return (x, y), size


def _window_curves(frames: np.ndarray) -> np.ndarray:
    """Curves of all frames but _CONTEXT at either end, float32 [curves, n]; colour_jump is not among them."""
    n = len(frames) - 2 * _CONTEXT

    def at(offset: int) -> slice:
        return slice(_CONTEXT + offset, _CONTEXT + offset + n)

    runs = {1: _Runs(1, frames, np.zeros_like(frames), np.zeros(len(frames), np.float32))}
    for k in STEP_FRAMES:
        runs[k] = runs[k // 2].doubled()
    structure = {k: _Structure(runs[k].mean) for k in (_SHARP_FRAMES, SIDE_FRAMES)}
    current = frames[at(0)]
    rows = [
        _distance(frames[at(-1)], current),
        current[:, :_CELLS].std(1),
        structure[_SHARP_FRAMES].replaced(at(-_SHARP_FRAMES), at(0)),
        structure[_SHARP_FRAMES].turned(at(-_SHARP_FRAMES), at(0)),
    ]
    for k in STEP_FRAMES:
        rows += [runs[k].between(at(-k), at(0)), runs[k].within(at(-k), at(0))]
    side = runs[SIDE_FRAMES]
    for gap in SPAN_FRAMES:
        left, right = at(-gap // 2 - SIDE_FRAMES), at(gap // 2)
        between = side.between(left, right)
        detour = (_distance(current, side.mean[left]) + _distance(current, side.mean[right]) - between) / 2
        rows += [
            between,
            side.within(left, right),
            detour / np.maximum(between, 1.0),
            structure[SIDE_FRAMES].replaced(left, right),
            structure[SIDE_FRAMES].other(left, right),
        ]
    return np.stack(rows).astype(np.float32)
