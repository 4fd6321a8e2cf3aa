"""What an earlier version made of a run: videos that it may have told wrongly are decoded anew; its cuts stay."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clipmill.curate.common.files import is_whole, read_table
from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.errors import UserError
from clipmill.curate.settings.scenes import FIRST_HESITATION, ScenesConfig
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of
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


def kept_cuts(run: RunDir, config: Config) -> tuple[Config, str]:
    """For `curate run` into a run that is there: its configuration with the first rules, where those made the run, the
    other settings of `scenes` are the same and none are asked for; and a line for people where there is something to
    tell.
    """
    try:
        saved = config_of(run).scenes
    except (UserError, KeyError):  # the first run, or one that was not finished
        return config, ""
    if not saved.first_rules or config.scenes.rules == "first":
        return config, ""
    if config.scenes.rules == "auto" and _as_first(config.scenes).identity() == saved.identity():
        kept = replace(config, scenes=saved)
        return kept, "cuts stay as this run found them; --set scenes.rules=second finds them again, by today's rules"
    return config, "cuts are found again, by today's rules: every video is decoded, and clips get new ids"


def _as_first(scenes: ScenesConfig) -> ScenesConfig:
    """The same settings under the first rules, whose default of one was another."""
    untouched = scenes.network_hesitation == ScenesConfig.network_hesitation
    hesitation = FIRST_HESITATION if untouched else scenes.network_hesitation
    return replace(scenes, rules="first", network_hesitation=hesitation)
