# ruff: noqa: E501 - a table in words
"""Every way in that a stranger's file has, and what is right.

| way in | right | tested in |
|---|---|---|
| conditions (`--where`, `ClipDataset(where=)`, `data.where`) | SQL, one expression, no files, no network | curate/common/test_sql.py |
| `query` of old presets and checkpoints | translated, or refused; never evaluated | curate/common/test_old_conditions.py |
| presets, policies, `--set` | TOML of known keys; nested too deeply: one line | here |
| run.json, card.json, state.json | JSON; nested too deeply, a key gone or of another kind: one line | here, project/test_hostile_json.py |
| export.json | made again where it is none | project/test_hostile_json.py |
| card.json that claims any network | that of its weights' shapes, told before memory is asked for | models/generate/test_hostile_card.py |
| tables of a run | ids, splits, shards that are names of files; columns of the contract's kinds | project/test_hostile_tables.py |
| pictures, npz, npy, lines of tables, JSON of any size | one line before memory is asked for | project/test_bombs.py |
| tables that people open in spreadsheets | the product writes none: no CSV, so nothing that begins with = is a formula | here |
| what waits in `.next-*` of a run | goes nowhere out of the run | here |
| manifest: `shard`, `clip_id`, `split`, `uri` | names below the run, `file:` of this machine; else a skip or one line | here |
| tars | members that lie in them; links, huge and cut ones are skips; compressed ones are refused | here |
| arrays (npy, npz) | never unpickled | here |
| pickles, safetensors, TorchScript, folders of networks | tensors alone; see there | project/test_hostile_weights.py |
| media, playlists, SDP, text as video | the list of `open_av` | curate/video/test_open_av.py |
| texts beside videos | stored as they are; text in Markdown, HTML and on a terminal | here, curate/report/test_report.py |
| plug-ins by name | names of our own files alone | here |
"""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.commands import invoke, one_line

from clipmill.curate import annotators
from clipmill.curate.annotators import annotator_class
from clipmill.curate.common.files import is_bare, is_below, read_json
from clipmill.curate.common.log import visible
from clipmill.curate.common.publish import settle
from clipmill.curate.common.settings import parse_override, read_preset
from clipmill.curate.errors import UserError
from clipmill.curate.formats.card import _as_text
from clipmill.curate.tables.shard_files import check_shards
from clipmill.evaluate.sets import open_set
from clipmill.models.tensor_files import write_tensors

OUT = ("../a.tar", "/etc/passwd", "..", "a/../../b", "", "a\0b")


def test_no_table_for_spreadsheets_is_written():
    """A caption `=cmd(...)` would be a formula in one. Parquet, JSON and text have none; the demo's CSV is our own, and
    that of decisions by hand disarms them (tests/curate/policy/test_by_hand.py).
    """
    root = Path(annotators.__file__).parents[2]
    paths = [path for room in ("curate", "evaluate", "models") for path in (root / room).rglob("*.py")]
    rooms = [path for path in paths if path.parent.name != "demo" and path.name not in ("hand_lists.py", "hand.py")]
    assert len(rooms) > 100
    writers = ("csv.writer", "csv.DictWriter", ".to_csv(", "write_csv(", ".to_excel(")
    assert not [path for path in rooms if any(word in path.read_text() for word in writers)]


def test_names_that_lead_out():
    assert not any(is_below(name) for name in (*OUT, None, 1, b"a"))
    assert is_below("a/b.mp4")
    assert is_bare("a.mp4")
    assert not is_bare("a/b.mp4")


