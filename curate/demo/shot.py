"""A shot's frames: its scene at a time, then what is planted on it."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from clipmill.curate.demo.captions import caption
from clipmill.curate.demo.overlay import Overlay, make_overlay
from clipmill.curate.demo.plan import ShotPlan
from clipmill.curate.demo.scene import Path, Scene, Sprite
from clipmill.curate.demo.textures import SHAPES, STYLES, backdrop, palette, sprite

TILE = 1.5  # the backdrop's period, in pictures
TEXT_SHARE = (0.12, 0.18)  # of the picture, at least
BLUR_SIGMA = 0.012  # of the short side
BLACK_GAIN = 0.045  # the brightest pixel is about 11 of 255
FLICKER = 0.16  # change of gain, at most; each frame goes the other way
JPEG_QUALITY = 5
DIAMETERS = {
    "pan": (0.40, 0.56),
    "zoom": (0.40, 0.56),
    "linear": (0.42, 0.58),
    "bounce": (0.40, 0.52),
    "rotate": (0.50, 0.70),
}
COUNTS = {"pan": 5, "zoom": 4, "linear": 3, "bounce": 3, "rotate": 2}


def _pair(v: np.ndarray) -> tuple[float, float]:
    return float(v[0]), float(v[1])


def _scatter(rng: np.random.Generator, count: int, half: np.ndarray, centre: np.ndarray) -> list[np.ndarray]:
    """Points in the box centre +- half, far from each other: the best of a few candidates each time (Mitchell,
    1991).
    """
    points = [centre + half * rng.uniform(-0.8, 0.8, 2)]
    while len(points) < count:
        candidates = centre + half * rng.uniform(-0.95, 0.95, (16, 2))
        distance = np.min([np.hypot(*(candidates - p).T) for p in points], axis=0)
        points.append(candidates[int(distance.argmax())])
    return points


def _camera_law(rng: np.random.Generator, law: str, half: np.ndarray, clean_s: float) -> tuple[Path, list[Path]]:
    """Pan or zoom: the camera moves, the sprites are fixed in its world."""
    if law == "zoom":
        rate, sign = rng.uniform(0.10, 0.16), rng.choice([-1, 1])
        # the smallest scale is 0.85 either way: less would alias, and the largest stays below 1.5
        camera = Path(scale=0.85 * (1.0 if sign > 0 else float(np.exp(rate * clean_s))), zoom_rate=float(sign * rate))
        return camera, [Path(origin=_pair(p)) for p in _scatter(rng, COUNTS[law], half * 1.1, np.zeros(2))]
    heading = rng.uniform(0, 2 * np.pi)
    velocity = np.array([np.cos(heading), 0.6 * np.sin(heading)])
    velocity *= rng.uniform(0.10, 0.30) / np.hypot(*velocity)
    travelled = velocity * clean_s / 2
    places = _scatter(rng, COUNTS[law], half + np.abs(travelled), -travelled)
    return Path(velocity=_pair(velocity)), [Path(origin=_pair(p)) for p in places]


def _sprite_law(
    rng: np.random.Generator, law: str, half: np.ndarray, clean_s: float, diameter: float
) -> tuple[Path, list[Path]]:
    """Linear, bounce or rotate: the sprites move on the screen; the backdrop drifts slowly, or stands as on a
    tripod.
    """
    count = COUNTS[law]
    along, speed = (np.array([1, 0.5]) if half[0] > half[1] else np.array([0.5, 1])), rng.uniform(0.25, 0.38)
    drift = rng.uniform(0.03, 0.05) * (law == "rotate" or rng.random() < 0.5)
    angle = rng.uniform(0, 2 * np.pi)
    camera = Path(velocity=(float(drift * np.cos(angle)), float(drift * np.sin(angle))))
    room = half - diameter / 2
    paths = []
    for place in _scatter(rng, count, np.maximum(room, 0.1), np.zeros(2)):
        heading = rng.uniform(0, 2 * np.pi)
        velocity = along * (np.cos(heading), np.sin(heading))
        velocity *= speed / np.hypot(*velocity)
        if law == "linear":
            paths.append(Path(origin=_pair(0.7 * place - velocity * clean_s / 2), velocity=_pair(velocity)))
        elif law == "bounce":
            paths.append(Path(origin=_pair(place), velocity=_pair(velocity), bounds=_pair(room)))
        else:
            paths.append(Path(origin=_pair(place), spin=float(rng.choice([-1, 1]) * rng.uniform(0.8, 1.3))))
    return camera, paths


def build_scene(plan: ShotPlan) -> Scene:
    """The shot's world at plan.picture size, from its key alone."""
    rng = np.random.default_rng((*plan.key, 2))
    width, height = plan.picture
    short = min(plan.picture)
    half = np.array(plan.picture) / short / 2
    law = plan.law if plan.law != "static" else str(rng.choice(list(DIAMETERS)))
    diameters = rng.uniform(*DIAMETERS[law], COUNTS[law])
    moves = _camera_law(rng, law, half, plan.clean_s) if law in ("pan", "zoom") else None
    camera, paths = moves or _sprite_law(rng, law, half, plan.clean_s, float(diameters.max()))
    colours = palette(rng, plan.hue_deg, plan.bright)
    style = str(rng.choice(STYLES))
    tile = backdrop(rng, round(TILE * height), round(TILE * width), colours, style)
    shapes = np.resize(rng.permutation(np.array(SHAPES)), len(paths)).tolist()
    sprites = [
        Sprite(shape, sprite(rng, float(d) * short, colours, shape), float(d), path, moves is not None)
        for shape, d, path in zip(shapes, diameters, paths, strict=True)
    ]
    return Scene(tile, camera, tuple(sprites), style, width, height)


