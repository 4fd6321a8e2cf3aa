"""Which videos of a run are decoded anew because an earlier version may have told them wrongly."""

from collections.abc import Mapping
from typing import Any

from clipmill.curate.common.files import is_whole, read_table
from clipmill.curate.contract import schema
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.video.open_av import is_allowed

_FEW_FPS = 1.05


def doubtful(run: RunDir) -> set[str]:
    """Ids of videos whose row was made before there were columns for mirrored pictures, corrupt frames and jumps of the
    time stamps, and may be wrong. What decoded without complaint, upright, at an even rate, stays as it is.
    """
    if not is_whole(run.videos):
        return set()
    rows = read_table(run.videos, schema.VIDEOS).select(_READ).to_pylist()
    return {row["video_id"] for row in rows if row["video_id"] and row["mirrored"] is None and _may_be_wrong(row)}


_READ = [
    "video_id", "status", "error_stage", "mirrored", "container", "n_frames_decoded", "rotation_deg", "n_decode_errors",
    "is_vfr", "avg_fps_num", "avg_fps_den",
]  # fmt: skip


def _may_be_wrong(row: Mapping[str, Any]) -> bool:
    if row["status"] == "error":
        return row["error_stage"] in ("read", "probe")  # the reason
    if row["status"] == "duplicate" or row["container"] is None:
        return False
    if not is_allowed(row["container"]) or row["status"] == "partial":
        return True
    if row["container"] in ("gif", "apng"):  # how long the last picture is shown
        return True
    slow = row["avg_fps_num"] <= _FEW_FPS * row["avg_fps_den"]
    return bool(slow or row["is_vfr"] or row["rotation_deg"] or row["n_decode_errors"] or row["n_frames_decoded"] == 1)