def test_what_waits_in_a_run_stays_in_it(tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    pq.write_table(pa.table({"a": [1]}), run / "manifest.parquet")
    waiting = run / f".next-{hashlib.sha256((run / 'manifest.parquet').read_bytes()).hexdigest()}"
    waiting.mkdir()
    target = str(tmp_path / "absolute").replace("/", "%2F")
    for name in ("..%2Fclimbed", target, "decisions%2Fa.json"):
        (waiting / name).write_text("{}")
    settle(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    assert (run / "decisions" / "a.json").is_file()


@pytest.mark.parametrize("name", ["../secret.tar", "/etc/passwd", "a/b.tar"])
def test_a_shard_lies_in_the_run(name: str, tmp_path: Path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "secret.tar").write_bytes(bytes(2048))
    table = pd.DataFrame({"clip_id": ["c"], "shard": [name], "offset": [512], "size": [10]})
    with pytest.raises(UserError, match="no file of its folder shards"):
        check_shards(tmp_path, table)


@pytest.mark.parametrize(
    "row",
    [
        {"shard": "../../secret.mp4", "offset": 0, "size": 8},
        {"shard": "a.tar", "offset": 0, "size": 1 << 60},
        {"shard": "a.tar", "offset": -8, "size": 8},
        {"uri": "http://127.0.0.1:9/SECRET"},
        {"uri": "file://elsewhere/SECRET"},
    ],
)
def test_a_manifest_reads_nothing_outside(row: dict, tmp_path: Path):
    folder, secret = tmp_path / "set", tmp_path / "secret.mp4"
    (folder / "shards").mkdir(parents=True)
    (folder / "shards" / "a.tar").write_bytes(bytes(64))
    secret.write_bytes(b"private!")
    row = {k: v.replace("SECRET", str(secret)) if isinstance(v, str) else v for k, v in row.items()}
    rest = {"clip_id": "c", "uri": secret.as_uri(), "start_pts": 0, "end_pts": 9} | row
    pq.write_table(pa.Table.from_pylist([rest]), folder / "manifest.parquet")
    with pytest.raises(UserError, match=r"not within|no file of this machine|no name of a file"):
        open_set(str(folder))


def tar_of(path: Path, mode: str = "w", with_huge: bool = False) -> None:
    with tarfile.open(path, mode) as tar:
        for name in ("good.mp4", "../../climbs.mp4"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"mpeg"))
        for kind, name in ((tarfile.SYMTYPE, "soft.mp4"), (tarfile.LNKTYPE, "hard.mp4")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        huge = tarfile.TarInfo("huge.mp4")
        huge.size = 1 << 40
        if with_huge:
            tar.addfile(huge)


def test_a_tar_is_read_within_itself(tmp_path: Path):
    tar_of(tmp_path / "a.tar")
    found = open_set(str(tmp_path / "a.tar"))
    assert sorted(video.video_id for video in found.videos) == ["a/climbs", "a/good"]
    assert sorted(skip.video_id for skip in found.skipped) == ["a/hard", "a/soft"]
    tar_of(tmp_path / "b.tar", "w:gz")
    tar_of(tmp_path / "c.tar", with_huge=True)
    for name in ("b.tar", "c.tar"):
        with pytest.raises(UserError, match="not a readable tar"):
            open_set(str(tmp_path / name))


def test_arrays_are_never_unpickled(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", np.array([{"a": 1}], object), allow_pickle=True)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UserError, match=r"cannot read|holds"):
            open_set(str(tmp_path / name))


def test_what_is_nested_too_deeply_is_one_line(tmp_path: Path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    (tmp_path / "a.toml").write_text("a = " + "[" * 20_000)
    with pytest.raises(UserError, match="cannot read"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError):
        read_preset("clipmill.curate.presets", str(tmp_path / "a.toml"))
    parse_override("a=" + "[" * 20_000)
    one_line(invoke("curate", "filter", tmp_path / "no", "--policy", tmp_path / "a.toml"))


@pytest.mark.parametrize("name", ["../common/files", "os", "clipmill.curate.common.files", "_x", "", "/tmp/evil.py"])
def test_plug_ins_are_our_own_files(name: str):
    assert name not in annotators.names()
    with pytest.raises(UserError):
        annotator_class(name)


@pytest.mark.parametrize(
    "text",
    ["<img src=x onerror=alert(1)>", "[CC](javascript:alert(2))", "![x](http://a/b.png)", "a | b", "`x`", "<!-- x -->"],
)
def test_other_people_s_text_stays_text_in_a_card(text: str):
    shown = _as_text(text)
    assert not set(shown) & set("<>[]`|!:")
    assert _as_text("CC-BY-4.0") == "CC-BY-4.0"


def test_a_terminal_is_told_no_escape_sequences():
    assert visible("\x1b]0;owned\x07 \x9b2J \u202e name\n") == "\\x1b]0;owned\\x07 \\x9b2J \\u202e name\n"
    assert visible("日本 ü\n\tפשוט") == "日本 ü\n\tפשוט"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_tensors_have_the_mode_of_the_umask(umask: int, tmp_path: Path):
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