@dataclass(frozen=True)
class MotionTruth:
    """law_speed: short sides per second of the camera (pan) or of each sprite (linear, bounce). law_rate: per second,
    radians (rotate) or natural logarithm of scale (zoom). mean_speed: apparent speed averaged over the picture and the
    clean span, from geometry. sprite_share: of the picture, mean over time. What a law does not have is None."""

    law_speed: float | None
    law_rate: float | None
    mean_speed: float
    sprite_share: float


class Shot:
    """Renders one ShotPlan into frames of `size` = (width, height) px."""

    def __init__(self, plan: ShotPlan, size: tuple[int, int]) -> None:
        self.plan = plan
        self.size = size
        self.scene = build_scene(plan)
        self.overlay = self._make_overlay()
        self._frozen: np.ndarray | None = None

    def _make_overlay(self) -> Overlay | None:
        rng = np.random.default_rng((*self.plan.key, 3))
        if "text" in self.plan.defects:
            return make_overlay(rng, *self.plan.picture, float(rng.uniform(*TEXT_SHARE)))
        return make_overlay(rng, *self.plan.picture, None) if self.plan.caption_line else None

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """x, y, width, height px of the picture inside its black borders."""
        if "letterbox" not in self.plan.defects:
            return 0, 0, *self.size
        (w, h), (pw, ph) = self.size, self.plan.picture
        return (w - pw) // 2, (h - ph) // 2, pw, ph

    @cached_property
    def _gains(self) -> np.ndarray:
        rng = np.random.default_rng((*self.plan.key, 4))
        return 1 + FLICKER * rng.uniform(0.5, 1, 4096) * np.tile([1, -1], 2048)

    def frame(self, t_s: float, number: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB at `t_s` from the shot's first clean frame (below 0 in the transition into it).

        `number`: counts the video's frames; only flicker depends on it.
        """
        if "static" not in self.plan.defects:
            picture = self._picture(t_s)
        else:
            if self._frozen is None:
                self._frozen = self._picture(0.0)
            picture = self._frozen
        if "flicker" in self.plan.defects:
            picture = cv2.convertScaleAbs(picture, alpha=float(self._gains[number % 4096]))
        return self._fit(picture)

    def _picture(self, t_s: float) -> np.ndarray:
        """The scene with everything planted on it that does not depend on the frame's number."""
        picture, defects = self.scene.render(t_s), self.plan.defects
        if "near_black" in defects:
            picture = cv2.convertScaleAbs(picture, alpha=BLACK_GAIN)
        if self.overlay is not None:
            self.overlay.apply(picture)
        if "blur" in defects:
            picture = cv2.GaussianBlur(picture, (0, 0), BLUR_SIGMA * self.scene.short_side_px)
        if "blockiness" in defects:
            # JPEG is an 8x8 DCT with coarse quantisation: what too low a bitrate does to a video
            coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
        return picture

    def _fit(self, picture: np.ndarray) -> np.ndarray:
        """Put borders around a letterboxed picture; rescale a duplicate that was drawn for another file."""
        x, y, w, h = self.crop
        if (w, h) != self.size:
            framed = np.zeros((self.size[1], self.size[0], 3), np.uint8)
            framed[y : y + h, x : x + w] = picture
            return framed
        if self.plan.picture != self.size:
            return cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
        return picture

    def text_boxes_px(self) -> np.ndarray:
        """float [N, 4] x0, y0, x1, y1 of each line's ink, in pixels of the frame."""
        if self.overlay is None:
            return np.zeros((0, 4))
        x, y, w, h = self.crop
        scale = np.array([w, h]) / self.plan.picture
        return self.overlay.boxes_px * np.tile(scale, 2) + (x, y, x, y)

    @property
    def caption(self) -> str:
        """One sentence on what is seen."""
        scene = self.scene
        return caption([s.shape for s in scene.sprites], scene.style, self.plan.law, self.plan.hue_deg)

    def motion(self) -> MotionTruth:
        """What moves and how fast, known exactly."""
        camera, first = self.scene.camera, self.scene.sprites[0].path
        law = self.plan.law
        if law == "static":
            return MotionTruth(None, None, 0.0, float(self.scene.flow_magnitude(0.0)[1].mean()))
        moving = camera if law == "pan" else first
        law_speed = float(np.hypot(*moving.velocity)) if law in ("pan", "linear", "bounce") else None
        rates = {
            "rotate": float(np.mean([abs(s.path.spin) for s in self.scene.sprites])),
            "zoom": abs(camera.zoom_rate),
        }
        fields = [self.scene.flow_magnitude(t) for t in np.arange(0.1, self.plan.clean_s, 0.2)]
        mean_speed, share = (float(np.mean([f[i].mean() for f in fields])) for i in (0, 1))
        return MotionTruth(law_speed, rates.get(law), mean_speed, share)
