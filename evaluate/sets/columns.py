"""What is known of a video by the name of a column: its own, or one of its manifest."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.sets import Video

_CATEGORIES = ("category", "class", "label", "class_name")


def source_of(video: Video) -> str:
    """Its source video; itself where none is known."""
    return video.group or video.video_id


def category_of(video: Video) -> str:
    """What the manifest calls its category, class or label; else the first folder of its name, as data sets that are
    sorted by class have it; else empty.
    """
    for name in _CATEGORIES:
        if is_known(video.columns.get(name)):
            return str(video.columns[name])
    folders = PurePosixPath(video.video_id).parts[:-1]
    return folders[0] if folders else ""


OWN: Mapping[str, Callable[[Video], str]] = {
    "clip": lambda video: video.video_id,
    "source": source_of,
    "caption": lambda video: video.caption,
    "category": category_of,
}


def check_column(videos: Sequence[Video], name: str) -> None:
    """Raises UserError, with the name that is nearest, where no video has such a column."""
    if not videos:
        raise UserError(f"--by {name}: statistics do not know their videos' columns; give the videos themselves")
    if name in OWN or name == "length" or any(name in video.columns for video in videos):
        return
    plain = (str, int, float, np.number)
    known = [*OWN, "length", *(k for k, value in videos[0].columns.items() if isinstance(value, plain))]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(dict.fromkeys(known))}"
    raise UserError(f"--by {name}: the clips have no such column; {hint}")


def is_known(value: Any) -> bool:
    """Whether a value is one: not null, not empty, not NaN."""
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
