"""`curate demo DIR --cuts`: a short video for every kind of boundary, and of what is none, with its truth.

Each kind on textured and on plain grounds, calm (a tripod, slow movement) and busy (a hand-held camera, a noisy sensor,
fast movement).
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.demo.changes import GRADUAL, HARD, KINDS, Event, film
from clipmill.curate.demo.plan import Format
from clipmill.curate.demo.takes import GROUNDS, SIZE
from clipmill.curate.demo.truth import FILE, TOLERANCE_FRAMES
from clipmill.curate.demo.writer import open_writer
from clipmill.curate.errors import UserError, one_line

SCHEMA = pa.schema(
    [
        pa.field(name, kind, metadata={"doc": doc})
        for name, kind, doc in (
            ("file", pa.string(), "path below the folder"),
            ("row", pa.string(), "transition: a boundary | disturbance: what must not pass for one"),
            ("kind", pa.string(), f"one of {', '.join(KINDS)}"),
            ("ground", pa.string(), f"{' | '.join(GROUNDS)}: what the picture shows behind what moves"),
            ("busy", pa.bool_(), "a hand-held camera, a noisy sensor, fast movement"),
            ("transition", pa.string(), "hard | gradual; null for a disturbance"),
            ("start_frame", pa.int32(), "first frame of the new shot; gradual: first mixed frame"),
            ("end_frame", pa.int32(), "exclusive; equals start_frame for a hard cut"),
            ("start_s", pa.float64(), "s from the video's first frame, of start_frame"),
            ("end_s", pa.float64(), "s, exclusive"),
            (
                "accept_start_s",
                pa.float64(),
                "a boundary found from here (2 frames before it, 0 where a frame stays for a second) ...",
            ),
            ("accept_end_s", pa.float64(), "... to here, inclusive (2 frames after it) is right"),
            ("decodable_frames", pa.int32(), "frames of this row that can be decoded: all"),
            ("rate", pa.float64(), "frames per second"),
        )
    ]
)


def render_cuts(
    folder: Path, seed: int = 0, progress: Callable[[str], None] | None = None, kinds: Sequence[str] = KINDS
) -> Path:
    """Write the videos (256 x 144, H.264), four of each kind, and `truth.parquet`, whose path is returned. The same
    seed gives the same frames. Raises UserError where the folder cannot be written.
    """
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, ground, busy in product(kinds, GROUNDS, (False, True)):
            rows += _video(folder, kind, ground, busy, seed)
            if progress is not None:
                progress(rows[-1]["file"])
        path = folder / FILE
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    except OSError as error:
        raise UserError(f"cannot write the demo videos to {folder}: {one_line(error)}") from error
    return path


def _video(folder: Path, kind: str, ground: str, busy: bool, seed: int) -> list[dict[str, Any]]:
    """Render and encode one file; its rows."""
    name = f"{kind}_{ground}_{'busy' if busy else 'calm'}.mp4"
    frames, events, fps = film(kind, ground == "plain", busy, seed)
    rate = Fraction(fps)
    with open_writer(folder / name, Format(name, "mp4", "libx264", *SIZE, rate), 1 / rate) as writer:
        for i, picture in enumerate(frames):
            writer.frame(picture, i)
    facts = {"file": name, "kind": kind, "ground": ground, "busy": busy, "rate": fps}
    return [_row(event, kind, fps) | facts for event in events]


def _row(event: Event, kind: str, fps: float) -> dict[str, Any]:
    last, around = max(event.start, event.end - 1), TOLERANCE_FRAMES if fps > 1 else 0
    return {
        "row": "transition" if kind in HARD + GRADUAL else "disturbance",
        "transition": "hard" if kind in HARD else "gradual" if kind in GRADUAL else None,
        "start_frame": event.start,
        "end_frame": event.end,
        "start_s": event.start / fps,
        "end_s": event.end / fps,
        "accept_start_s": (event.start - around) / fps,
        "accept_end_s": (last + around) / fps,
        "decodable_frames": max(1, event.end - event.start),
    }
