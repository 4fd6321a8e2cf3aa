"""Near-duplicate groups: the same footage re-encoded, rescaled, slightly cropped, shifted or with a logo, once or many
times.

Clips gather around those that one would keep. Candidates have a role frame within a Hamming radius of the perceptual
hashes (exact search, in blocks). Each is then verified on the 32 x 32 thumbs: an affine alignment (enhanced correlation
coefficient, Evangelidis and Psarakis, PAMI 2008) absorbs crops, and the pixels that disagree in every role, an
overlay's, are left out up to a share. A copy whose ends were cut on other frames is found without alignment, by its
frames around the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.duplicates.groups import gather, keep_order
from clipmill.curate.settings.dedup import DedupConfig

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 2048
_SIDE_PX = 32
_MIN_VALID = 0.6
_FLAT_STD = 8.0


def near_duplicates(clips: "pd.DataFrame", config: DedupConfig | None = None) -> "pd.DataFrame":
    """Groups of near-duplicate clips.

    clips: clip_id, video_id, duration_s, phash_<role> (hex strings), thumb_<role> (bytes), and to choose which to keep
    width, height (px) and sharpness; absent columns count as unknown. Returns one row per clip, in the order given:
    clip_id; dup_group_id, the smallest clip_id of its group, null where the clip is unique; dup_rank, 0 for the one to
    keep (most pixels, then longest, then sharpest, then smallest clip_id; also 0 for unique clips), then 1, 2, ...;
    dup_of, the clip_id of rank 0, null for rank 0 and unique clips. Every member of a group matches the clip that is
    kept, so chains of small differences do not grow groups.
    """
    import pandas as pd

    config = config or DedupConfig()
    prints = _fingerprints(clips)
    ids = clips["clip_id"].tolist()
    groups = gather(
        keep_order(clips), partial(candidates, prints, config), lambda i, j: same_footage(prints, i, j, config)
    )
    rows: list[dict[str, Any]] = [{"clip_id": c, "dup_group_id": None, "dup_rank": 0, "dup_of": None} for c in ids]
    for members in groups:
        name = min(ids[i] for i in members)
        for rank, i in enumerate(members):
            rows[i].update(dup_group_id=name, dup_rank=rank, dup_of=ids[members[0]] if rank else None)
    return pd.DataFrame(rows, columns=["clip_id", "dup_group_id", "dup_rank", "dup_of"])


@dataclass(frozen=True)
class Fingerprints:
    """Columns of N clips as arrays.

    bits: float32 [3, N, 64] of -1 and 1 per role, 0 where there is no hash. thumbs: [3][N] uint8 [k, 32, 32] or None:
    the role's own frame first, then its neighbours in time.
    video: N video ids. duration_s: float64 [N], NaN where unknown.
    """

    bits: np.ndarray
    thumbs: list[list[np.ndarray | None]]
    video: list[str]
    duration_s: np.ndarray

    def hamming(self, i: int, j: int) -> np.ndarray:
        """float [R] of the roles that both clips have."""
        both = [r for r in range(len(ROLES)) if self.bits[r, i, 0] != 0 and self.bits[r, j, 0] != 0]
        return np.array([(64 - float(self.bits[r, i] @ self.bits[r, j])) / 2 for r in both])

    def same_roles(self, i: int, j: int) -> bool:
        """False where a role is flat in one clip and clearly a picture in the other."""
        one = (
            a if b is None else b for a, b in ((role[i], role[j]) for role in self.thumbs) if (a is None) != (b is None)
        )
        return all(thumb is not None and float(thumb[0].std()) < _FLAT_STD for thumb in one)

    def pictures(self, i: int, j: int, shifted: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
        """Thumb pairs, float32, of the roles that both clips have, softened so that interpolation in an alignment costs
        nothing.

        With `shifted` each role's frame is paired with the frame of the other clip, near that role in time, that it is
        most like.
        """
        both = ((role[i], role[j]) for role in self.thumbs)
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


def _fingerprints(clips: "pd.DataFrame") -> Fingerprints:
    n = len(clips)
    bits = np.zeros((len(ROLES), n, 64), np.float32)
    thumbs: list[list[np.ndarray | None]] = [[None] * n for _ in ROLES]
    for r, role in enumerate(ROLES):
        for i, value in enumerate(clips.get(f"phash_{role}", ())):
            if isinstance(value, str):
                bits[r, i] = np.unpackbits(np.frombuffer(bytes.fromhex(value), np.uint8)).astype(np.float32) * 2 - 1
        for i, value in enumerate(clips.get(f"thumb_{role}", ())):
            if isinstance(value, bytes) and value:
                thumbs[r][i] = np.frombuffer(value, np.uint8).reshape(-1, _SIDE_PX, _SIDE_PX)
    duration = clips["duration_s"].to_numpy(np.float64) if "duration_s" in clips else np.full(n, np.nan)
    return Fingerprints(bits, thumbs, clips["video_id"].tolist(), duration)


def candidates(prints: Fingerprints, config: DedupConfig, clips: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of `others` (int64 [M]) may be the footage of each of `clips` (int64 [L]): bool [L, M], True where one role
    is within `radius_bits`, False where the length tells that they are not.

    Hamming = (64 - a . b) / 2, so a block of all pairs is one matrix product, and the search is exact.
    """
    near, least = np.zeros((len(clips), len(others)), bool), 64 - 2 * config.radius_bits
    possible = np.flatnonzero(_in_reach(prints.duration_s[clips], prints.duration_s[others], config.duration_ratio))
    for start in range(0, len(possible), _BLOCK):
        some = possible[start : start + _BLOCK]
        for role in prints.bits:
            near[:, some] |= role[clips] @ role[others[some]].T >= least
    return near


def _in_reach(some_s: np.ndarray, others_s: np.ndarray, ratio: float) -> np.ndarray:
    """bool [M]: which others are not much too long or too short for all of some. NaN: unknown, in anybody's reach."""
    if not len(some_s) or np.isnan(some_s).any():
        return np.ones(len(others_s), bool)
    slack = 1 + 1e-9  # whether a pair is out of reach, `same_footage` says exactly
    within = (others_s * slack >= ratio * some_s.min()) & (ratio * others_s <= some_s.max() * slack)
    return np.asarray(within | np.isnan(others_s))


def same_footage(prints: Fingerprints, i: int, j: int, config: DedupConfig) -> bool:
    """Whether clips i and j show the same footage."""
    short, long = sorted((prints.duration_s[i], prints.duration_s[j]))
    same_video = prints.video[i] == prints.video[j]
    if short < config.duration_ratio * long or not prints.same_roles(i, j):
        return False
    pairs = prints.pictures(i, j)
    if not pairs:
        return False
    plain = min(correlation(a, b) for a, b in pairs)
    if same_video:
        return bool(prints.hamming(i, j).max() <= config.same_video_bits) and plain >= config.same_video_similarity
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

    The crop of a copy is the same in all its frames: one alignment serves all roles. `enough` ends the search early.
    """
    best = _masked(pairs, np.eye(2, 3, dtype=np.float32), overlay)
    for a, b in pairs:
        if best >= enough:
            break
        warp = _align(a, b)
        if warp is not None:
            best = max(best, _masked(pairs, warp, overlay))
    return best


def _align(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Affine map, float32 [2, 3], from px of `a` to px of `b`; None where none is found or it is no slight crop."""
    import cv2

    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4)
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
