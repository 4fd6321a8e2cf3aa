"""Parts of a run: what other settings made goes once, and only where there is something in its place."""

import os

import pyarrow as pa

from clipmill.curate.tables.run_dir import RunDir


def test_parts_that_other_settings_made_go_where_there_is_a_new_one(tmp_path):
    run, rows = RunDir(tmp_path), pa.table({"a": [1]})
    for unit, prints in {"one": ("old", "new"), "two": ("old",), "three": ("new",), "left": ("old", "new")}.items():
        for fingerprint in prints:
            run.write("clips", unit, fingerprint, rows)
    run.write("clips", "unprocessed", "x", rows)
    (tmp_path / "clips" / "unprocessed.parquet").touch()
    run.remove_others("clips", dict.fromkeys(("one", "two", "three"), "new"))
    run.remove_others("absent", {"one": "new"})
    names = {path.name for path in (tmp_path / "clips").iterdir()}
    assert names == {
        "one-new.parquet", "two-old.parquet", "three-new.parquet", "left-old.parquet", "left-new.parquet",
        "unprocessed-x.parquet", "unprocessed.parquet",
    }  # fmt: skip


def test_writing_a_part_lists_no_folder_and_a_table_is_listed_once(tmp_path, monkeypatch):
    """On the code before, each part took as long as the table had parts: 48 CPU-days at a million videos."""
    run, rows, listed = RunDir(tmp_path), pa.table({"a": [1]}), []
    for name, was in (("scandir", os.scandir), ("listdir", os.listdir)):
        monkeypatch.setattr(os, name, lambda path, was=was: (listed.append(str(path)), was(path))[1])
    for k in range(20):
        run.write("clips", f"unit{k}", "new", rows)
    assert not listed
    run.remove_others("clips", {f"unit{k}": "new" for k in range(20)})
    assert len(run.done("clips", "new")) == len(run.units("clips")) == 20
    assert listed == [str(tmp_path / "clips")] * 3
