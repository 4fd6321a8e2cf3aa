"""Motion score and camera direction from dense optical flow at two frames a second.

Flow: G. Farneback, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003, with the settings of the
public SVD-era code (pyr 0.5, 3 levels, window 15, 3 iterations, poly_n 5, poly_sigma 1.2). As in the SVD paper
(arXiv 2311.15127, appendix C) the flow *maps* are reduced to a short side of 16 cells, not the frames. Or by RAFT, see
`clipmill.curate.networks.raft`, as in the high-quality stage of the paper: the same columns in the same units, but
other numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import Annotator, ClipFrames, FrameRequest, Measure, per_clip
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError, UserError
from clipmill.curate.networks.raft import HEIGHT_PX, Raft, sized

CELLS_SHORT_SIDE = 16
MIN_SIDE_PX = 8
MAX_PX = 64 * 512
EDGE_PX = 2
_PAN = "(the picture's content moves the other way), averaged over time"
METHODS = ("farneback", "raft")
Flow = tuple[np.ndarray, np.ndarray]
PairFlows = Callable[[Sequence[tuple[np.ndarray, np.ndarray]]], list[Flow]]


@dataclass(frozen=True)
class Motion(Annotator):
    """How much moves, and where the camera goes.

    method: farneback (offline) or raft (800x450 px; needs weights, and a GPU: on one core of a CPU a pair takes about
    10 s; while a video is worked on, its pictures take about 2 MB per second of it on disk). network: RAFT's weights by
    name, or a file.
    fps: sampling rate, 1/s. short_side_px: size at which Farneback's flow is computed. static_below: short sides per
    second.
    camera_above: speed, short sides per second, from which the camera counts as moving.
    min_contrast: standard deviation of luma, levels of 255, below which the picture counts as flat.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "motion": Column(
            pa.float32(),
            ">= 0, mean flow magnitude over cells and time, in short sides of the (cropped) picture per second. All of"
            " motion's columns are null where the clip holds fewer than two sampled frames or is smaller than 8 px"
            " after the crop, and an error where the picture is so flat (black, say) that nothing could be seen to"
            ' move: a number would read as "static"',
        ),
        "motion_per_pair": Column(pa.list_(pa.float32()), "the same for each pair of sampled frames"),
        "static_share": Column(
            pa.float32(),
            "in [0, 1], share of cells and time slower than `static_below` short sides per second",
        ),
        "camera_direction": Column(
            pa.string(),
            "static | left | right | up | down | zoom_in | zoom_out | rotate_cw | rotate_ccw (the camera's movement) |"
            " unsteady (it moves, without a lasting direction) | complex (no single camera movement explains the flow)",
        ),
        "pan_x": Column(pa.float32(), f"short sides per second, travel of the camera to the right {_PAN}"),
        "pan_y": Column(pa.float32(), f"short sides per second, travel of the camera downwards {_PAN}"),
        "zoom": Column(pa.float32(), "relative growth of the picture per second (> 0: zoom in)"),
        "roll": Column(
            pa.float32(), "rad/s, turn of the camera clockwise as seen by the viewer (the content turns the other way)"
        ),
    }

    method: Literal["farneback", "raft"] = "farneback"
    network: str = "raft-large"
    fps: float = 2.0
    short_side_px: int = 64
    static_below: float = 0.01
    camera_above: float = 0.02
    min_contrast: float = 4.0

    @property
    def frames(self) -> FrameRequest:
        """Frames at `fps`: small and gray, or for RAFT large and in colour."""
        if self.method == "raft":
            return FrameRequest(fps=self.fps, short_side_px=HEIGHT_PX)
        return FrameRequest(fps=self.fps, short_side_px=self.short_side_px, gray=True)

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.network,) if self.method == "raft" else ()

    def params(self) -> dict[str, Any]:
        """Those of the method. The content of the weights counts, not their place."""
        return {
            k: v
            for k, v in super().params().items()
            if k != "network" and (k != "short_side_px" or self.method == "farneback")
        }

    def check(self) -> None:
        """Raise UserError for an unknown method."""
        if self.method not in METHODS:
            raise UserError(f"motion.method must be one of {', '.join(METHODS)}, not {self.method!r}")

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """One OpenCV thread, because workers are parallel already; RAFT on `device`. Raises UserError where its file
        does not fit.
        """
        import cv2

        cv2.setNumThreads(0)
        if self.method == "farneback":
            return per_clip(self.measure)
        raft = Raft(files[self.network], device)
        return per_clip(lambda clip: self._row(clip, *raft_maps(raft, clip.frames, clip.t_s)))

    def measure(self, clip: ClipFrames) -> dict[str, Any]:
        """The columns by Farneback's flow."""
        return self._row(clip, *flow_maps(clip.frames, clip.t_s, self.short_side_px))

    def _row(self, clip: ClipFrames, maps: Sequence["FlowMap"], dt_s: Sequence[float]) -> dict[str, Any]:
        if not maps:
            return dict.fromkeys(self.columns)
        if float(np.median([_luma(f).std() for f in clip.frames])) < self.min_contrast:
            raise AnnotatorError("too little contrast to see what moves")
        speed = [m.magnitude / dt for m, dt in zip(maps, dt_s, strict=True)]
        weights = [m.weight for m in maps]
        per_pair = [float(np.average(s, weights=w)) for s, w in zip(speed, weights, strict=True)]
        still = [float(np.average(s < self.static_below, weights=w)) for s, w in zip(speed, weights, strict=True)]
        fits = [fit_camera(m, 0.5 * self.camera_above * dt) for m, dt in zip(maps, dt_s, strict=True)]
        return {
            "motion": float(np.average(per_pair, weights=dt_s)),
            "motion_per_pair": per_pair,
            "static_share": float(np.average(still, weights=dt_s)),
            **camera_motion(fits, np.asarray(dt_s), self.camera_above),
        }


