"""What every metric on features asks of its two sets, and what the reader of its number must know about them."""

import numpy as np

from clipmill.curate.errors import UserError

TRUSTED_ROWS = 2048


def check_features(real: np.ndarray, fake: np.ndarray, min_rows: int) -> None:
    """Raises UserError where two sets are not finite float [N, D] and [M, D] with N, M >= min_rows."""
    for role, rows in _named(real, fake):
        if rows.ndim != 2:
            raise UserError(f"{role} features have the shape {list(rows.shape)}, not [clips, dimensions]")
        if len(rows) < min_rows:
            raise UserError(f"{len(rows)} {role} clips, at least {min_rows} are needed")
        if not np.isfinite(rows).all():
            raise UserError(f"{role} features {not_finite(rows)}")
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"real features have {real.shape[1]} dimensions, fake ones {fake.shape[1]}: two networks made them"
        )


def not_finite(rows: np.ndarray) -> str:
    """What is wrong with float [N, D], in words: how many rows are not numbers (NaN), how many are infinite."""
    nan, infinite = (int(which.any(axis=-1).sum()) for which in (np.isnan(rows), np.isinf(rows)))
    return f"hold numbers that are not finite: NaN in {nan}, infinite ones in {infinite} of {len(rows)} rows"


def copy_warnings(real: np.ndarray, fake: np.ndarray) -> tuple[str, ...]:
    """One line for each set that holds equal rows."""
    found = [
        (role, len(rows), len(rows) - len({row.tobytes() for row in np.ascontiguousarray(rows)}))
        for role, rows in _named(real, fake)
    ]
    return tuple(
        f"{copies} of {count} {role} feature rows are copies of others" for role, count, copies in found if copies
    )


def frechet_warnings(real: np.ndarray, fake: np.ndarray) -> tuple[str, ...]:
    """Copies, fewer rows than dimensions, fewer rows than published numbers rest on; one line each."""
    found = list(copy_warnings(real, fake))
    for role, rows in _named(real, fake):
        if len(rows) < rows.shape[1]:
            found.append(f"{len(rows)} {role} clips for {rows.shape[1]} dimensions: the covariance has not full rank")
        if len(rows) < TRUSTED_ROWS:
            found.append(f"{len(rows)} {role} clips: with fewer than {TRUSTED_ROWS} a Fréchet distance is mostly bias")
    return tuple(found)


def few_clips(real: np.ndarray, fake: np.ndarray) -> str:
    """What few rows of float [N, D] and [M, D] do to a Fréchet distance, in one line; empty where there are enough."""
    found, fewest = [], min(len(real), len(fake))
    if fewest < TRUSTED_ROWS:
        found.append(f"with fewer than {TRUSTED_ROWS} a Fréchet distance is mostly bias")
    if fewest < real.shape[1]:
        found.append(
            f"with fewer than its {real.shape[1]} dimensions the covariance has not full rank"
            " and the error bar itself may be off by half"
        )
    return ", and ".join(found)


def few_groups(groups: tuple[np.ndarray, np.ndarray] | None, error: float | None) -> tuple[str, ...]:
    """Why there is no error bar, where that is because clips are not independent; empty otherwise."""
    if groups is None or error is not None:
        return ()
    counts = " real and ".join(str(len(np.unique(codes))) for codes in groups)
    return (f"no error bar: the clips are of {counts} fake independent groups (source videos, copies)",)


def _named(real: np.ndarray, fake: np.ndarray) -> tuple[tuple[str, np.ndarray], ...]:
    return ("real", real), ("fake", fake)
