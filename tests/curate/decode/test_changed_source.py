"""A source that was replaced after it was hashed gives an error row, and never its pictures under the old id."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.textures import moving, write_file

from clipmill.curate import annotators
from clipmill.curate.common.content import state_of
from clipmill.curate.config import Config, load
from clipmill.curate.contract.schema import video_id
from clipmill.curate.decode.task import BASE, VideoTask
from clipmill.curate.decode.worker import process_video
from clipmill.curate.export.driver import ENCODED, TABLE, ExportTask, export_video
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.tables.run_dir import RunDir

CHANGED = "the file changed after it was hashed; the next `curate run` takes it as it is then"
REPLACING = '''
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa


from clipmill.curate.contract.annotator import Annotator, ClipFrames, FrameRequest
from clipmill.curate.contract.column import Column


@dataclass(frozen=True)
class Replacing(Annotator):
    """Puts another file in the video's place while the video is worked on."""

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {{"replacing": Column(pa.float32(), "zero")}}

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(fps=2.0, short_side_px=64, gray=True)

    def measure(self, clip: ClipFrames) -> dict[str, Any]:
        Path({other!r}).replace({path!r})
        return {{"replacing": 0.0}}
'''


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A video, and another of the same length for its place."""
    one, other = (write_file(tmp_path / f"{k}.mkv", moving(1, k, 50)[0]) for k in (1, 2))
    return one, other


def _task(path: Path, run: Path, config: Config, **more) -> VideoTask:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {"path": str(path), "uri": path.as_uri(), "relpath": path.name, "size_bytes": path.stat().st_size}
    return VideoTask(
        **facts, video_id=video_id(sha256), sha256=sha256, run=str(run), config=config, stale=(BASE,), **more
    )


def _rows(run: Path, table: str) -> list[dict]:
    return [row for part in run.glob(f"{table}/*.parquet") for row in pq.read_table(part).to_pylist()]


def _is_refused(event: dict, run: Path) -> None:
    assert event["status"] == "error"
    (row,) = _rows(run, "videos")
    assert (row["status"], row["error_message"]) == ("error", CHANGED)
    assert _rows(run, "clips") == []


@pytest.mark.parametrize("with_state", [True, False])
def test_replaced_between_hash_and_decode(files, tmp_path, with_state):
    one, other = files
    config = load("default", ["annotators=['motion']", "scenes.detector=cascade"])
    task = _task(one, tmp_path / "run", config, state=state_of(one) if with_state else None)
    assert process_video(replace(task, run=str(tmp_path / "before")))["status"] == "ok"
    other.replace(one)
    _is_refused(process_video(task), tmp_path / "run")


def test_replaced_while_it_is_worked_on(files, tmp_path, monkeypatch):
    one, other = files
    (tmp_path / "replacing.py").write_text(REPLACING.format(path=str(one), other=str(other)))
    monkeypatch.setattr(annotators, "__path__", [*annotators.__path__, str(tmp_path)])
    config = load("default", ["annotators=['replacing']", "scenes.detector=cascade"])
    _is_refused(process_video(_task(one, tmp_path / "run", config, state=state_of(one))), tmp_path / "run")
    assert _rows(tmp_path / "run", "annotations/replacing.v1") == []


@pytest.mark.parametrize("copy", [True, False])
def test_replaced_between_run_and_export(files, tmp_path, copy):
    one, other = files
    run = RunDir(tmp_path / "run")
    config = load("default", ["annotators=['motion']", "scenes.detector=cascade"])
    state = state_of(one)
    process_video(_task(one, run.root, config, state=state))
    (video,), clips = _rows(run.root, "videos"), _rows(run.root, "clips")
    assert clips
    settings = ExportConfig(copy=copy) if copy else ExportConfig(short_side_px=64)
    task = ExportTask(video["video_id"], "f" * 16, str(run.root), settings, video, tuple(clips), state)
    assert export_video(task)["failed"] == 0
    other.replace(one)
    assert export_video(task) == {"status": "ok", "exported": 0, "failed": len(clips)}
    rows = pq.read_table(run.part(TABLE, task.unit, task.fingerprint), schema=ENCODED).to_pylist()
    assert {row["error"] for row in rows} == {CHANGED}
