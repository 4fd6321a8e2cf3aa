"""All eight orientations of a display matrix, in every reader."""

from pathlib import Path

import av
import numpy as np
import pytest
from helpers import barcode

from clipmill.curate.dataset import decode_window
from clipmill.curate.export.encode import encode_clip
from clipmill.curate.export.stream_copy import copy_clip
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.video.orientation import from_matrix
from clipmill.curate.video.reader import VideoDecoder, open_video
from clipmill.models.generate.pictures import pictures_at

# (x, y) goes to (a x + c y, b x + d y): (a, b, c, d).
MATRICES = [
    (1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
    (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0), (0, -1, -1, 0),
]  # fmt: skip
WIDTH, HEIGHT = 96, 64


def picture() -> np.ndarray:
    """uint8 [H, W, 3], gray, without any symmetry."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    gray = np.where((rows < 20) & (columns < 64), 220, 40) + np.where(columns < 16, 30, 0)
    return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)


def shown(matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The picture with every pixel where the matrix puts it."""
    a, b, c, d = matrix
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    out = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    out[to_y, to_x] = picture()
    return out


def write(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    a, b, c, d = (value << 16 for value in matrix)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "8", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and float(np.abs(found.astype(int) - expected).mean()) < 4


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_reader_shows_it_upright(matrix: tuple[int, int, int, int], tmp_path: Path):
    path, right = write(tmp_path / "a.mp4", matrix), shown(matrix)
    with open_video(path) as (container, stream):
        decoder = VideoDecoder(container, stream)
        frame = next(iter(decoder))
        assert (decoder.info.height, decoder.info.width) == right.shape[:2]
        assert close(frame.rgb(1000), right)
        assert close(frame.gray(1000), right[..., 0])
        assert frame.luma().shape == right.shape[:2]
    video, _, _ = decode_window(path.read_bytes(), None, 1, np.random.default_rng(0))
    assert close(video[0].permute(1, 2, 0).numpy(), right)
    height, width = right.shape[:2]
    assert close(pictures_at(path, height, width).pixels[0].permute(1, 2, 0).numpy(), right)


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_export_shows_it_upright(matrix: tuple[int, int, int, int], tmp_path: Path):
    path, right = write(tmp_path / "a.mp4", matrix), shown(matrix)
    video, pts = barcode.video_row(path)
    clip = barcode.clip_row(video, pts, 0, 5, crop_x=0, crop_y=0, crop_w=video["width"], crop_h=video["height"])
    config = ExportConfig(fps=None, short_side_px=None, multiple=16)
    encoded = encode_clip(path, video, clip, config, tmp_path / "encoded.mp4")
    copied = copy_clip(path, video, clip | {"keyframe_start_pts": pts[0], "keyframe_end_pts": video["end_pts"]},
                       tmp_path / "copied.mp4")  # fmt: skip
    for done in (encoded, copied):
        found, _, _ = decode_window(done.path.read_bytes(), None, 1, np.random.default_rng(0))
        assert (done.height, done.width) == right.shape[:2]
        assert close(found[0].permute(1, 2, 0).numpy(), right)


def test_a_matrix_that_is_no_turn_counts_as_none():
    assert from_matrix((0, 0, 0, 0, 0, 0, 0, 0, 0)) == (0, False)
    assert from_matrix((7, 7, 0, 7, 7, 0, 0, 0, 1 << 30)) == (0, False)


def test_a_turn_by_a_few_degrees_is_rounded():
    c, s = round(0.995 * 65536), round(0.0998 * 65536)
    assert from_matrix((c, s, 0, -s, c, 0, 0, 0, 1 << 30)) == (0, False)
    assert from_matrix((-s, c, 0, -c, -s, 0, 0, 0, 1 << 30)) == (90, False)