def _luma(frame: np.ndarray) -> np.ndarray:
    import cv2

    return frame if frame.ndim == 2 else np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def _still(frame: np.ndarray) -> np.ndarray:
    return np.zeros((*frame.shape[:2], 2), np.float32)


@dataclass(frozen=True)
class FlowMap:
    """Flow of one pair on a coarse grid.

    flow: float64 [h, w, 2] (x, y) displacement in short sides of the picture, min(h, w) = 16 for pictures of 16 px and
    more.
    weight: float64 [h, w] in [0, 1], share of the cell whose content is still inside the second frame.
    """

    flow: np.ndarray
    weight: np.ndarray

    @property
    def magnitude(self) -> np.ndarray:
        """float64 [h, w], short sides."""
        return np.hypot(self.flow[..., 0], self.flow[..., 1])


def flow_maps(frames: np.ndarray, t_s: np.ndarray, short_side_px: int) -> tuple[list[FlowMap], list[float]]:
    """Flow maps of consecutive frames and the true time between them.

    frames: uint8 [T, H, W]; t_s: float [T]. Pairs without a time step are left out; no maps where H or W < 8.
    """

    def flows(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Flow]:
        return [pair_flow(*pair) for pair in pairs]

    return _maps_of_pairs(frames, t_s, lambda frame: _enlarge(frame, short_side_px), flows)


def raft_maps(raft: Raft, frames: np.ndarray, t_s: np.ndarray) -> tuple[list[FlowMap], list[float]]:
    """As `flow_maps`, by RAFT. frames: uint8 [T, H, W, 3] RGB. Equal frames are not shown to the network."""

    def flows(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Flow]:
        seen = iter(raft([pair for pair in pairs if not np.array_equal(*pair)]))
        found = [_still(pair[0]) if np.array_equal(*pair) else next(seen) for pair in pairs]
        return [(flow, _in_view(flow)) for flow in found]

    return _maps_of_pairs(frames, t_s, sized, flows)


