"""Small pictures of clips from the stored frames: one JPEG per clip, its frames side by side, so that motion can be
seen.
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipmill.curate.common.files import readable
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.errors import Damaged
from clipmill.curate.report.load import Run, part_files
from clipmill.curate.video.picture import decode_picture

MAX_THUMBS = 400
LONG_SIDE_PX = 200
JPEG_QUALITY = 70


@dataclass(frozen=True)
class Thumb:
    """A strip of `n` pictures, each `width` x `height` px, left to right in time. jpeg: base64."""

    n: int
    width: int
    height: int
    jpeg: str


def thumbs(run: Run, clips: list[int], whole: int) -> dict[int, Thumb]:
    """Row number -> strip, for the clips that have a readable frame. The first `whole` clips show all roles, others the
    middle.
    """
    ids = run.clips["clip_id"].to_numpy(object)
    roles = {ids[i]: (ROLES if k < whole else ("middle",)) for k, i in enumerate(clips)}
    row_of = {ids[i]: i for i in clips}
    frames: dict[str, dict[str, bytes]] = {}
    for clip, role, jpeg in _frames(run, roles):
        frames.setdefault(clip, {})[role] = jpeg
    found = {row_of[clip]: strip([by_role[r] for r in ROLES if r in by_role]) for clip, by_role in frames.items()}
    return {row: thumb for row, thumb in sorted(found.items()) if thumb is not None}


def _frames(run: Run, roles: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str, bytes]]:
    """Pictures of the wanted clips; a part without any of them is not read beyond its ids."""
    wanted = pa.array(sorted(roles), pa.string())
    for path in part_files(run.folder / "frames") if roles else []:
        rows: list[dict[str, Any]] = []
        with suppress(Damaged), readable(path):  # a page without a picture is one; `curate run` makes the part again
            part = pq.ParquetFile(path)
            for group in range(part.num_row_groups):  # of a bucket, whose pictures need not be in memory together
                keep = pc.is_in(part.read_row_group(group, ["clip_id"])["clip_id"], wanted)
                if pc.any(keep).as_py():
                    rows += part.read_row_group(group, ["clip_id", "role", "jpeg"]).filter(keep).to_pylist()
        for row in rows:
            if row["role"] in roles[row["clip_id"]] and row["jpeg"]:
                yield row["clip_id"], row["role"], row["jpeg"]


def strip(jpegs: list[bytes]) -> Thumb | None:
    """Decode, shrink to LONG_SIDE_PX, put side by side, encode. None where no picture can be decoded."""
    import cv2

    images = []
    for jpeg in jpegs:
        with suppress(ValueError):
            images.append(cv2.cvtColor(decode_picture(jpeg), cv2.COLOR_RGB2BGR))
    if not images:
        return None
    height, width = images[0].shape[:2]
    scale = min(1.0, LONG_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    joined = np.hstack([cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in images])
    flags = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, data = cv2.imencode(".jpg", joined, flags)
    return Thumb(len(images), size[0], size[1], base64.b64encode(data.tobytes()).decode("ascii"))
