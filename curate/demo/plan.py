"""What to render: files, shots, transitions and planted defects, decided before a pixel is drawn.

The plan is a pure function of (minutes, seed). Every random choice below the plan is keyed by (seed, video, shot).
"""

from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

LAWS = ("linear", "bounce", "rotate", "zoom", "pan")
PLANTED = ("static", "text", "blur", "blockiness", "flicker", "near_black", "duplicate")
DEFECTS = (*PLANTED, "letterbox")
GRADUAL_SHARE = 0.8  # of the boundaries where a gradual transition can be told from the shots around it
SHOT_S = (2.2, 3.2)
DISSOLVE_S = (0.4, 1.2)
FADE_S = (0.7, 1.2)


@dataclass(frozen=True)
class Format:
    """How a file is encoded. `rate` is frames per second; sizes are display pixels, multiples of 8.

    rotate_deg: clockwise turn a player has to apply. bars_px: black rows (letterbox) at top and bottom of all shots.
    keep_bytes: share of the finished file that is kept, from its start.
    """

    name: str
    muxer: str
    codec: str
    width: int
    height: int
    rate: Fraction
    audio: bool = False
    variable_rate: bool = False
    rotate_deg: int = 0
    bars_px: int = 0
    keep_bytes: float = 1.0

    @property
    def widescreen(self) -> bool:
        """Near 16:9, so that a shot can reappear in another such file merely rescaled."""
        return self.bars_px == 0 and abs(self.width / self.height - 16 / 9) < 0.05


FORMATS = (
    Format("harbour_h264.mp4", "mp4", "libx264", 640, 360, Fraction(24), audio=True),
    Format("meadow_hevc.mp4", "mp4", "libx265", 512, 288, Fraction(25)),
    Format("lagoon_vp9.webm", "webm", "libvpx-vp9", 480, 272, Fraction(30)),
    Format("dunes_av1.mkv", "matroska", "libsvtav1", 512, 288, Fraction(30)),
    Format("café terrace mpeg4.avi", "avi", "mpeg4", 320, 240, Fraction(25)),
    Format("arcade_60fps.ts", "mpegts", "libx264", 384, 216, Fraction(60)),
    Format("phone_vfr.mp4", "mp4", "libx264", 512, 288, Fraction(30), variable_rate=True),
    Format("phone_portrait.mp4", "mp4", "libx264", 288, 512, Fraction(30), rotate_deg=90),
    Format("film/letterboxed.mkv", "matroska", "libx264", 640, 360, Fraction(24000, 1001), bars_px=48),
    Format("broken_download.mp4", "mp4", "libx264", 480, 272, Fraction(25), keep_bytes=0.6),
)


@dataclass(frozen=True)
class ShotPlan:
    """key: (seed, video, shot), the source of the shot's randomness; a duplicate carries its original's.

    entry: transition into the shot (hard, dissolve, fade), None for a video's first. picture: (width, height) px that
    the scene is drawn at before it is scaled into the file. pillars_px: black columns on either side of this shot
    alone.
    """

    key: tuple[int, int, int]
    law: str
    clean_s: float
    hue_deg: float
    bright: bool
    picture: tuple[int, int]
    defects: tuple[str, ...] = ()
    entry: str | None = None
    entry_s: float = 0.0
    pillars_px: int = 0
    caption_line: bool = False
    original: tuple[int, int] | None = None


@dataclass(frozen=True)
class VideoPlan:
    """One file; `index` is its number in the plan, `file` its path below the demo folder."""

    index: int
    file: str
    format: Format
    shots: tuple[ShotPlan, ...] = field(default=())


Slot = tuple[int, int]


def _clean_shot(seed: int, video: int, shot: int, fmt: Format, law: str) -> ShotPlan:
    rng = np.random.default_rng((seed, video, shot, 1))
    # golden-angle steps keep neighbours apart on the colour circle; the alternating key keeps them apart in brightness
    hue = (137.508 * (shot + 3 * video) + 40 * rng.uniform(-1, 1)) % 360
    return ShotPlan(
        key=(seed, video, shot),
        law=law,
        clean_s=float(rng.uniform(*SHOT_S)),
        hue_deg=float(hue),
        bright=(shot + video) % 2 == 0,
        picture=(fmt.width, fmt.height - 2 * fmt.bars_px),
        defects=("letterbox",) if fmt.bars_px else (),
    )


def _formats(minutes: float) -> list[tuple[str, Format]]:
    """One round of all formats per five minutes; later rounds get a number in front of the name."""
    rounds = max(1, round(minutes / 5))
    return [(f.name if r == 0 else _numbered(f.name, r + 1), f) for r in range(rounds) for f in FORMATS]


def _numbered(name: str, n: int) -> str:
    head, _, tail = name.rpartition("/")
    return f"{head}/{n}_{tail}" if head else f"{n}_{tail}"


def _may_hold(defect: str, fmt: Format, shot: int, n_shots: int) -> bool:
    """Whether the defect, put there, can be seen and told apart from what the format itself does."""
    if fmt.keep_bytes < 1 and shot >= n_shots // 2:
        return False
    if defect == "duplicate":
        return fmt.widescreen and fmt.keep_bytes == 1
    return not (fmt.bars_px and defect in ("near_black", "blockiness"))