def _maps_of_pairs(
    frames: np.ndarray, t_s: np.ndarray, resize: Callable[[np.ndarray], np.ndarray], flows: PairFlows
) -> tuple[list[FlowMap], list[float]]:
    if frames.ndim < 3 or min(frames.shape[1:3]) < MIN_SIDE_PX:
        return [], []
    steps = [(i, float(t_s[i + 1] - t_s[i])) for i in range(len(frames) - 1)]
    steps = [(i, dt) for i, dt in steps if dt > 0]
    pictures = [resize(f) for f in frames] if steps else []
    found = flows([(pictures[i], pictures[i + 1]) for i, _ in steps])
    return [reduce_flow(*flow) for flow in found], [dt for _, dt in steps]


def _enlarge(frame: np.ndarray, short_side_px: int) -> np.ndarray:
    """At least `short_side_px`: a letterbox crop must not cost Farneback a pyramid level (it stops below 32 px), and
    its range.
    """
    import cv2

    height, width = frame.shape
    scale = min(short_side_px / min(height, width), (MAX_PX / (height * width)) ** 0.5)
    if scale <= 1:
        return frame
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)


def pair_flow(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense flow (float32 [H, W, 2], px) from `first` to `second` (uint8 [H, W]) and the mask of pixels still in view.

    Farneback follows a few pixels at this size, and a fast pan moves a quarter of the picture between two samples. So
    where phase correlation finds a translation that explains the second frame better than none, the search starts from
    it, but only in places that it explains: a static background behind a large moving object is not dragged along.
    """
    import cv2

    if cv2.norm(first, second, cv2.NORM_INF) == 0:
        return _still(first), np.ones(first.shape, bool)
    shift = global_shift(first, second)
    flow = _farneback(first, second, None if shift is None else _start(first, second, shift))
    return flow, _in_view(flow)


def _farneback(first: np.ndarray, second: np.ndarray, start: np.ndarray | None) -> np.ndarray:
    import cv2

    flags = 0 if start is None else cv2.OPTFLOW_USE_INITIAL_FLOW
    start = _still(first) if start is None else start
    return np.asarray(
        cv2.calcOpticalFlowFarneback(
            first,
            second,
            start,
            pyr_scale=0.5,
            levels=3,
            winsize=15,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=flags,
        )
    )


def _start(first: np.ndarray, second: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    import cv2

    height, width = first.shape
    inverse = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]], np.float32)
    moved = cv2.warpAffine(second, inverse, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    with_shift = cv2.blur(cv2.absdiff(first, moved).astype(np.float32), (9, 9))
    without = cv2.blur(cv2.absdiff(first, second).astype(np.float32), (9, 9))
    return np.where((with_shift < without)[..., None], np.array(shift, np.float32), np.float32(0))


def global_shift(first: np.ndarray, second: np.ndarray, min_px: float = 1.5) -> tuple[float, float] | None:
    """Translation (x, y) in px by phase correlation, or None where it is small or does not explain the second frame."""
    import cv2

    height, width = first.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(first.astype(np.float32), second.astype(np.float32), window)
    dx, dy = round(x), round(y)
    if max(abs(x), abs(y)) < min_px or abs(dx) > width // 2 or abs(dy) > height // 2:
        return None
    a = first[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    b = second[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    explained = cv2.norm(a, b, cv2.NORM_L1) / a.size
    return (x, y) if explained < 0.8 * cv2.norm(first, second, cv2.NORM_L1) / first.size else None


def _in_view(flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return (x >= EDGE_PX) & (x <= width - 1 - EDGE_PX) & (y >= EDGE_PX) & (y <= height - 1 - EDGE_PX)


def reduce_flow(flow: np.ndarray, valid: np.ndarray) -> FlowMap:
    """Area mean of the valid flow vectors in each cell. flow: float32 [H, W, 2] px; valid: bool [H, W]."""
    import cv2

    height, width = valid.shape
    scale = CELLS_SHORT_SIDE / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    weight = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA).astype(np.float64)
    if weight.max() <= 0:
        weight = np.ones_like(weight)
        valid = np.ones_like(valid)
    total = cv2.resize(
        np.where(valid[..., None], flow, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA
    ).astype(np.float64)
    return FlowMap(total / np.maximum(weight, 1e-6)[..., None] / min(height, width), weight)


@dataclass(frozen=True)
class CameraFit:
    """Similarity fit of one flow map: displacement = -pan + zoom * r + (-roll) x r, r from the picture's centre.

    pan_x, pan_y: short sides. zoom: relative. roll: rad. radius: mean |r| in short sides. explained: share of cells, 0
    to 1, that follow the fit. mean_speed: mean displacement, short sides.
    """

    pan_x: float
    pan_y: float
    zoom: float
    roll: float
    radius: float
    explained: float


def fit_camera(flow: FlowMap, tolerance: float, iterations: int = 4) -> CameraFit:
    """Robust least squares (iteratively reweighted, Cauchy weights) of a similarity motion to one flow map.

    tolerance: distance in short sides up to which a cell follows the fit.
    """
    x, y = _positions(*flow.weight.shape)
    one, nil = np.ones_like(x), np.zeros_like(x)
    design = np.stack([np.stack([one, nil, x, -y]), np.stack([nil, one, y, x])], 1).reshape(4, -1)
    target = flow.flow.reshape(-1, 2).T.ravel()
    base = flow.weight.ravel()
    weight = base
    for _ in range(iterations):
        weighted = design * np.concatenate([weight, weight])
        solution = np.linalg.solve(weighted @ design.T + 1e-9 * np.eye(4), weighted @ target)
        residual = np.hypot(*(target - solution @ design).reshape(2, -1))
        scale = max(1.4826 * float(np.median(residual)), 1e-4)
        weight = base / (1 + (residual / scale) ** 2)
    speed = np.hypot(*(solution @ design).reshape(2, -1))
    explained = float(np.average(residual <= np.maximum(0.3 * speed, tolerance), weights=base))
    pan_x, pan_y, zoom, roll = (float(v) for v in solution)
    return CameraFit(-pan_x, -pan_y, zoom, -roll, float(np.hypot(x, y).mean()), explained)


def _positions(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    side = min(height, width)
    x = (np.arange(width) - (width - 1) / 2) / side
    y = (np.arange(height) - (height - 1) / 2) / side
    return np.tile(x, height), np.repeat(y, width)


def camera_motion(fits: Sequence[CameraFit], dt_s: np.ndarray, above: float) -> dict[str, Any]:
    """Camera columns from the fits of a clip's pairs, weighted by time. dt_s: float [T]; above: short sides per
    second.
    """
    rates = np.array([(f.pan_x, f.pan_y, f.zoom, f.roll) for f in fits]) / dt_s[:, None]
    pan_x, pan_y, zoom, roll = np.average(rates, axis=0, weights=dt_s)
    radius = fits[0].radius
    # speeds that each component gives the picture, all in short sides per second, so that they compare
    reach = np.array([1, 1, radius, radius])
    mean = np.abs([pan_x, pan_y, zoom, roll]) * reach
    typical = np.average(np.abs(rates) * reach, axis=0, weights=dt_s)
    explained = float(np.average([f.explained for f in fits], weights=dt_s))
    names = (("left", "right"), ("up", "down"), ("zoom_out", "zoom_in"), ("rotate_ccw", "rotate_cw"))
    main = int(np.argmax(mean))
    if typical.max() < above:
        direction = "static" if explained >= 0.5 else "complex"
    elif explained < 0.5:
        direction = "complex"
    elif mean[main] < max(above, 0.5 * typical.max()):
        direction = "unsteady"
    else:
        direction = names[main][int((pan_x, pan_y, zoom, roll)[main] > 0)]
    return {
        "camera_direction": direction,
        "pan_x": float(pan_x),
        "pan_y": float(pan_y),
        "zoom": float(zoom),
        "roll": float(roll),
    }
