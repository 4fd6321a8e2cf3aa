"""A manifest is one file or a folder of files, and every command gives the same answers."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from helpers.commands import curate, invoke, one_line

from clipmill.curate import ClipDataset, Run
from clipmill.curate.common import publish
from clipmill.curate.policy import decisions
from clipmill.curate.tables.manifest import DECISION_COLUMNS
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import open_manifest, read_manifest
from clipmill.evaluate.sets import open_set

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The same run, with a manifest in one file and in several, decided once more in both."""
    one, many = tmp_path / "one" / "run", tmp_path / "many" / "run"
    for run in (one, many):
        shutil.copytree(tiny_run, run)
    curate("filter", one, "--set", "motion.drop_lowest=25%")
    monkeypatch.setattr(publish, "_MOST_ROWS", 7)
    curate("filter", many, "--set", "motion.drop_lowest=25%")
    return one, many


def test_a_folder_of_files_is_the_manifest_that_one_file_is(runs: tuple[Path, Path]):
    one, many = runs
    assert not (many / "manifest.parquet").exists()
    whole, folder = (read_manifest(RunDir(run)) for run in runs)
    assert len(open_manifest(RunDir(many)).where.files) == -(-len(whole) // 7) > 1
    assert folder.equals(whole)
    assert folder.schema.names == whole.schema.names
    for where in ("motion > 0.05 AND keep", "clip_index = 0", "false", "keep"):
        assert Run(many).arrow(where, ["clip_id", "outcome"]).equals(Run(one).arrow(where, ["clip_id", "outcome"]))
        assert read_manifest(RunDir(many), ["motion"], where).equals(
            whole.filter(mask(whole, where)).select(["motion"])
        )
    assert pd.read_parquet(many / "manifest" / "rows")["clip_id"].tolist() == whole["clip_id"].to_pylist()


def mask(whole: pa.Table, where: str) -> pa.Array:
    import duckdb

    taken = duckdb.sql(f"SELECT coalesce({where}, false) AS taken FROM whole").to_arrow_table()["taken"]
    return taken.combine_chunks()


def test_commands_say_the_same_of_both(runs: tuple[Path, Path]):
    """Reading, deciding, exporting, reporting, evaluating, training's data."""
    one, many = runs
    clip = read_manifest(RunDir(one), ["clip_id"])["clip_id"][3].as_py()
    for words in (("inspect", clip), ("filter", "--set", "motion.min=0.05"), ("report",), ("export",)):
        said = [curate(words[0], run, *words[1:]).stdout.replace(str(run), "RUN") for run in runs]
        assert said[0] == said[1]
    assert read_manifest(RunDir(many)).equals(read_manifest(RunDir(one)))
    assert [len(ClipDataset(run, "split = 'train'")) for run in runs] == [len(ClipDataset(one, "split = 'train'"))] * 2
    names = [[video.video_id for video in open_set(run).videos] for run in runs]
    assert names[0] == names[1] != []
    one_line(invoke("curate", "filter", many, "--set", "motoin.min=1"), "motion")


def test_filter_leaves_the_rows_and_reads_only_what_it_needs(runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    _, many = runs
    before = {path.name: path.read_bytes() for path in (many / "manifest" / "rows").iterdir()}
    asked: list[str] = []
    from clipmill.curate.tables import manifest

    def watched(path: Path, columns: list[str], was=manifest._read) -> pa.Table:
        asked.extend(columns)
        return was(path, columns)

    monkeypatch.setattr(manifest, "_read", watched)
    first = (many / "manifest" / "files.json").read_bytes()
    curate("filter", many, "--set", "motion.min=0.06")
    needed = {*decisions.load(many, Run(many).policy)[0].columns, "clip_id", "score_status", "split", "shard", "keep"}
    assert {"motion", "score_status"} < set(asked) <= needed
    assert {path.name: path.read_bytes() for path in (many / "manifest" / "rows").iterdir()} == before
    assert (many / "manifest" / "files.json").read_bytes() != first


def test_a_list_that_names_files_elsewhere_is_refused(runs: tuple[Path, Path]):
    listed = runs[1] / "manifest" / "files.json"
    listed.write_text('{"rows": ["../../one/run/manifest.parquet"], "decided": null}')
    one_line(invoke("curate", "report", runs[1]), "files.json")


def test_decisions_that_lost_rows_are_told(runs: tuple[Path, Path]):
    _, many = runs
    manifest = open_manifest(RunDir(many))
    table = pa.parquet.read_table(manifest.where.decided)
    pa.parquet.write_table(table.slice(0, 5), manifest.where.decided)
    with pytest.raises(Exception, match="fewer rows"):
        read_manifest(RunDir(many), DECISION_COLUMNS)


def test_a_manifest_goes_from_one_file_to_many_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = pa.table({"clip_id": [f"{i:03d}" for i in range(20)]})
    decided = pa.table({"clip_id": rows["clip_id"], "keep": [i % 2 == 0 for i in range(20)]})
    for most, switch in ((100, "manifest.parquet"), (6, "files.json"), (100, "manifest.parquet")):
        monkeypatch.setattr(publish, "_MOST_ROWS", most)
        publish.publish(tmp_path, rows, {"decisions/a.parquet": decided}, "decisions/a.parquet")
        found = open_manifest(RunDir(tmp_path))
        assert found.where.switch.name == switch
        assert found.read()["keep"].to_pylist() == decided["keep"].to_pylist()
        assert (tmp_path / "manifest").exists() == (switch == "files.json")


def test_nobody_reads_a_manifest_but_its_reader():
    """A bare read takes every column of every row, and knows no folder of files."""
    bare = re.compile(r"(read_table|read_parquet|ParquetFile|read_schema|read_file)\([^)\n]*manifest")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ("curate", "evaluate", "models")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in path.read_text().splitlines()
        if bare.search(line.replace("read_table(work.run.videos", ""))
    ]
    assert not [line for line in found if not line.startswith("curate/tables/manifest.py")]
