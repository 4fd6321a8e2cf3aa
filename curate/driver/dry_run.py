"""`curate run --dry-run`: process a content-keyed sample of the videos into a temporary run and extrapolate."""

import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.device import check_device
from clipmill.curate.config import Config
from clipmill.curate.driver.listing import Listing, list_inputs
from clipmill.curate.driver.pipeline import Work, curate, write_shards
from clipmill.curate.driver.preflight import preflight
from clipmill.curate.driver.videos import prepare_out
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.tables.run_json import read_manifest

SAMPLE_VIDEOS = 12
_T_95 = 2.2  # of 11 degrees of freedom


def estimate(videos: Sequence[Path], config: Config, options: RunOptions) -> list[str]:
    """Lines that say how long the run would take, how much disk it would need and how much would be kept, with 95 %
    intervals.

    The sample is the videos with the smallest content hashes, so it is random over content and the same every time.
    Raises UserError as a run does.
    """
    check_device(options.device)
    config = preflight(config, tell=options.tell)
    folder = Path(tempfile.mkdtemp(prefix="curate-dry-run-"))
    try:
        work = Work(prepare_out(folder), config, options)
        listing = list_inputs(videos, work.run, options, config.inputs)
        sample = sorted(listing.units, key=lambda s: s.sha256 or "")[:SAMPLE_VIDEOS]
        return _report(work, listing, Listing(sample, {}, listing.inputs, listing.sidecars))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _report(work: Work, listing: Listing, sample: Listing) -> list[str]:
    run, options, began = work.run, work.options, time.monotonic()
    curated = curate(work, sample, None, dict)
    curated_s = time.monotonic() - began
    tables = _bytes_below(run.root)
    done = write_shards(work, curated.outcomes.policy)
    seconds, shards = time.monotonic() - began, _bytes_below(run.shards)
    share = sum(s.size_bytes or 0 for s in sample.units) / max(1, sum(s.size_bytes or 0 for s in listing.units))
    kept = read_manifest(run, ["keep"])["keep"]
    return [
        (
            f"{len(listing.units)} videos to process ({len(listing.sources) - len(listing.units)} unreadable or"
            f" copies); {len(sample.units)} of them tried, {100 * share:.0f} % of the bytes"
        ),
        (
            f"time: about {_clock(seconds / share)} with {options.n_workers} workers ({_clock(curated_s / share)}"
            " without export)"
        ),
        f"disk: about {_size(tables / share)} of tables and {_size(shards / share)} of shards"
        + (f" ({done.failed} of {done.clips + done.failed} clips could not be exported)" if done.failed else ""),
        f"clips: {_clips(sample, listing, curated.joined.clips)}, {keep_rate(kept)}",
    ]


def _clips(sample: Listing, listing: Listing, clips: pa.Table) -> str:
    """How many clips there will be. Where the sample is not all, with an interval, because videos differ."""
    counts = Counter(clips["video_id"].to_pylist())
    pairs = [(counts[source.video_id], source.size_bytes or 0) for source in sample.units]
    if len(sample.units) == len(listing.units):
        return f"{len(clips)}"
    low, middle, high = clips_interval(pairs, sum(s.size_bytes or 0 for s in listing.units))
    return f"about {middle} (95 % interval {low} to {high})"


def clips_interval(sample: Sequence[tuple[int, int]], all_bytes: int) -> tuple[int, int, int]:
    """Low end, estimate and high end of the clips in videos of `all_bytes`, from (clips, bytes) of some of them: clips
    per byte, and how much that changes when one video is left out (jackknife, Student's t).
    """
    clips, size = sum(c for c, _ in sample), sum(b for _, b in sample)
    estimate = clips * all_bytes / max(1, size)
    without = [(clips - c) * all_bytes / max(1, size - b) for c, b in sample]
    n = len(without)
    mean = sum(without) / max(1, n)
    error = math.sqrt((n - 1) / n * sum((value - mean) ** 2 for value in without)) if n > 1 else estimate
    reach = _T_95 * error
    return max(clips, math.floor(estimate - reach)), round(estimate), math.ceil(estimate + reach)


def keep_rate(kept: pa.ChunkedArray) -> str:
    """The share kept with its 95 % Wilson interval."""
    n, k = len(kept), pc.sum(pc.fill_null(kept, False)).as_py() or 0
    if n == 0:
        return "keep rate unknown (no clips in the sample)"
    z = 1.96
    centre, spread = (k + z * z / 2) / (n + z * z), z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return (
        f"{100 * k / n:.0f} % kept (95 % interval {100 * max(0.0, centre - spread):.0f} to"
        f" {100 * min(1.0, centre + spread):.0f} %)"
    )


def _bytes_below(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _clock(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds > 5400
        else f"{seconds / 60:.0f} min"
        if seconds > 90
        else f"{seconds:.0f} s"
    )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes > 1e9 else f"{n_bytes / 1e6:.0f} MB"
