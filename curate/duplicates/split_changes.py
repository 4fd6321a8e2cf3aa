"""What a person should know of the splits once clips are decided: which hold nothing, and what changed sides."""

from collections.abc import Mapping

import pandas as pd

from clipmill.curate.settings.export import SPLITS


def without_kept(clips: pd.DataFrame, fractions: Mapping[str, float]) -> list[str]:
    """One line for each split that was asked for and has clips, none of which is kept. clips: columns split, keep
    (bool). Empty where no clip at all is kept: then the splits are not what is wrong.
    """
    kept = clips[clips["keep"].astype(bool)]
    if kept.empty:
        return []
    wanted = [name for name in SPLITS if fractions.get(name, 0) > 0]
    lines = []
    for split in wanted:
        there = clips[clips["split"] == split]
        if len(there) and split not in set(kept["split"]):
            lines.append(
                f"split {split!r} has no kept clip: the policy keeps none of its {len(there)}; add videos, or give it a"
                " larger share (export.split)"
            )
    return lines


def changed_sides(before: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    """One line for each change of a split since the run's last tables. Columns of both: video_id, relpath, split. What
    was held out and is trained on now makes later scores too good.
    """
    was, names = before.drop_duplicates("video_id").set_index("video_id")["split"], ["video_id", "relpath", "split"]
    moved = now[names].drop_duplicates("video_id").assign(was=lambda rows: rows["video_id"].map(was))
    moved = moved[moved["was"].notna() & moved["split"].notna() & (moved["was"] != moved["split"])]
    lines = []
    for (old, new), rows in moved.groupby(["was", "split"], sort=True):
        count = f"{len(rows)} videos were" if len(rows) > 1 else "1 video was"
        lines.append(
            f"{count} in split {old!r} and {'are' if len(rows) > 1 else 'is'} in {new!r} now, for example"
            f" {rows['relpath'].min()}: compare no model that was trained on the earlier split"
        )
    return lines
