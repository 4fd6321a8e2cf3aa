"""A take: one camera on one place, with somebody in front of it, for as long as asked. What `changes` cuts together."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from clipmill.curate.demo.scene import Path, Scene, Sprite
from clipmill.curate.demo.textures import STYLES, Palette, backdrop, palette, sprite

SIZE = (256, 144)
GROUNDS = ("textured", "plain")
TILE = 1.5  # the backdrop's period, in pictures
NOISE = 3.0  # code values, of a busy take's sensor
SHAKE = 0.006  # short sides, of a busy take's camera


def _plain(height: int, width: int, colours: Palette) -> np.ndarray:
    """A wall: hardly any detail, a little darker to the sides. Periodic uint8 [H, W, 3]."""
    side = 1 - 0.12 * np.cos(2 * np.pi * np.arange(width) / width)
    down = 1 - 0.05 * np.cos(2 * np.pi * np.arange(height) / height)
    return np.clip(colours.light * (down[:, None] * side)[..., None] * 0.85, 0, 255).astype(np.uint8)


def _person(rng: np.random.Generator, colours: Palette, busy: bool) -> tuple[Sprite, ...]:
    """Body, head and a hand that moves; in busy takes something crosses the picture as well."""
    x, lean = rng.uniform(-0.3, 0.3), rng.uniform(-0.04, 0.04)
    speed = rng.uniform(0.3, 0.6) if busy else rng.uniform(0.04, 0.12)
    parts = [
        ("blob", 0.95, Path((x, 0.42), spin=0.03), 0.0),
        ("disc", 0.46, Path((x + lean, -0.12), velocity=(speed / 6, 0.0), bounds=(0.5, 0.4)), 0.0),
        ("star", 0.24, Path((x + 0.3, 0.1), velocity=(speed, 0.6 * speed), bounds=(0.8, 0.4)), 0.0),
    ]
    if busy:
        parts.append(("ring", 0.3, Path((-0.8, -0.3), velocity=(rng.uniform(0.8, 1.4), 0.2), bounds=(1.0, 0.5)), 0.0))
    short = min(SIZE)
    return tuple(
        Sprite(shape, sprite(rng, size * short, colours, shape), size, path, True) for shape, size, path, _ in parts
    )


@dataclass(frozen=True)
class Take:
    """key: seed of the place and who is in it. pose: seed of the moment: where they are and how they move. framing: (x,
    y, scale) of the camera, short sides and 1. busy: a camera held by hand, a noisy sensor, faster movement.
    """

    key: tuple[int, ...]
    plain: bool
    busy: bool
    pose: int = 0
    framing: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def scene(self) -> Scene:
        """The place, drawn once."""
        width, height = SIZE
        rng = np.random.default_rng((*self.key, 1))
        colours = palette(rng, float(rng.uniform(0, 360)), bool(rng.random() < 0.5))
        tile_h, tile_w = round(TILE * height), round(TILE * width)
        style = str(rng.choice(STYLES))
        tile = _plain(tile_h, tile_w, colours) if self.plain else backdrop(rng, tile_h, tile_w, colours, style)
        looks = np.random.default_rng((*self.key, 2))
        people = _person(looks, colours, self.busy)
        return Scene(tile, Path(), self._posed(people), style, width, height)

    def _posed(self, people: tuple[Sprite, ...]) -> tuple[Sprite, ...]:
        """The same people at another moment: elsewhere, turned, moving on from there."""
        if self.pose == 0:
            return people
        rng = np.random.default_rng((*self.key, 3, self.pose))
        side = rng.uniform(0.1, 0.2) * (-1) ** self.pose  # the other way each time, so that each moment differs
        posed = []
        for person in people:
            x, y = person.path.origin
            place = (x + side + rng.uniform(-0.05, 0.05), y + rng.uniform(-0.06, 0.06))
            turned = replace(person.path, origin=place, spin=person.path.spin * rng.choice([-1, 1]))
            posed.append(replace(person, path=turned))
        return tuple(posed)

    def other_moment(self, pose: int, framing: tuple[float, float, float] | None = None) -> "Take":
        """The same place and people, later; framing None: from where the camera was."""
        return replace(self, pose=pose, framing=framing or self.framing)


class Rolling:
    """A take that is being filmed: `picture(t_s)` -> uint8 [144, 256, 3] RGB."""

    def __init__(self, take: Take) -> None:
        self.take, self._scene = take, take.scene()
        self._rng = np.random.default_rng((*take.key, 4, take.pose))
        self._hand = self._rng.uniform(0, 2 * np.pi, 4)

    def picture(self, t_s: float, shift: float = 0.0) -> np.ndarray:
        """shift: of the camera to the side, short sides."""
        x, y, scale = self.take.framing
        dx, dy = self._shake(t_s)
        camera = Path(origin=(x + dx - shift * scale, y + dy), scale=scale)
        picture = replace(self._scene, camera=camera).render(t_s)
        if self.take.busy:
            noise = self._rng.normal(0, NOISE, picture.shape[:2])[..., None]
            picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        return picture

    def _shake(self, t_s: float) -> tuple[float, float]:
        if not self.take.busy:
            return 0.0, 0.0
        rates = np.array([1.1, 2.3, 1.7, 3.1]) * 2 * np.pi
        waves = SHAKE * np.sin(rates * t_s + self._hand)
        return float(waves[0] + waves[1] / 2), float(waves[2] + waves[3] / 2)

    def blurred(self, t_s: float, shifts: np.ndarray) -> np.ndarray:
        """The mean of pictures at these shifts: what a moving shutter sees."""
        pictures = [self.picture(t_s, float(shift)).astype(np.float32) for shift in shifts]
        return cv2.convertScaleAbs(np.mean(pictures, axis=0))
