"""Near-duplicate groups: the same footage re-encoded, rescaled, slightly cropped, shifted or with a logo, once or many
times.

Clips gather around those that one would keep. Candidates have a role frame within a Hamming radius of the perceptual
hashes (exact search, see `hash_search`). Each is then verified on the 32 x 32 thumbs: an affine alignment (enhanced
correlation coefficient, Evangelidis and Psarakis, PAMI 2008) absorbs crops, and the pixels that disagree in every role,
an overlay's, are left out up to a share. A copy whose ends were cut on other frames is found without alignment, by its
frames around the same time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.duplicates.groups import gather, keep_order
from clipmill.curate.duplicates.hash_search import Hashes, hashes_of
from clipmill.curate.settings.dedup import DedupConfig

if TYPE_CHECKING:
    import pandas as pd

_SIDE_PX = 32
_MIN_VALID = 0.6
_FLAT_STD = 8.0
# Rounds of an alignment, and what a few of them reach at least for a copy: 86 planted copies of 14 real shots, cropped
# by up to 8 % on each side or with a logo, reached 0.993. Alike pictures that are no copies mostly stay below.
_MANY, _FEW = 60, 8
_HOPELESS = 0.95


# Position of a clip -> of each role uint8 [k, 32, 32], the role's own frame first, or None.
Thumbs = Callable[[int], Sequence[np.ndarray | None]]


def near_duplicates(
    clips: "pd.DataFrame", config: DedupConfig | None = None, thumbs: Thumbs | None = None
) -> "pd.DataFrame":
    """Groups of near-duplicate clips.

    clips: clip_id, video_id, duration_s, phash_<role> (hex strings), thumb_<role> (bytes), and to choose which to keep
    width, height (px) and sharpness; absent columns count as unknown. thumbs: see `Thumbs`, in place of the columns
    thumb_<role>, for those that are compared. Returns one row per clip, in the order given:
    clip_id; dup_group_id, the smallest clip_id of its group, null where the clip is unique; dup_rank, 0 for the one to
    keep (most pixels, then longest, then sharpest, then smallest clip_id; also 0 for unique clips), then 1, 2, ...;
    dup_of, the clip_id of rank 0, null for rank 0 and unique clips. Every member of a group matches the clip that is
    kept, so chains of small differences do not grow groups.
    """
    import pandas as pd

    config = config or DedupConfig()
    prints = _fingerprints(clips, thumbs or _thumbs_of(clips))
    ids = clips["clip_id"].tolist()
    near = partial(prints.hashes.near, config.radius_bits, config.duration_ratio)
    groups = gather(keep_order(clips), near, lambda i, j: same_footage(prints, i, j, config))
    rows: list[dict[str, Any]] = [{"clip_id": c, "dup_group_id": None, "dup_rank": 0, "dup_of": None} for c in ids]
    for members in groups:
        name = min(ids[i] for i in members)
        for rank, i in enumerate(members):
            rows[i].update(dup_group_id=name, dup_rank=rank, dup_of=ids[members[0]] if rank else None)
    return pd.DataFrame(rows, columns=["clip_id", "dup_group_id", "dup_rank", "dup_of"])


@dataclass(frozen=True)
class Fingerprints:
    """What is known of N clips. hashes: of each role. thumbs: see `Thumbs`. video: N video ids."""

    hashes: Hashes
    thumbs: Thumbs
    video: Sequence[str]

    def same_roles(self, i: int, j: int) -> bool:
        """False where a role is flat in one clip and clearly a picture in the other."""
        pairs = zip(self.thumbs(i), self.thumbs(j), strict=True)
        one = (a if b is None else b for a, b in pairs if (a is None) != (b is None))
        return all(thumb is not None and float(thumb[0].std()) < _FLAT_STD for thumb in one)

    def pictures(self, i: int, j: int, shifted: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
        """Thumb pairs, float32, of the roles that both clips have, softened so that interpolation in an alignment costs
        nothing.

        With `shifted` each role's frame is paired with the frame of the other clip, near that role in time, that it is
        most like.
        """
        both = zip(self.thumbs(i), self.thumbs(j), strict=True)
        return [
            _nearest_in_time(a, b) if shifted else (_soft(a[0]), _soft(b[0]))
            for a, b in both
            if a is not None and b is not None
        ]


def _nearest_in_time(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = [*((a[0], thumb) for thumb in b), *((thumb, b[0]) for thumb in a[1:])]
    return max(((_soft(one), _soft(other)) for one, other in pairs), key=lambda pair: correlation(*pair))


def _soft(thumb: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(cv2.GaussianBlur(thumb.astype(np.float32), (0, 0), 0.7))


def _fingerprints(clips: "pd.DataFrame", thumbs: Thumbs) -> Fingerprints:
    duration = clips["duration_s"].to_numpy(np.float64) if "duration_s" in clips else np.full(len(clips), np.nan)
    columns = [list(clips.get(f"phash_{role}", ())) for role in ROLES]
    return Fingerprints(hashes_of(columns, duration), thumbs, clips["video_id"].tolist())


def _thumbs_of(clips: "pd.DataFrame") -> Thumbs:
    columns = [list(clips.get(f"thumb_{role}", ())) for role in ROLES]
    return lambda i: [thumb_of(column[i]) if column else None for column in columns]


def thumb_of(value: object) -> np.ndarray | None:
    """A stored value as uint8 [k, 32, 32]; None where there is none."""
    if not isinstance(value, bytes) or not value:
        return None
    return np.frombuffer(value, np.uint8).reshape(-1, _SIDE_PX, _SIDE_PX)


def same_footage(prints: Fingerprints, i: int, j: int, config: DedupConfig) -> bool:
    """Whether clips i and j show the same footage."""
    short, long = sorted((prints.hashes.duration_s[i], prints.hashes.duration_s[j]))
    same_video = prints.video[i] == prints.video[j]
    if short < config.duration_ratio * long or not prints.same_roles(i, j):
        return False
    pairs = prints.pictures(i, j)
    if not pairs:
        return False
    plain = min(correlation(a, b) for a, b in pairs)
    if same_video:
        return (
            bool(prints.hashes.distances(i, j).max() <= config.same_video_bits)
            and plain >= config.same_video_similarity
        )
    if (
        plain >= config.same_video_similarity
        or aligned_similarity(pairs, config.overlay, config.similarity) >= config.similarity
    ):
        return True
    return min(correlation(a, b) for a, b in prints.pictures(i, j, shifted=True)) >= config.similarity


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two pictures, -1 to 1; 0 where one is flat."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def aligned_similarity(pairs: Sequence[tuple[np.ndarray, np.ndarray]], overlay: float, enough: float) -> float:
    """Correlation of the worst role after the best common alignment, without overlays. pairs: float32 [32, 32] each.

    The crop of a copy is the same in all its frames: one alignment serves all roles. `enough` ends the search early;
    so does a short search that comes nowhere near.
    """
    best = _masked(pairs, np.eye(2, 3, dtype=np.float32), overlay)
    if best < _HOPELESS and max(_after(pairs, a, b, overlay, _FEW) for a, b in pairs) < _HOPELESS:
        return best
    for a, b in pairs:
        if best >= enough:
            break
        best = max(best, _after(pairs, a, b, overlay, _MANY))
    return best


def _after(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], a: np.ndarray, b: np.ndarray, overlay: float, rounds: int
) -> float:
    """`_masked` by the alignment of a and b; -1 where there is none."""
    warp = _align(a, b, rounds)
    return -1.0 if warp is None else _masked(pairs, warp, overlay)


def _align(a: np.ndarray, b: np.ndarray, rounds: int) -> np.ndarray | None:
    """Affine map, float32 [2, 3], from px of `a` to px of `b`; None where none is found or it is no slight crop."""
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, rounds, 1e-4)
    try:
        everywhere = np.full(a.shape, 255, np.uint8)
        _, found = cv2.findTransformECC(
            a, b, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, criteria, everywhere, 3
        )
    except cv2.error:  # it does not converge on unlike pictures
        return None
    warp = np.asarray(found, np.float32)
    linear = warp[:, :2]
    centre = linear @ np.full(2, _SIDE_PX / 2) + warp[:, 2] - _SIDE_PX / 2
    slight = np.abs(linear - np.eye(2)).max() <= 0.2 and np.abs(centre).max() <= 0.15 * _SIDE_PX
    return warp if slight else None


def _masked(pairs: Sequence[tuple[np.ndarray, np.ndarray]], warp: np.ndarray, overlay: float) -> float:
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (_SIDE_PX, _SIDE_PX)
    valid = cv2.warpAffine(np.ones(size, np.float32), warp, size, flags=flags) > 0.99
    if valid.mean() < _MIN_VALID:
        return -1.0
    cut = [(a[valid], cv2.warpAffine(b, warp, size, flags=flags)[valid]) for a, b in pairs]
    apart = np.min([np.abs(_standard(a) - _standard(b)) for a, b in cut], axis=0)
    keep = apart <= np.quantile(apart, 1 - overlay)
    return min(correlation(a[keep], b[keep]) for a, b in cut)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / max(float(values.std()), 1.0)
