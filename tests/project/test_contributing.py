"""The annotator in CONTRIBUTING.md, written as it says: one file, found by its name, run on a video."""

import hashlib
import re
from pathlib import Path

import pyarrow.parquet as pq

from clipmill.curate import annotators
from clipmill.curate.config import load
from clipmill.curate.decode.task import BASE, VideoTask
from clipmill.curate.decode.worker import process_video

ROOT = Path(__file__).resolve().parents[2]
VIDEO = ROOT / "tests" / "data" / "run_before_move" / "videos" / "one.mp4"


def test_the_example_measures_a_video(tmp_path, monkeypatch):
    code = re.search(
        r"```python\n# curate/annotators/contrast\.py\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S
    )
    (tmp_path / "contrast.py").write_text(code[1], encoding="utf-8")
    monkeypatch.setattr(annotators, "__path__", [*annotators.__path__, str(tmp_path)])
    config = load("default", ["annotators=['contrast']", "scenes.detector=cascade", "contrast.fps=4.0"])
    assert config.annotators["contrast"].fps == 4.0
    sha256 = hashlib.sha256(VIDEO.read_bytes()).hexdigest()
    task = VideoTask(str(VIDEO), VIDEO.as_uri(), "one.mp4", "v", sha256, 1, str(tmp_path / "run"), config, (BASE,))
    assert process_video(task)["status"] == "ok"
    (part,) = (tmp_path / "run").glob("annotations/contrast.v1/*.parquet")
    values = pq.read_table(part).to_pylist()
    assert values
    assert all(row["status"] != "error" and (row["contrast"] is None or 0 < row["contrast"] < 1) for row in values)
    assert any(row["status"] == "ok" for row in values)
