"""What a reader of a number should know of its sets, one line for each thing."""

from collections import Counter
from collections.abc import Sequence

from clipmill.evaluate import set_differences
from clipmill.evaluate.distances.checks import copy_warnings, few_clips, frechet_warnings
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.frames.protocol import Protocol


def of_row(said: Sequence[str], real: Measured | None, fake: Measured, protocol: Protocol) -> list[str]:
    """The warnings of a row. said: the metric's own. Lines that say the same of both sets, or the same again, are one
    line.
    """
    found = _without_few(said, real, fake)
    few = _few(real, fake, protocol, len(found) < len(said))
    found = [line for line in found if not _copies_again(line, real, fake)]
    for role, measured in (("real", real), ("fake", fake)):
        found += [] if measured is None else _of_set(role, measured)
    return [*few, *found, *(set_differences.between(real, fake) if real is not None else [])]


def distinct(lines: Sequence[str]) -> list[str]:
    """Each line once, and none of which another says the same and more."""
    once = list(dict.fromkeys(lines))
    return [line for line in once if not any(other != line and other.startswith(line) for other in once)]


def first_reasons(measured: Measured) -> str:
    """Why the first few clips were skipped."""
    return "; ".join(f"{s.video_id}: {s.reason}" for s in measured.skipped[:3]) + (
        "; ..." if len(measured.skipped) > 3 else ""
    )


def _of_set(role: str, measured: Measured) -> list[str]:
    found, n = [], len(measured.clip_ids)
    copies = n - len(set(measured.keys))
    if copies:
        found.append(f"{copies} of {n} {role} clips are copies of others")
    if len(measured.sizes_px) > 1:
        common = Counter(measured.sizes_px).most_common(3)
        found.append(f"{role} clips differ in size: " + ", ".join(f"{w}x{h} px ({count})" for (h, w), count in common))
    rates = [f.fps for f in measured.facts if f.fps == f.fps]
    if rates and max(rates) > set_differences.MIXED * min(rates):
        found.append(f"{role} clips differ in frame rate: {set_differences.common(rates, '{:.4g} fps', counts=True)}")
    if alpha := sum(f.alpha for f in measured.facts):
        found.append(f"{alpha} of {n} {role} clips have an alpha channel, which is left out, not blended")
    if measured.skipped:
        found.append(f"{len(measured.skipped)} {role} clips were skipped; {first_reasons(measured)}")
    return found


def _without_few(said: Sequence[str], real: Measured | None, fake: Measured) -> list[str]:
    """Without a Fréchet distance's lines about few clips, one for each set, which become one line."""
    if real is None:
        return list(said)
    rows = [m.values.reshape(-1, m.values.shape[-1]) for m in (real, fake)]
    known = set(frechet_warnings(*rows)) - set(copy_warnings(*rows))
    return [line for line in said if line not in known]


def _few(real: Measured | None, fake: Measured, protocol: Protocol, frechet: bool) -> list[str]:
    """How few clips there are, in one line. frechet: whether the metric said so."""
    sets = [("real", real, protocol.n_real), ("fake", fake, protocol.n_fake)]
    counts = [(role, len(m.clip_ids), asked) for role, m, asked in sets if m is not None]
    line = " and ".join(f"{n} {role}" for role, n, _ in counts) + " clips"
    short = [asked for _, n, asked in counts if asked and n < asked]
    line += f", the protocol asks for {' and '.join(map(str, dict.fromkeys(short)))}" if short else ""
    if frechet and real is not None:
        rows = [m.values.reshape(-1, m.values.shape[-1]) for m in (real, fake)]
        return [f"{line}: {few_clips(*rows)}"]
    return [line] if short else []


def _copies_again(line: str, real: Measured | None, fake: Measured) -> bool:
    """Whether a line about equal features says what the line about equal clips does."""
    for role, measured in (("real", real), ("fake", fake)):
        if measured is not None and len(measured.keys) == len(measured.values):
            copies = len(measured.keys) - len(set(measured.keys))
            if copies and line == f"{copies} of {len(measured.keys)} {role} feature rows are copies of others":
                return True
    return False