def _place_defects(
    shots: dict[Slot, ShotPlan], formats: list[Format], per_class: int, rng: np.random.Generator
) -> None:
    """Deal each class to `per_class` free slots. Film shots already count as letterboxed and take text and blur at
    most.
    """
    counts = {v: 1 + max(s for w, s in shots if w == v) for v, _ in shots}
    free = [slot for slot in rng.permutation(np.array(sorted(shots))).tolist() if not formats[slot[0]].bars_px]
    for _ in range(per_class):
        for defect in PLANTED:
            slot = next((tuple(s) for s in free if _fits(defect, tuple(s), shots, formats, counts)), None)
            if slot is not None:
                free.remove(list(slot))
                shots[slot] = replace(shots[slot], defects=(defect,))
    for slot in [tuple(s) for s in free if formats[s[0]].widescreen][: max(1, per_class // 3)]:
        pillars = (formats[slot[0]].width - formats[slot[0]].height * 4 // 3) // 16 * 8
        fmt = formats[slot[0]]
        shots[slot] = replace(
            shots[slot], defects=("letterbox",), pillars_px=pillars, picture=(fmt.width - 2 * pillars, fmt.height)
        )


def _fits(defect: str, slot: Slot, shots: dict[Slot, ShotPlan], formats: list[Format], counts: dict[int, int]) -> bool:
    video, shot = slot
    beside = [shots[n].defects for n in ((video, shot - 1), (video, shot + 1)) if n in shots]
    # two neighbours with the same defect could not be told apart at their cut (two black shots, two frozen ones)
    return _may_hold(defect, formats[video], shot, counts[video]) and all(defect not in d for d in beside)


def _pair_duplicates(shots: dict[Slot, ShotPlan], formats: list[Format]) -> None:
    """Give every duplicate an original: a clean shot of another widescreen file in another codec, each used once."""
    originals = [
        s for s in sorted(shots) if not shots[s].defects and formats[s[0]].widescreen and formats[s[0]].keep_bytes == 1
    ]
    for slot in [s for s in sorted(shots) if "duplicate" in shots[s].defects]:
        source = next((o for o in originals if formats[o[0]].codec != formats[slot[0]].codec), None)
        if source is None:
            shots[slot] = replace(shots[slot], defects=())
            continue
        originals.remove(source)
        shots[slot] = replace(shots[source], defects=("duplicate",), original=source)


def _add_second_defects(shots: dict[Slot, ShotPlan]) -> None:
    """The border case of a clip with two defects: one frozen picture under text, one film shot with text."""
    for wanted, second in (("text", "static"), ("letterbox", "text")):
        slots = [s for s in sorted(shots) if shots[s].defects == (wanted,) and not shots[s].pillars_px]
        if len(slots) > 2:
            shots[slots[1]] = replace(shots[slots[1]], defects=(wanted, second))


def _choose_transitions(shots: dict[Slot, ShotPlan], rng: np.random.Generator) -> None:
    """Hard cuts everywhere, then most of the unambiguous boundaries become gradual, one fade for two dissolves.

    Next to black, flicker or a change of borders a gradual transition has no clear extent, so those stay hard; so do
    the ends of a shot that appears twice, or the two would show different parts of it once the transition is cut off.
    """
    inner = [s for s in sorted(shots) if s[1] > 0]
    for slot in inner:
        shots[slot] = replace(shots[slot], entry="hard")
    firm = {s.original for s in shots.values()} | {s for s, shot in shots.items() if _needs_hard_ends(shot)}
    gentle = [s for s in inner if s not in firm and (s[0], s[1] - 1) not in firm]
    picked = rng.permutation(np.array(gentle)).tolist()[: round(GRADUAL_SHARE * len(gentle))] if gentle else []
    for i, slot in enumerate(map(tuple, picked)):
        kind, span = ("fade", FADE_S) if i % 3 == 2 else ("dissolve", DISSOLVE_S)
        shots[slot] = replace(shots[slot], entry=kind, entry_s=float(rng.uniform(*span)))


def _needs_hard_ends(shot: ShotPlan) -> bool:
    return bool({"near_black", "flicker", "duplicate"} & set(shot.defects)) or shot.pillars_px > 0


def _finish(shots: dict[Slot, ShotPlan], formats: list[Format], rng: np.random.Generator) -> None:
    """Frozen shots get the static law; a quarter of the clean ones carry a small caption line, below any sensible
    limit.
    """
    for slot in sorted(shots):
        if "static" in shots[slot].defects:
            shots[slot] = replace(shots[slot], law="static")
        elif not shots[slot].defects and rng.random() < 0.25 and slot not in {s.original for s in shots.values()}:
            shots[slot] = replace(shots[slot], caption_line=True)


def make_plan(minutes: float, seed: int) -> list[VideoPlan]:
    """Files of about `minutes` of video in all (at least two shots a file, so never below about one minute)."""
    named = _formats(minutes)
    formats = [f for _, f in named]
    mean_s = sum(SHOT_S) / 2 + 0.3
    n_shots = max(2, round(60 * minutes / len(named) / mean_s))
    rng = np.random.default_rng((seed, 0))
    laws = [LAWS[i % len(LAWS)] for i in rng.permutation(n_shots * len(named))]
    shots = {
        (v, s): _clean_shot(seed, v, s, f, laws[v * n_shots + s]) for v, f in enumerate(formats) for s in range(n_shots)
    }
    per_class = max(1, round(0.07 * len(shots)))
    _place_defects(shots, formats, per_class, rng)
    _pair_duplicates(shots, formats)
    _add_second_defects(shots)
    _choose_transitions(shots, rng)
    _finish(shots, formats, rng)
    return [VideoPlan(v, name, f, tuple(shots[v, s] for s in range(n_shots))) for v, (name, f) in enumerate(named)]
