"""Files are whole or what they were."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from clipmill.curate.common.files import beside, read_table, write_atomic_streamed, write_json, write_text


@pytest.mark.parametrize("synced", [False, True])
def test_a_file_gets_its_name_at_the_end(tmp_path, synced):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with beside(path, synced) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def breaks_off(path: Path, begin: Callable[[Path], object]) -> None:
        with beside(path) as temporary:
            begin(temporary)
            raise error

    with pytest.raises(error):
        breaks_off(path, lambda temporary: temporary.write_text("ne"))
    with pytest.raises(error):
        breaks_off(tmp_path / "folder", lambda temporary: (temporary / "inner").mkdir(parents=True))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_gets_its_name_at_the_end(tmp_path):
    with beside(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("x")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["folder", "folder/a"]


def test_a_table_whose_parts_break_off_is_not_there(tmp_path):
    rows = pa.table({"a": [1, 2]})

    def parts():
        yield rows
        raise ValueError("no more parts")

    with pytest.raises(ValueError, match="no more parts"):
        write_atomic_streamed(tmp_path / "t.parquet", rows.schema, parts())
    assert list(tmp_path.iterdir()) == []
    write_atomic_streamed(tmp_path / "t.parquet", rows.schema, [rows, rows])
    assert read_table(tmp_path / "t.parquet")["a"].to_pylist() == [1, 2, 1, 2]


def test_text_and_json_as_ever(tmp_path):
    write_text(tmp_path / "a", "ä\n", synced=True)
    write_json(tmp_path / "b", {"ä": 1, "path": tmp_path})
    assert (tmp_path / "a").read_bytes() == "ä\n".encode()
    assert (tmp_path / "b").read_text(encoding="utf-8") == f'{{\n "ä": 1,\n "path": "{tmp_path}"\n}}\n'
    assert len(list(tmp_path.iterdir())) == 2
