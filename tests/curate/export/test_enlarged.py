"""An export says how many clips it enlarged, and what leaves them out does."""

import re
import shutil
from pathlib import Path

import pyarrow as pa
from helpers.commands import invoke

from clipmill.curate.export.enlarged import enlarged_text
from clipmill.curate.settings.export import ExportConfig


def table(*sizes: tuple[int, int, str | None]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(("width", "height", "shard"), row, strict=True)) for row in sizes])


def test_only_exported_clips_below_the_size_count():
    clips = table((640, 360, "a"), (110, 400, "a"), (300, 255, "a"), (256, 256, "a"), (10, 10, None))
    said = enlarged_text(clips, ExportConfig())
    assert said is not None
    assert said.startswith("2 of 4 clips are enlarged to 256 px (the smallest from 110 px):")
    assert enlarged_text(clips, ExportConfig(short_side_px=110)) is None
    assert enlarged_text(clips, ExportConfig(short_side_px=None)) is None
    assert enlarged_text(clips.drop_columns("shard"), ExportConfig()) is None


def test_the_command_says_it_and_the_named_filter_leaves_them_out(tiny_run: Path, tmp_path: Path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    done = invoke("curate", "export", run, "--size", 80, "--set", "preset=ultrafast")
    assert "20 of 20 clips are enlarged to 80 px (the smallest from 64 px):" in done.stdout
    (words,) = re.findall("`curate filter RUN (.*?)`", done.stdout.replace("\n", " "))
    assert "20 clips: 0 kept" in invoke("curate", "filter", run, *words.split()).stdout
    at_most = invoke("curate", "filter", run, *words.replace("=80", "=64").split()).stdout
    assert "20 clips: 20 kept" in at_most
