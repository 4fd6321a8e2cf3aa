"""A stranger's run: what its tables say leads nowhere out of it, and is one line where it is not what it should be."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import contents, curate, evaluate, invoke, made_once, one_line
from helpers.whole_chain import CLIPS, make_chain

from clipmill.curate.common.files import is_bare
from clipmill.curate.errors import UserError
from clipmill.curate.tables.checked import checked
from clipmill.curate.tables.run_dir import RunDir
from clipmill.evaluate.sets import open_set

pytestmark = pytest.mark.slow


NANO = ("--config", "demo-nano", "--device", "cpu", "--steps", 1)
COMMANDS: dict[str, Callable[[Path], tuple]] = {
    "filter": lambda run: ("curate", "filter", run),
    "export": lambda run: ("curate", "export", run, "--size", 32),
    "format": lambda run: ("curate", "export", run, "--format", "hf", "--out", run.parent / "hf"),
    "inspect": lambda run: ("curate", "inspect", run, pq.read_table(run / "manifest.parquet")["clip_id"][0].as_py()),
    "train": lambda run: ("models", "train", run, *NANO, "--out", run.parent / "ckpt"),
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: see `make_chain`."""
    return made_once(tmp_path_factory, "chain", make_chain)


@pytest.fixture
def run(chain: Path, tmp_path: Path) -> Path:
    """A run to change, alone in its folder, two folders deep."""
    return shutil.copytree(chain / "run", tmp_path / "a" / "b" / "run")


def changed(path: Path, column: str, values: pa.Array) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), path)


def outside(run: Path, top: Path) -> set[str]:
    """Every file that is not in the run."""
    return {str(path) for path in top.rglob("*") if run not in path.parents and path != run}


@pytest.mark.parametrize("column", ["clip_id", "video_id", "split", "shard"])
@pytest.mark.parametrize("name", ["../../climbed", "/ABSOLUTE/climbed", "below/it", "..", "", "a\0b"])
def test_names_of_files_in_a_manifest_are_names_of_files(column: str, name: str, tmp_path: Path):
    table = pa.table({column: ["a" * 32, None, name]})
    with pytest.raises(UserError, match=f"the column {column} holds .*, which is no name of a file"):
        checked(tmp_path, table)
    assert not is_bare(name)
    assert checked(tmp_path, table.slice(0, 2)) is not None


@pytest.mark.parametrize("command", COMMANDS)
def test_a_manifest_writes_nothing_outside_the_run(command: str, run: Path, tmp_path: Path):
    values = pq.read_table(run / "manifest.parquet")["split"].to_pylist()
    changed(run / "manifest.parquet", "split", pa.array(["../../climbed", *values[1:]]))
    before = outside(run, tmp_path)
    one_line(invoke(*COMMANDS[command](run)), "the column split holds '../../climbed'")
    changed(run / "manifest.parquet", "split", pa.array([1] * len(values)))
    one_line(invoke(*COMMANDS[command](run)), "the column split holds int64, not text")
    assert outside(run, tmp_path) == before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("clip_id", 1),
        ("keep", "yes"),
        ("start_pts", "0"),
        ("duration_s", [1.0]),
        ("shard", b"a"),
        ("offset", "512"),
        ("failed_filters", ""),
        ("tags", 1),
    ],
)
def test_a_column_of_another_kind_is_one_line(column: str, value: object, tmp_path: Path):
    with pytest.raises(UserError, match=f"the column {column} holds"):
        checked(tmp_path, pa.table({column: [value]}))
    assert checked(tmp_path, pa.table({column: pa.nulls(1)})) is not None


def test_a_split_or_a_video_that_nobody_knows_is_one_line(run: Path):
    for column in ("split", "video_id"):
        copy = shutil.copytree(run, run.with_name(column))
        changed(copy / "manifest.parquet", column, pa.array(["x"] * pq.read_table(copy / "manifest.parquet").num_rows))
        one_line(invoke("curate", "export", copy, "--size", 32), "of no split")


def test_a_part_is_of_a_unit_in_its_folder(tmp_path: Path):
    for unit in ("../../a", "/a", "a/b", "..", ""):
        with pytest.raises(UserError, match="is no id of a video"):
            RunDir(tmp_path).part("clips", unit, "f" * 12)


def test_a_list_of_written_clips_packs_no_other_file(run: Path, tmp_path: Path):
    """`exports/` of a stranger names a file elsewhere as a clip that is written already."""
    secret = tmp_path / "a" / "secret.mp4"
    secret.write_bytes(b"private")
    curate("export", run, "--size", 32)
    part = next((run / "exports").glob("*.parquet"))
    n = pq.read_table(part).num_rows
    for column, value in (
        ("file", "../../../../secret.mp4"),
        ("size_bytes", 7),
        ("sha256", hashlib.sha256(b"private").hexdigest()),
    ):
        changed(part, column, pa.array([value] * n))
    (run / "shards" / "export.json").unlink()
    (run / "shards" / ".clips").mkdir()
    curate("export", run, "--size", 32)
    assert all(b"private" not in data for name, data in contents(run / "shards").items() if name.endswith(".tar"))


@pytest.mark.parametrize("place", ["../../secret.mp4", "a/../../../secret.mp4"])
def test_a_relative_path_of_a_sample_lies_below_its_manifest(place: str, chain: Path, tmp_path: Path):
    samples = shutil.copytree(chain / "samples", tmp_path / "a" / "samples")
    secret = tmp_path / "secret.mp4"
    shutil.copy(samples / "000000.mp4", secret)
    changed(samples / "manifest.parquet", "path", pa.array([place, "000001.mp4"]))
    (skip,) = open_set(samples).skipped
    assert "does not lie below the manifest's folder" in skip.reason
    done = evaluate("run", chain / "run", samples, *CLIPS, "--metrics", "flicker")
    assert "does not lie below" in done.stdout + done.stderr


def test_the_chain_works_on_copies(run: Path):
    """What the tests above refuse is the change, not the run."""
    for command in ("filter", "export"):
        done = invoke(*COMMANDS[command](run))
        assert done.returncode == 0, done.stderr
