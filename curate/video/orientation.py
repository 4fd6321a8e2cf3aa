"""How a picture is to be turned and mirrored: all eight orientations of a display matrix."""

import math
import struct
from typing import Any, NamedTuple

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame


class Orientation(NamedTuple):
    """rotation_deg: clockwise turn, 0, 90, 180 or 270. mirrored: left and right are exchanged after the turn."""

    rotation_deg: int = 0
    mirrored: bool = False


UPRIGHT = Orientation()


def orientation_of(frame: VideoFrame) -> Orientation:
    """What shows this frame upright, by its display matrix; turns are rounded to quarters, a matrix that is no turn
    counts as none.
    """
    side_data: Any = frame.side_data  # a mapping of types, whatever its annotation says
    matrix = side_data.get(Type.DISPLAYMATRIX)
    return UPRIGHT if matrix is None else from_matrix(struct.unpack("9i", bytes(matrix)))


def from_matrix(matrix: tuple[int, ...]) -> Orientation:
    """Of a display matrix a b u c d v x y w, as in MP4: (x, y) of the coded picture goes to (ax + cy, bx + dy)."""
    a, b, _, c, d = matrix[:5]
    if a * d == b * c:
        return UPRIGHT
    mirrored = a * d - b * c < 0
    turn = math.degrees(math.atan2(b, -a if mirrored else a))
    return Orientation(round(turn / 90) * 90 % 360, mirrored)
