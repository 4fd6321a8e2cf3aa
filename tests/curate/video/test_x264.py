"""What x264 writes depends on the pictures alone, not on what an earlier encode left in memory."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.barcode import clip_row, video_row
from helpers.heap import left_behind
from helpers.textures import moving, write_file

from clipmill.curate.demo.plan import Format
from clipmill.curate.demo.writer import open_writer
from clipmill.curate.export.encode import encode_clip
from clipmill.curate.settings.export import ExportConfig
from clipmill.models.generate.files import write_mp4

# As numbers of x264's: nothing, and motion of a block or more up and to the left with a cost for both directions.
VALUES = (0, -64, -40, -100, 0)


def _pictures(width: int, height: int) -> np.ndarray:
    """uint8 [16, H, W, 3]"""
    return moving(1, 3, side=max(width, height))[0][:, :height, :width]


def _exported(folder: Path, width: int, height: int) -> bytes:
    source = folder / "source.mp4"
    if not source.exists():
        write_file(source, _pictures(width, height))
    video, pts = video_row(source)
    config = ExportConfig(short_side_px=min(width, height))
    return encode_clip(source, video, clip_row(video, pts, 0, 16), config, folder / "out.mp4").path.read_bytes()


def _sampled(folder: Path, width: int, height: int) -> bytes:
    write_mp4(folder / "out.mp4", torch.from_numpy(_pictures(width, height).transpose(0, 3, 1, 2).copy()), 24)
    return (folder / "out.mp4").read_bytes()


def _of_the_demo(folder: Path, width: int, height: int) -> bytes:
    fmt = Format("out.mp4", "mp4", "libx264", width, height, Fraction(24))
    with open_writer(folder / "out.mp4", fmt, Fraction(1, 24)) as writer:
        for tick, picture in enumerate(_pictures(width, height)):
            writer.frame(picture, tick)
    return (folder / "out.mp4").read_bytes()


@pytest.mark.parametrize(("width", "height"), [(72, 64), (40, 72), (228, 128), (128, 128)])
@pytest.mark.parametrize("write", [_exported, _sampled, _of_the_demo])
def test_what_lies_in_memory_changes_no_byte(write, width, height, tmp_path):
    files = []
    for value in VALUES:
        left_behind(value)
        files.append(write(tmp_path, width, height))
    assert len(set(files)) == 1
