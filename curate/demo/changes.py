"""What happens to a picture from one moment to the next: boundaries of every kind, and what must not pass for one.

`frames_of(kind, ...)` films takes and puts them together; each frame and each event is known exactly.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from clipmill.curate.demo.overlay import make_overlay
from clipmill.curate.demo.takes import SIZE, Rolling, Take

FPS = 25
HARD = ("hard", "jump", "reframed", "punch_in", "near_start", "near_end", "black", "slides_1", "slides_2")
GRADUAL = ("dissolve", "wipe", "fade_through", "fade_in", "fade_out")
NEITHER = ("flash", "exposure", "white_balance", "overlay", "damage", "whip_pan")
KINDS = (*HARD, *GRADUAL, *NEITHER)
SLIDES_FPS = {"slides_1": 1.0, "slides_2": 0.5}
EVENTS = 3
STEADY_S = (1.4, 2.2)
BLACK_S = (0.7, 1.2)

Picture = np.ndarray
Grade = Callable[[Picture], Picture]


@dataclass(frozen=True)
class Event:
    """Frames [start, end) of a change; equal for one between two frames."""

    start: int
    end: int


@dataclass
class Film:
    """Frames put together so far, uint8 [144, 256, 3] each, and what happened."""

    rng: np.random.Generator
    take: Take
    frames: list[Picture] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    t_s: float = 0.0

    def __post_init__(self) -> None:
        self.rolling = Rolling(self.take)

    def cut_to(self, take: Take) -> None:
        """Another take from here on."""
        self.take, self.rolling = take, Rolling(take)

    def next(self) -> Picture:
        """The picture now; time moves on by a frame."""
        picture = self.rolling.picture(self.t_s)
        self.t_s += 1 / FPS
        return picture

    def shoot(self, n: int, grade: Grade = lambda p: p) -> None:
        """n frames of the take, each graded."""
        self.frames += [grade(self.next()) for _ in range(n)]

    def steady(self, grade: Grade = lambda p: p) -> None:
        """A second or two in which nothing happens."""
        self.shoot(round(FPS * self.rng.uniform(*STEADY_S)), grade)

    def sharp(self) -> None:
        """A boundary at the next frame."""
        self.events.append(Event(len(self.frames), len(self.frames)))

    def lasts(self, n: int) -> None:
        """The last n frames were a change."""
        self.events.append(Event(len(self.frames) - n, len(self.frames)))

    def seconds(self, low: float, high: float) -> int:
        """Frames in a random time."""
        return round(FPS * self.rng.uniform(low, high))

    def black(self, n: int) -> None:
        """n black frames."""
        self.frames += [np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * n


def film(kind: str, plain: bool, busy: bool, seed: int) -> tuple[list[Picture], list[Event], float]:
    """Frames uint8 [144, 256, 3] RGB, the events of this kind in order, and frames per second. The same arguments give
    the same pixels.
    """
    rng = np.random.default_rng((seed, KINDS.index(kind), plain, busy))
    made = Film(rng, _place(rng, plain, busy))
    if kind in SLIDES_FPS:
        _slides(made)
    elif kind in HARD:
        _hard(made, kind)
    elif kind in GRADUAL:
        _gradual(made, kind)
    else:
        _neither(made, kind)
    return made.frames, made.events, SLIDES_FPS.get(kind, float(FPS))


def _place(rng: np.random.Generator, plain: bool, busy: bool) -> Take:
    return Take((int(rng.integers(2**31)),), plain, busy)


def _elsewhere(film: Film) -> Take:
    return _place(film.rng, film.take.plain, film.take.busy)


def _slides(film: Film) -> None:
    """Pictures that stay for one to three frames."""
    for i in range(3 * EVENTS):
        if i:
            film.cut_to(_elsewhere(film))
            film.sharp()
        film.frames += [film.next()] * int(film.rng.integers(1, 4))


def _hard(film: Film, kind: str) -> None:
    few = [int(n) for n in film.rng.integers(5, 13, EVENTS)]
    if kind in ("near_start", "near_end"):
        film.shoot(few[0]) if kind == "near_start" else film.steady()
        film.cut_to(_elsewhere(film))
        film.sharp()
        film.steady() if kind == "near_start" else film.shoot(few[0])
        return
    film.steady()
    for i in range(EVENTS):
        film.sharp()
        if kind == "black":
            film.black(film.seconds(*BLACK_S))
            film.sharp()
        film.cut_to(_after(film, kind, i + 1))
        film.steady()


def _after(film: Film, kind: str, pose: int) -> Take:
    """What follows a hard change of this kind."""
    rng, take = film.rng, film.take
    near = (float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.05, 0.05)), float(rng.uniform(1.0, 1.15)))
    if kind == "jump":
        return take.other_moment(pose)
    if kind == "reframed":
        return take.other_moment(pose, near)
    if kind == "punch_in":
        wide = take.framing[2] > 1.01
        scale = 1.0 if wide else float(rng.uniform(1.18, 1.5))
        return take.other_moment(take.pose, (0.0, 0.0 if wide else 0.08, scale))
    return _elsewhere(film)


def _gradual(film: Film, kind: str) -> None:
    if kind == "fade_in":
        film.black(film.seconds(*BLACK_S))
        _mixed(film, film.seconds(0.5, 1.0), lambda n: ((None, film.rolling, i / n) for i in range(1, n)))
        film.steady()
        return
    film.steady()
    if kind == "fade_out":
        _mixed(film, film.seconds(0.5, 1.0), lambda n: ((film.rolling, None, i / n) for i in range(1, n)))
        film.black(film.seconds(*BLACK_S))
        return
    for _ in range(EVENTS):
        old = film.rolling
        film.cut_to(_elsewhere(film))
        if kind == "fade_through":
            _through_black(film, old)
        else:
            _across(film, old, kind)
        film.steady()


def _mixed(film: Film, n: int, steps: Callable[[int], Iterator[tuple[Rolling | None, Rolling | None, float]]]) -> None:
    """n - 1 frames, each of an old and a new picture (None: black) and how far it is; then the event."""
    black = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    before = len(film.frames)
    for old, new, position in steps(n):
        a, b = (black if r is None else r.picture(film.t_s) for r in (old, new))
        film.frames.append(cv2.addWeighted(a, 1 - position, b, position, 0))
        film.t_s += 1 / FPS
    film.lasts(len(film.frames) - before)


def _through_black(film: Film, old: Rolling) -> None:
    before, n = len(film.frames), film.seconds(0.3, 0.6)
    _mixed(film, n, lambda n: ((old, None, i / n) for i in range(1, n)))
    film.black(film.seconds(0.1, 0.3))
    _mixed(film, n, lambda n: ((None, film.rolling, i / n) for i in range(1, n)))
    del film.events[-2:]
    film.lasts(len(film.frames) - before)


def _across(film: Film, old: Rolling, kind: str) -> None:
    """From one picture to another, all at once (dissolve) or from the side (wipe)."""
    n = film.seconds(0.4, 1.2) if kind == "dissolve" else film.seconds(0.4, 0.8)
    if kind == "dissolve":
        _mixed(film, n, lambda n: ((old, film.rolling, i / n) for i in range(1, n)))
        return
    for i in range(1, n):
        edge = round(SIZE[0] * i / n)
        a, b = old.picture(film.t_s), film.next()
        film.frames.append(np.concatenate([b[:, :edge], a[:, edge:]], 1))
    film.lasts(n - 1)


def _neither(film: Film, kind: str) -> None:
    film.steady()
    grade: Grade = lambda p: p  # noqa: E731
    for i in range(EVENTS):
        before = len(film.frames)
        if kind == "flash":
            _flash(film)
        elif kind == "damage":
            _damage(film)
        elif kind == "whip_pan":
            _whip_pan(film)
        else:
            grade = _grade(film.rng, kind, i)
        film.events.append(Event(before, len(film.frames)))
        film.steady(grade)


def _grade(rng: np.random.Generator, kind: str, i: int) -> Grade:
    """What every picture from here on goes through; every second one takes it back."""
    if i % 2:
        return lambda p: p
    if kind == "overlay":
        overlay = make_overlay(rng, *SIZE, float(rng.uniform(0.05, 0.12)))

        def laid(picture: Picture) -> Picture:
            overlay.apply(picture)
            return picture

        return laid
    if kind == "exposure":
        gains = np.full(3, rng.choice([rng.uniform(0.5, 0.75), rng.uniform(1.3, 1.7)]))
    else:
        warm = rng.uniform(1.15, 1.3)
        gains = np.array([warm, 1.0, 1 / warm])[:: int(rng.choice([-1, 1]))]
    return lambda p: np.clip(p * gains + 0.5, 0, 255).astype(np.uint8)


def _flash(film: Film) -> None:
    for _ in range(int(film.rng.integers(1, 4))):
        white = float(film.rng.uniform(0.6, 0.95))
        film.frames.append(cv2.addWeighted(film.next(), 1 - white, np.full_like(film.frames[-1], 255), white, 0))


def _damage(film: Film) -> None:
    """Blocks that stay behind and wander, more of them with every frame, until a clean frame."""
    n, side = film.seconds(0.4, 0.8), 16
    rows, columns = SIZE[1] // side, SIZE[0] // side
    when = film.rng.integers(0, n, (rows, columns))
    drift = film.rng.integers(-6, 7, (rows, columns, 2))
    stale = film.frames[-1]
    for i in range(n):
        picture = film.next()
        for row, column in zip(*np.nonzero(when <= i), strict=True):
            age = i - int(when[row, column])
            y, x = row * side, column * side
            v = int(np.clip(y + age * drift[row, column, 0] // 2, 0, SIZE[1] - side))
            u = int(np.clip(x + age * drift[row, column, 1] // 2, 0, SIZE[0] - side))
            picture[y : y + side, x : x + side] = stale[v : v + side, u : u + side]
        film.frames.append(picture)
        stale = picture.copy()


def _whip_pan(film: Film) -> None:
    """The camera is thrown to the side: smeared for some frames, then at rest elsewhere in the same place."""
    n, way = int(film.rng.integers(6, 11)), float(film.rng.uniform(1.2, 2.4) * film.rng.choice([-1, 1]))
    place = np.linspace(0, 1, n + 1)
    place = way * place * place * (3 - 2 * place)
    for i in range(n):
        film.frames.append(film.rolling.blurred(film.t_s, np.linspace(place[i], place[i + 1], 12)))
        film.t_s += 1 / FPS
    x, y, scale = film.take.framing
    film.cut_to(film.take.other_moment(film.take.pose, (x - way * scale, y, scale)))
