"""A run with a clip whose score failed: `keep` is false there, and what the documentation asks of a run works."""

import re
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import invoke

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "tests" / "data" / "run_before_move" / "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in which the motion of a clip, kept before, could not be computed."""
    root = tmp_path_factory.mktemp("error")
    run = shutil.copytree(STORED, root / "run")
    table = pq.read_table(run / "manifest.parquet")
    hit = table["keep"].to_pylist().index(True)
    motion, statuses = table["motion"].to_pylist(), [dict(pairs) for pairs in table["score_status"].to_pylist()]
    motion[hit], statuses[hit]["motion"] = None, "error"
    for name, column in (("motion", motion), ("score_status", [list(told.items()) for told in statuses])):
        table = table.set_column(table.column_names.index(name), name, pa.array(column, table[name].type))
    pq.write_table(table, run / "manifest.parquet")
    done = invoke("curate", "filter", run, "--set", "motion.on_error=error")
    assert done.returncode == 0, done.stderr
    return root


def test_keep_is_true_or_false_for_every_clip(folder: Path):
    for table in ("manifest.parquet", "decisions/default.parquet"):
        clips = pd.read_parquet(folder / "run" / table)
        assert list(clips["outcome"]).count("error") == 1
        assert clips["keep"].dtype == bool
        assert list(clips["keep"]) == list(clips["outcome"] == "kept")
        assert len(clips[clips.keep]) + len(clips[~clips.keep]) == len(clips)


def test_the_queries_of_the_documentation_work_there(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    page = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
    queries = [
        query
        for query in re.findall(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        if set(re.findall(r"'([^']*\.parquet)'", query)) <= {"run/manifest.parquet", "run/videos.parquet"}
    ]
    assert len(queries) >= 6
    for query in queries:
        duckdb.sql(query).fetchall()
    (told,) = [q for q in queries if "GROUP BY outcome" in q]
    assert ("error", 1) in [row[:2] for row in duckdb.sql(told).fetchall()]
