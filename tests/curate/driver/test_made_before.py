"""Which rows of an earlier version are made again."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipmill.curate.contract import schema
from clipmill.curate.driver.made_before import doubtful
from clipmill.curate.tables.run_dir import RunDir

STORED = Path(__file__).parents[2] / "data" / "run_before_move" / "run" / "videos.parquet"
WRONG = {
    "rotation_deg": 180,
    "status": "partial",
    "n_decode_errors": 1,
    "is_vfr": True,
    "container": "tty",
    "n_frames_decoded": 1,
    "avg_fps_num": 1,
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    shutil.copy(STORED, tmp_path)
    return RunDir(tmp_path)


def test_what_was_right_stays(run: RunDir):
    assert doubtful(run) == set()


@pytest.mark.parametrize("column", WRONG)
def test_what_may_be_wrong_is_made_again(run: RunDir, column: str):
    table = pq.read_table(run.videos)
    values = [WRONG[column], *table[column].to_pylist()[1:]]
    table = table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))
    pq.write_table(table, run.videos)
    assert doubtful(run) == {table["video_id"][0].as_py()}


def test_what_has_the_new_columns_is_right(run: RunDir):
    rows = [row | {"mirrored": False, "rotation_deg": 180} for row in pq.read_table(run.videos).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.VIDEOS), run.videos)
    assert doubtful(run) == set()
