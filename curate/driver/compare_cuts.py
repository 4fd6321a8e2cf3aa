"""Cuts under other thresholds, from the stored curves alone: no decode, nothing written."""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clipmill.curate import scenes
from clipmill.curate.common.files import read_table
from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.errors import UserError
from clipmill.curate.scenes.spans import spans
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import open_manifest

if TYPE_CHECKING:
    from rich.table import Table


def compare_cuts(run: RunDir, now: Config, then: Config) -> pd.DataFrame:
    """One row per video: relpath, cuts of the run, cuts and clips under `then` (cuts_then, clips_then).

    A proposal that the network never saw cannot be judged without the video: there `fused` counts only what the curves
    alone make obvious. Raises UserError where the run has no curves.
    """
    open_manifest(run)
    base = now.fingerprints.base
    rows = []
    for video in read_table(run.videos, schema.VIDEOS).to_pylist():
        if video["status"] not in ("ok", "partial"):
            continue
        table = run.rows("curves", video["video_id"], base)
        if table is None:
            continue
        curves = {name: table[name].to_numpy().astype(np.float32) for name in table.column_names if name != "pts"}
        pts = table["pts"].to_numpy()
        t_s = (pts - pts[0]) * float(Fraction(video["time_base_num"], video["time_base_den"]))
        found, _ = scenes.detect(curves, t_s, then.scenes, None, None)
        clips = spans(found, t_s, then.scenes)
        rows.append(
            {
                "relpath": video["relpath"],
                "cuts": len(video["cuts"] or ()),
                "cuts_then": len(found),
                "clips_then": len(clips),
            },
        )
    if not rows:
        raise UserError(f"{run.root} holds no curves to detect cuts in")
    return pd.DataFrame(rows)


def render(table: pd.DataFrame) -> "Table":
    """The videos whose cuts change, and the sums."""
    from rich.table import Table

    changed = table[table["cuts"] != table["cuts_then"]]
    view = Table(title=f"{len(changed)} of {len(table)} videos change", title_justify="left")
    for name in ("video", "cuts now", "cuts then", "clips then"):
        view.add_column(name, justify="left" if name == "video" else "right")
    for row in changed.itertuples():
        view.add_row(str(row.relpath), str(row.cuts), str(row.cuts_then), str(row.clips_then))
    view.add_row(
        "all", str(table["cuts"].sum()), str(table["cuts_then"].sum()), str(table["clips_then"].sum()), style="bold"
    )
    return view
