"""What is said of a folder that is no run, no finished run, or a run without clips: the same by every command."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipmill.curate.dataset import ClipDataset
from clipmill.curate.errors import UserError
from clipmill.curate.formats.shard_clips import exported_clips
from clipmill.curate.report.clip_text import find
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported, read_manifest, read_run_json

OPENS = [
    read_manifest,
    read_exported,
    exported_clips,
    lambda run: ClipDataset(run.root),
    lambda run: find(run.root, "ab"),
]


@pytest.mark.parametrize("opens", OPENS)
def test_what_is_wrong_with_a_run_is_one_line(opens, tmp_path):
    run = RunDir(tmp_path / "run")
    with pytest.raises(
        UserError, match=r"^there is no folder .*run; `curate run VIDEOS --out .*run` makes a run there$"
    ):
        opens(run)
    run.root.mkdir()
    run.run_json.write_text("{}")
    with pytest.raises(
        UserError, match=r"run is no finished run: there is no manifest\.parquet; start with `curate run"
    ):
        opens(run)
    run.manifest.write_bytes(b"PAR1 cut short")
    with pytest.raises(UserError, match=r"^cannot read .*manifest\.parquet; delete it and run `curate run` again$"):
        opens(run)


@pytest.mark.parametrize("opens", [read_exported, exported_clips])
def test_clips_that_are_not_there_are_named(opens, tmp_path):
    run = RunDir(tmp_path)
    pq.write_table(pa.table({"clip_id": ["a"]}), run.manifest)
    with pytest.raises(UserError, match="has no exported clips: `curate export"):
        opens(run)
    pq.write_table(pa.table({"clip_id": ["a"], "shard": ["train-000000.tar"], "keep": [True]}), run.manifest)
    with pytest.raises(UserError, match=r"shards does not hold train-000000\.tar \(1 shards missing\): bring it back"):
        opens(run)


def test_a_folder_without_run_json_is_no_run(tmp_path):
    with pytest.raises(UserError, match="is no run directory: no run"):
        read_run_json(RunDir(tmp_path))
    (tmp_path / "run.json").write_text("[1")
    with pytest.raises(UserError, match=r"^cannot read .*run\.json: "):
        read_run_json(RunDir(tmp_path))
