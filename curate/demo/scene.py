"""One shot's world: a backdrop under a camera, and sprites that follow motion laws exactly, at any time.

Lengths are short sides of the picture, origin at its centre, x right, y down; time is in seconds. Nothing is
integrated: position is a closed form of time, so any frame rate, and any frame alone, shows the same motion.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from clipmill.curate.demo.textures import HALO


@dataclass(frozen=True)
class Path:
    """Similarity transform local -> parent as a function of time: scale, then turn, then move.

    velocity: short sides per second. spin: radians per second. scale: at time 0; it grows by a factor
    exp(zoom_rate) each second.
    bounds: half extents (x, y) of the box inside which the position is reflected (bounce); None for free travel.
    """

    origin: tuple[float, float] = (0.0, 0.0)
    velocity: tuple[float, float] = (0.0, 0.0)
    spin: float = 0.0
    scale: float = 1.0
    zoom_rate: float = 0.0
    bounds: tuple[float, float] | None = None

    def position(self, t_s: float) -> np.ndarray:
        """float64 [2]."""
        p = np.array(self.origin) + np.array(self.velocity) * t_s
        if self.bounds is None:
            return p
        # reflection at both walls unfolds into a triangle wave of period 4 * half extent
        half = np.array(self.bounds)
        return np.abs(np.mod(p - half, 4 * half) - 2 * half) - half

    def matrix(self, t_s: float) -> np.ndarray:
        """float64 [3, 3]."""
        scale, angle = self.scale * np.exp(self.zoom_rate * t_s), self.spin * t_s
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        x, y = self.position(t_s)
        return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


@dataclass(frozen=True)
class Sprite:
    """tile: float32 [S, S, 4] from textures.sprite. attached: it moves with the camera's world, not with the screen."""

    shape: str
    tile: np.ndarray
    diameter: float
    path: Path
    attached: bool


@dataclass(frozen=True)
class Scene:
    """backdrop: periodic uint8 [h, w, 3] tile, 1 short side = `short_side_px` of its pixels; sprites from back to
    front.
    """

    backdrop: np.ndarray
    camera: Path
    sprites: tuple[Sprite, ...]
    style: str
    width_px: int
    height_px: int

    @property
    def short_side_px(self) -> int:
        """The smaller of width and height in pixels: the unit of all lengths in a scene."""
        return min(self.width_px, self.height_px)

    def _to_px(self) -> np.ndarray:
        ss = self.short_side_px
        return np.array([[ss, 0, (self.width_px - 1) / 2], [0, ss, (self.height_px - 1) / 2], [0, 0, 1]])

    def sprite_matrix(self, sprite: Sprite, t_s: float) -> np.ndarray:
        """Sprite units (short sides from its centre) -> screen, float64 [3, 3]."""
        pose = sprite.path.matrix(t_s)
        return self.camera.matrix(t_s) @ pose if sprite.attached else pose

    def render(self, t_s: float) -> np.ndarray:
        """uint8 [height_px, width_px, 3] RGB."""
        th, tw = self.backdrop.shape[:2]
        tile_px = np.array([[self.short_side_px, 0, tw / 2], [0, self.short_side_px, th / 2], [0, 0, 1]])
        screen_to_tile = tile_px @ np.linalg.inv(self._to_px() @ self.camera.matrix(t_s))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.width_px, self.height_px)
        picture = cv2.warpAffine(self.backdrop, screen_to_tile[:2], size, flags=flags, borderMode=cv2.BORDER_WRAP)
        for sprite in self.sprites:
            self._draw(picture, sprite, t_s)
        return picture

    def _draw(self, picture: np.ndarray, sprite: Sprite, t_s: float) -> None:
        screen = self._to_px() @ self.sprite_matrix(sprite, t_s)
        reach = HALO * sprite.diameter / 2 * np.hypot(screen[0, 0], screen[1, 0]) + 2
        x0, y0 = np.maximum(np.floor(screen[:2, 2] - reach), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(screen[:2, 2] + reach), (self.width_px, self.height_px)).astype(int)
        if x1 <= x0 or y1 <= y0:
            return
        n = sprite.tile.shape[0]
        k = n / (HALO * sprite.diameter)  # tile pixels per short side
        to_tile = np.array([[k, 0, (n - 1) / 2], [0, k, (n - 1) / 2], [0, 0, 1]]) @ np.linalg.inv(screen)
        to_tile[:2, 2] += to_tile[:2, :2] @ (x0, y0)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(
            sprite.tile, to_tile[:2], (int(x1 - x0), int(y1 - y0)), flags=flags, borderMode=cv2.BORDER_CONSTANT
        )
        region = picture[y0:y1, x0:x1]
        region[:] = (region * (1 - patch[..., 3:]) + patch[..., :3] + 0.5).astype(np.uint8)

    def flow_magnitude(self, t_s: float, step_s: float = 1 / 240) -> tuple[np.ndarray, np.ndarray]:
        """Apparent speed of what is visible: (float64 [h, w] short sides per second, bool [h, w] covered by a sprite).

        Exact geometry by central difference on a grid of about 36 points per short side; nothing is estimated from
        pixels.
        """
        cell = self.short_side_px / 36
        xs, ys = np.meshgrid(np.arange(cell / 2, self.width_px, cell), np.arange(cell / 2, self.height_px, cell))
        points = np.linalg.inv(self._to_px()) @ np.stack([xs.ravel(), ys.ravel(), np.ones(xs.size)])
        speed = _speed(
            points, self.camera.matrix(t_s - step_s), self.camera.matrix(t_s + step_s), self.camera.matrix(t_s)
        ) / (2 * step_s)
        covered = np.zeros(xs.size, bool)
        for sprite in self.sprites:
            before, now, after = (self.sprite_matrix(sprite, t) for t in (t_s - step_s, t_s, t_s + step_s))
            hit = _inside(sprite, np.linalg.inv(now) @ points)
            speed = np.where(hit, _speed(points, before, after, now) / (2 * step_s), speed)
            covered |= hit
        return speed.reshape(xs.shape), covered.reshape(xs.shape)


def _speed(points: np.ndarray, before: np.ndarray, after: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Distance each material point, seen at `points` [3, N] now, travels from `before` to `after`; float64 [N]."""
    moved = (after - before) @ np.linalg.inv(now) @ points
    return np.hypot(moved[0], moved[1])


def _inside(sprite: Sprite, local: np.ndarray) -> np.ndarray:
    """bool [N]: the points (sprite units) at which the sprite itself, not its shadow, is seen."""
    n = sprite.tile.shape[0]
    index = np.rint(local[:2] * n / (HALO * sprite.diameter) + (n - 1) / 2).astype(int)
    ok = ((index >= 0) & (index < n)).all(0)
    column, row = np.where(ok, index, 0)
    # the shadow stays below 0.5, an opaque sprite is 1
    return ok & (sprite.tile[row, column, 3] > 0.5)
