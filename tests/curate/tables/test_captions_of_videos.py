"""A text beside a video describes the whole of it: the clips that are parts of it say so."""

import shutil
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
from helpers.commands import curate
from helpers.tiny_videos import quick, write_tiny


def write_two_shots(path: Path) -> None:
    """Two textures of 30 frames each, light and dark."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for low in (0, 128):
            texture = rng.integers(low, low + 127, (48, 64 + 90, 3), np.uint8)
            for i in range(30):
                picture = np.ascontiguousarray(texture[:, 3 * i : 3 * i + 64])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def test_a_caption_of_a_whole_video_is_marked_on_its_clips_and_told(tmp_path: Path):
    videos = tmp_path / "in"
    write_tiny(videos / "one.mp4")
    write_tiny(videos / "none.mp4", seed=1)
    write_two_shots(videos / "two.mp4")
    shutil.copy(videos / "two.mp4", videos / "copy.mp4")
    for name in ("one", "two", "copy"):
        (videos / f"{name}.txt").write_text(f"about {name}")
    done = curate("run", videos, "--out", tmp_path / "run", "--no-export", *quick())
    found = pq.read_table(
        tmp_path / "run" / "manifest.parquet", columns=["relpath", "caption", "caption_of"]
    ).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("copy.mp4", "about copy", "video"),
        ("copy.mp4", "about copy", "video"),
        ("none.mp4", None, None),
        ("one.mp4", "about one", "clip"),
    ]
    assert "captions of 1 whole videos stand on 2 clips, which are parts of them" in done.stdout
