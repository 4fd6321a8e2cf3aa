"""How the videos of two sets are stored differently, where a distance would measure that and not what they show."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from clipmill.evaluate.extraction.measure import Measured

# Rates within one set are called mixed above this ratio of the highest to the lowest.
MIXED = 1.1
_RATIO, _LENGTH_RATIO, _MEAN_RATIO = 1.02, 1.25, 1.15
_REPEATED_SHARE = 0.1


def between(real: Measured, fake: Measured) -> list[str]:
    """One line for each thing that differs: shared clips, frame rate, size, aspect, length, repeated frames."""
    found = _shared(real, fake)
    if not real.facts or not fake.facts:  # statistics of an earlier version
        return found
    return [*found, *_rates(real, fake), *_sizes(real, fake), *_lengths(real, fake), *_repeats(real, fake)]


def common(values: Sequence[float], form: str, counts: bool = False) -> str:
    """The three most frequent values in words, as `form` shows them."""
    most = Counter(form.format(value) for value in values).most_common(4)
    shown = [f"{text} ({count})" if counts else text for text, count in most[:3]]
    return ", ".join(shown) + (", ..." if len(most) > 3 else "")


def _shared(real: Measured, fake: Measured) -> list[str]:
    known = set(real.keys)
    if shared := sum(key in known for key in fake.keys):
        return [f"{shared} clips are in both sets"]
    if real.values.ndim != 2 or real.values.shape[1:] != fake.values.shape[1:] or real.values.shape[1] < 4:
        return []
    rows = {row.tobytes() for row in real.values}
    same = sum(row.tobytes() in rows for row in fake.values)
    return [f"{same} clips are in both sets: their features are the same"] if same else []


def _rates(real: Measured, fake: Measured) -> list[str]:
    rates = [[f.fps for f in m.facts if np.isfinite(f.fps)] for m in (real, fake)]
    if all(rates):
        shown = [common(r, "{:.4g} fps") for r in rates]
        differ = _apart(rates[0], rates[1], _RATIO)
        return [f"frame rates differ: real clips are at {shown[0]}, fake clips at {shown[1]}"] if differ else []
    if not any(rates):
        return []
    known, unknown = ("real", "fake") if rates[0] else ("fake", "real")
    shown_rate = common(rates[0] or rates[1], "{:.4g} fps")
    return [
        f"{known} clips are at {shown_rate}; the frame rate of {unknown} clips is not known: if it is another, declare"
        f" it (--{unknown}-set stored_fps=...) and choose one for both (--set fps=...)"
    ]


def _sizes(real: Measured, fake: Measured) -> list[str]:
    sizes = [[(f.width_px, f.height_px) for f in m.facts] for m in (real, fake)]
    found = []
    sides = [[float(min(size)) for size in one] for one in sizes]
    if _apart(sides[0], sides[1], _RATIO):
        shown = [_most_sizes(one) for one in sizes]
        found.append(f"sizes differ: real clips have {shown[0]}, fake clips {shown[1]}")
    aspects = [[w / h for w, h in one] for one in sizes]
    if _apart(aspects[0], aspects[1], _RATIO):
        words = [common(one, "{:.3g}") for one in aspects]
        found.append(f"aspects differ (width by height): real clips {words[0]}, fake clips {words[1]}")
    return found


def _most_sizes(sizes: Sequence[tuple[int, int]]) -> str:
    most = Counter(sizes).most_common(4)
    return ", ".join(f"{w}x{h} px" for (w, h), _ in most[:3]) + (", ..." if len(most) > 3 else "")


def _lengths(real: Measured, fake: Measured) -> list[str]:
    lengths, unit = [[f.length_s for f in m.facts] for m in (real, fake)], "s"
    if not np.isfinite(lengths[0] + lengths[1]).all():
        lengths, unit = [[float(f.n_frames) for f in m.facts] for m in (real, fake)], "frames"
    if not _apart(lengths[0], lengths[1], _LENGTH_RATIO):
        return []
    middle = [float(np.median(one)) for one in lengths]
    return [f"lengths differ: real videos have {middle[0]:.3g} {unit}, fake videos {middle[1]:.3g} {unit} (medians)"]


def _repeats(real: Measured, fake: Measured) -> list[str]:
    shares = [float(np.mean([f.repeated / max(1, f.frames - 1) for f in m.facts])) for m in (real, fake)]
    if abs(shares[0] - shares[1]) < _REPEATED_SHARE:
        return []
    return [
        f"frames repeated: {shares[0]:.0%} of the real frames are equal to the one before, {shares[1]:.0%} of the fake"
    ]


def _apart(real: Sequence[float], fake: Sequence[float], ratio: float) -> bool:
    """Whether two sets of positive numbers have medians further apart than `ratio`, or means so far apart that one of
    them holds much of another kind.
    """
    for kind, least in ((np.median, ratio), (np.mean, max(ratio, _MEAN_RATIO))):
        a, b = float(kind(real)), float(kind(fake))
        if max(a, b) > least * min(a, b):
            return True
    return False
