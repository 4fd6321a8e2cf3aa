"""Pictures from decoded frames without a colour conversion of the full frame: planes, small copies, orientation."""

import io
import warnings
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from clipmill.curate.errors import DecodeError, one_line
from clipmill.curate.video.signals import LUMA_SHAPE, THUMB_SHAPE

# Planar 8-bit formats whose planes can be viewed as they are, with the log2 of the chroma subsampling (width, height).
_PLANAR = {
    "yuv420p": (1, 1),
    "yuvj420p": (1, 1),
    "yuv422p": (1, 0),
    "yuvj422p": (1, 0),
    "yuv444p": (0, 0),
    "yuvj444p": (0, 0),
}
# A picture of 16384 x 16384; OpenCV alone would take four times as many, 3 GB.
MOST_PX = 1 << 28
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG

# AVCOL_SPC: names as the ffmpeg program has them.
_MATRICES = {
    0: "RGB",
    1: "BT.709",
    2: "unspecified",
    4: "FCC",
    5: "BT.470 BG",
    6: "SMPTE 170M",
    7: "SMPTE 240M",
    8: "YCgCo",
    9: "BT.2020 NCL",
    10: "BT.2020 CL",
    11: "SMPTE 2085",
    12: "chroma-derived NCL",
    13: "chroma-derived CL",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}

_LUMA_TO_FULL = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
_CHROMA_TO_FULL = np.clip((np.arange(256) - 128) * 255 / 224 + 128, 0, 255).round().astype(np.uint8)


def _view(plane: VideoPlane, width: int, height: int) -> np.ndarray:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[:height, :width]


def to_planes(
    frame: VideoFrame, scaler: VideoReformatter
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]:
    """(Y, U, V, full_range), each uint8 [h, w]: views for planar 8-bit formats, else after conversion to yuv420p. Gray
    has no U, V.
    """
    full_range = frame.format.name.startswith("yuvj") or int(frame.color_range) == _FULL_RANGE
    if frame.format.name not in _PLANAR:
        if frame.format.name == "gray":
            return _view(frame.planes[0], frame.width, frame.height), None, None, True
        frame = converted(scaler, frame, format="yuv420p")
    shift_w, shift_h = _PLANAR[frame.format.name]
    chroma = -(-frame.width >> shift_w), -(-frame.height >> shift_h)
    y, u, v = frame.planes[:3]
    return _view(y, frame.width, frame.height), _view(u, *chroma), _view(v, *chroma), full_range


def converted(scaler: VideoReformatter, frame: VideoFrame, **to: Any) -> VideoFrame:
    """The frame in another size or pixel format. to: as of `VideoReformatter.reformat`. Raises DecodeError, which names
    the colour matrix, where libswscale has no such conversion.
    """
    try:
        return scaler.reformat(frame, threads=1, **to)
    except av.error.FFmpegError as error:
        matrix = _MATRICES.get(int(frame.colorspace), f"number {int(frame.colorspace)}")
        raise DecodeError(
            f"the colour matrix {matrix} ({frame.format.name}) cannot be converted: {one_line(error)} (libswscale);"
            " convert the video to BT.709 first"
        ) from error


def shrink(plane: np.ndarray, width: int, height: int) -> np.ndarray:
    """Area average to width x height. Exact halvings first: OpenCV's 2x2 average is vectorised, its general one is 20
    times slower.
    """
    while plane.shape[1] >= 2 * width and plane.shape[0] >= 2 * height:
        even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        plane = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if plane.shape == (height, width):
        return plane
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)


def small_pictures(
    y: np.ndarray, u: np.ndarray | None, v: np.ndarray | None, full_range: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(luma uint8 [54, 96] as coded, RGB uint8 [27, 48, 3] full range, BT.601) of the whole picture."""
    luma = shrink(y, LUMA_SHAPE[1], LUMA_SHAPE[0])
    height, width, _ = THUMB_SHAPE
    small = shrink(luma, width, height)
    if u is None or v is None:
        return luma, cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    planes = [small, shrink(v, width, height), shrink(u, width, height)]
    if not full_range:
        planes = [
            cv2.LUT(planes[0], _LUMA_TO_FULL),
            cv2.LUT(planes[1], _CHROMA_TO_FULL),
            cv2.LUT(planes[2], _CHROMA_TO_FULL),
        ]
    return luma, cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2RGB)


def upright(picture: np.ndarray, rotation_deg: int, mirrored: bool = False) -> np.ndarray:
    """Turn clockwise by a multiple of 90 degrees, then exchange left and right where mirrored; a view, [H, W] or
    [H, W, C].
    """
    turned = picture if rotation_deg == 0 else np.rot90(picture, -(rotation_deg // 90))
    return turned[:, ::-1] if mirrored else turned


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """JPEG of uint8 [H, W, 3] RGB."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"cannot encode a JPEG of {rgb.shape[1]}x{rgb.shape[0]} px")
    return data.tobytes()


def decode_picture(data: bytes, gray: bool = False) -> np.ndarray:
    """uint8 [H, W, 3] RGB, or [H, W] where gray, of a JPEG, PNG, WebP, ... Raises ValueError, in one line, for what is
    none, and, by its header alone, for one of more than MOST_PX: some kilobytes may claim any size.
    """
    if (size := _claimed_px(data)) is not None and size[0] * size[1] > MOST_PX:
        raise ValueError(f"a picture of {size[0]} x {size[1]} px; up to {MOST_PX:,} px are read (16384 x 16384)")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError("no picture that can be read") from error
    if picture is None:
        raise ValueError("not a picture")
    return picture if gray else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _claimed_px(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header; None where nobody can tell, and OpenCV's own limit holds."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as picture:
                return picture.size
        except Image.DecompressionBombError:
            return MOST_PX, 2
        except (OSError, ValueError, SyntaxError, OverflowError):
            return None
