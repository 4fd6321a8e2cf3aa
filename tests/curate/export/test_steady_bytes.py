"""Every codec of the demo, exported again and again by workers that have done other work before: the same bytes."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.barcode import clip_row, video_row
from helpers.textures import moving

from clipmill.curate.demo.plan import FORMATS, Format
from clipmill.curate.demo.writer import open_writer
from clipmill.curate.engines import prepare_worker
from clipmill.curate.engines.local import LocalEngine
from clipmill.curate.export.driver import ExportTask, export_video
from clipmill.curate.inputs.files import path_of
from clipmill.curate.settings.export import ExportConfig

TIMES = 10
FRAMES = 40
CONFIG = ExportConfig(short_side_px=128)


def _source(folder: Path, number: int, fmt: Format) -> tuple[dict, dict]:
    """Rows of VIDEOS and CLIPS of a short file in this format."""
    path = folder / f"{number}{Path(fmt.name).suffix}"
    pictures = moving(1, number, FRAMES, 228)[0, :, :128]
    small = replace(fmt, width=228, height=128, rotate_deg=0, bars_px=0, keep_bytes=1.0, audio=False)
    with open_writer(path, small, 1 / fmt.rate) as writer:
        for tick, picture in enumerate(pictures):
            writer.frame(picture, tick)
    video, pts = video_row(path, f"{number:032d}")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return video | {"uri": path.as_uri(), "relpath": path.name, "sha256": sha256}, clip_row(video, pts, 0, len(pts))


@pytest.mark.slow
def test_ten_exports_of_every_codec_of_the_demo_are_the_same_bytes(tmp_path):
    formats = {(fmt.muxer, fmt.codec): fmt for fmt in FORMATS}
    rows = [_source(tmp_path, number, fmt) for number, fmt in enumerate(formats.values())]
    assert all(path_of(video["uri"]).is_file() for video, _ in rows)
    runs = [tmp_path / f"run{time}" for time in range(TIMES)]
    tasks = [ExportTask(v["video_id"], "f" * 16, str(run), CONFIG, v, (clip,)) for run in runs for v, clip in rows]
    engine = LocalEngine(workers=2, recycle_after=7, recycle_s=0)
    outcomes = list(engine.map(export_video, tasks, lambda _: 300.0, prepare_worker))
    assert [outcome.value for outcome in outcomes] == [{"status": "ok", "exported": 1, "failed": 0}] * len(tasks)
    for _, clip in rows:
        files = [run / "shards" / ".clips" / f"{clip['clip_id']}.mp4" for run in runs]
        assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == 1
