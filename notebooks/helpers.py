"""What the notebooks share: pictures of a run's clips, sheets of them, strips of videos, and the commands of a
shell.
"""

import io
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from IPython.display import Image
from PIL import Image as Picture

KEPT, DROPPED, UNUSED = "#0072B2", "#D55E00", "#B0B0B0"
_WIDTH_PX = 240


def pictures(run: Path, clip_ids: Iterable[str], role: str = "middle") -> dict[str, np.ndarray]:
    """clip_id -> the stored frame, uint8 [H, W, 3] RGB, 240 px at most. role: first, middle or last. Clips without one
    are left out.
    """
    wanted = pc.field("clip_id").isin(pa.array(clip_ids, pa.string())) & (pc.field("role") == role)
    rows = pq.read_table(run / "frames", columns=["clip_id", "jpeg"], filters=wanted).to_pylist()
    return {row["clip_id"]: _decoded(row["jpeg"]) for row in rows}


def _decoded(jpeg: bytes) -> np.ndarray:
    picture = Picture.open(io.BytesIO(jpeg)).convert("RGB")
    picture.thumbnail((_WIDTH_PX, _WIDTH_PX))
    return np.asarray(picture)


def sheet(shown: Sequence[np.ndarray | None], titles: Sequence[str], colours: Sequence[str], columns: int = 6) -> Image:
    """Pictures in rows of `columns`, each in a frame of its colour, with a title above; None leaves a place empty."""
    rows = max(1, -(-len(shown) // columns))
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    size_inches = (1.75 * columns, (1.3 + 0.13 * lines) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size_inches, squeeze=False, layout="constrained")
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
        place.spines[:].set_visible(False)
    for place, picture, title, colour in zip(axes.flat, shown, titles, colours, strict=False):
        if picture is None:
            continue
        place.imshow(picture)
        place.set_title(title, fontsize=7, color=colour, pad=3)
        place.spines[:].set(visible=True, color=colour, linewidth=2)
    return _as_jpeg(figure)


def _as_jpeg(figure: plt.Figure) -> Image:
    """Photographs are a tenth of the size as JPEG."""
    file = io.BytesIO()
    figure.savefig(file, format="jpeg", dpi=90, pil_kwargs={"quality": 78})
    plt.close(figure)
    return Image(file.getvalue(), format="jpeg")


def strips(videos: np.ndarray, title: str, side_px: int = 60) -> Image:
    """uint8 [N, T, H, W, 3], one row per video, its frames from left to right."""
    frames = videos.shape[1]
    figure, place = plt.subplots(
        figsize=(frames * side_px / 72, len(videos) * side_px / 72 + 0.3), layout="constrained"
    )
    rows = [
        np.concatenate(list(np.pad(video, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)), axis=1)
        for video in videos
    ]
    place.imshow(np.concatenate(rows), interpolation="nearest")
    place.set_title(title, loc="left")
    place.axis("off")
    return _as_jpeg(figure)


def read_video(path: Path) -> np.ndarray:
    """uint8 [T, H, W, 3] RGB, every frame."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def name_of(clip: pd.Series) -> str:
    """`harbour_h264 #3`: the file's name, shortened, and the position of the clip in it."""
    return f"{Path(clip['relpath']).stem[:16]} #{clip['clip_index']}"


def shell(command: str, folder: Path, may_fail: bool = False) -> str:
    """Run `curate ...` or `evaluate ...` in a folder; the command and what it prints, with its errors where it may
    fail.

    Raises RuntimeError where it fails and must not.
    """
    name, *words = command.split()
    # A kernel asks programs for colours; here they would be escape codes in the text.
    plain = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "CLICOLOR_FORCE")} | {
        "COLUMNS": "100"
    }
    done = subprocess.run(
        [sys.executable, "-m", f"clipmill.{name}.cli", *words],
        cwd=folder,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not may_fail:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")
    return f"$ {command}\n" + "\n".join(
        line.rstrip() for line in (done.stdout + done.stderr * may_fail).splitlines() if line.strip()
    )
