"""`curate export --format hf` and `--format folder`: the clips of the shards, byte for byte, in the layouts of other
tools.
"""

import errno
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from clipmill.curate.dataset import ClipDataset
from clipmill.curate.errors import UserError
from clipmill.curate.formats import check_format, write_format
from clipmill.curate.formats.card import _hub_licence
from clipmill.curate.formats.publish import publish
from clipmill.curate.formats.shard_clips import best_caption
from clipmill.curate.policy.decisions import load as load_decisions
from clipmill.curate.tables.run_dir import RunDir

HELD_OUT = "val"


@pytest.fixture
def run(demo_run: Path, tmp_path: Path) -> RunDir:
    """A copy of the demo run that a test may change, some clips of every split captioned by hand, one caption over
    several lines.
    """
    copy = RunDir(tmp_path / "run")
    shutil.copytree(demo_run, copy.root, ignore=shutil.ignore_patterns("curves", "frames"))
    manifest = pd.read_parquet(copy.manifest)
    kept = manifest.index[manifest["keep"]]
    captions = [[] for _ in manifest.index]
    for place in kept[:: len(kept) // 6] if len(kept) > 6 else kept:
        captions[place] = [caption(f"worse {place}", 0.2), caption(f"clip {place}\nin two lines\u2028or three", 0.8)]
    captions[manifest.index[manifest["keep"] & (manifest["split"] == HELD_OUT)][0]] = [caption("held out", 1.0)]
    table = pq.read_table(copy.manifest)
    at = table.column_names.index("captions")
    pq.write_table(
        table.set_column(at, "captions", pa.array(captions, table.schema.field("captions").type)), copy.manifest
    )
    return copy


def caption(text: str | None, weight: float | None, status: str | None = "ok") -> dict:
    return {"source": "model", "model": "m", "text": text, "sample_weight": weight, "status": status}


def packed(run: RunDir) -> dict[str, bytes]:
    """clip id -> bytes, by reading the tars as tars."""
    found = {}
    for path in run.shards.glob("*.tar"):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".mp4"):
                    found[member.name.removesuffix(".mp4")] = archive.extractfile(member).read()
    return found


def kept(run: RunDir) -> pd.DataFrame:
    manifest = pd.read_parquet(run.manifest)
    return manifest[manifest["keep"]].set_index("clip_id")


def test_hf_holds_every_kept_clip_with_its_row(run: RunDir):
    done = write_format(run, "hf")
    assert done.folder == run.root / "export-hf"
    clips, bytes_of, seen = kept(run), packed(run), set()
    for path in done.folder.glob("data/*/metadata.parquet"):
        rows = pd.read_parquet(path)
        assert set(rows["split"]) == {path.parent.name}
        for row in rows.itertuples():
            assert (path.parent / row.file_name).read_bytes() == bytes_of[row.clip_id]
            known = clips.loc[row.clip_id]
            assert (row.motion, row.source, row.split) == (known["motion"], known["relpath"], known["split"])
            assert (row.num_frames, row.width, row.height) == (
                known["export_n_frames"],
                known["export_width"],
                known["export_height"],
            )
            assert (row.text if isinstance(row.text, str) else "") == best_caption(
                known["captions"]
            )  # pandas has NaN for a null
            seen.add(row.clip_id)
    assert seen == set(clips.index)
    assert {p.stem for p in done.folder.glob("data/*/*.mp4")} == seen
    assert done.clips == len(seen)


def test_hf_card_has_the_thresholds_the_funnel_and_the_licences(run: RunDir):
    text = (write_format(run, "hf").folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["size_categories"] == ["n<1K"]
    assert facts["license"] == "other"  # several, and most clips state none
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines() if line.startswith("| ")
    ]
    policy, _, note = load_decisions(run.root, "default")
    assert note["policy_id"] in body
    limits = {row[0].strip("`"): row[1:3] for row in rows if len(row) == 8}
    for filter_ in policy.filters:  # to the last digit: the card is enough to decide again
        exact = [None if v is None else np.float32(v) for v in (filter_.min, filter_.max)]
        assert [np.float32(v) if v else None for v in limits[filter_.column]] == exact
    counts = json.loads(run.run_json.read_text())["counts"]
    assert ["clips kept", str(counts["kept"])] in rows
    assert ["clips dropped by a filter", str(counts["dropped"])] in rows
    stated = kept(run)["license"].fillna("none stated").value_counts()
    assert {row[0]: int(row[1]) for row in rows if row[0] in stated.index and len(row) == 3} == stated.to_dict()
    columns = pd.read_parquet(next(run.root.glob("export-hf/data/*/metadata.parquet"))).columns
    documented = {row[0].strip("`"): row[1] for row in rows if len(row) == 2 and row[0].startswith("`")}
    assert list(documented) == list(columns)
    assert all(len(about) > 3 for about in documented.values())


def test_hf_names_no_path_of_the_machine(run: RunDir):
    folder = write_format(run, "hf").folder
    facts = json.loads(run.run_json.read_text())
    texts = [p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".mp4"]
    texts += [
        json.dumps(pd.read_parquet(p).astype(str).to_dict()).encode() for p in folder.glob("data/*/metadata.parquet")
    ]
    for secret in (*facts["inputs"], str(run.root)):
        assert not any(secret.encode() in text for text in texts), secret


def test_datasets_loads_hf(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets", reason="the package `datasets` is not installed")
    folder = write_format(run, "hf").folder
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    clips, bytes_of = kept(run), packed(run)
    names = {"train": "train", "val": "validation", "test": "test"}
    assert {name: len(part) for name, part in loaded.items()} == {
        names[k]: n for k, n in clips["split"].value_counts().items()
    }
    for part in loaded.values():
        assert isinstance(part.features["video"], datasets.Video)
        for row in part.cast_column("video", datasets.Video(decode=False)):
            assert Path(row["video"]["path"]).read_bytes() == bytes_of[row["clip_id"]]
            assert row["motion"] == clips.loc[row["clip_id"], "motion"]
            assert [c["text"] for c in row["captions"]] == [c["text"] for c in clips.loc[row["clip_id"], "captions"]]


def as_scripts_read(path: Path) -> list[str]:
    """Lines of a list as the training scripts take them: blank ones do not count."""
    with path.open(encoding="utf-8") as file:
        return [line.strip() for line in file.readlines() if line.strip()]


def test_folder_pairs_every_video_with_its_caption(run: RunDir):
    done = write_format(run, "folder")
    clips, bytes_of = kept(run), packed(run)
    captioned = clips[clips["captions"].map(best_caption) != ""]
    assert 0 < len(captioned) < len(clips)
    for root, split in ((done.folder, "train"), (done.folder / HELD_OUT, HELD_OUT)):
        videos, prompts = as_scripts_read(root / "videos.txt"), as_scripts_read(root / "prompts.txt")
        assert len(videos) == len(prompts) > 0
        found = {Path(name).stem: prompt for name, prompt in zip(videos, prompts, strict=True)}
        own = captioned[captioned["split"] == split]
        assert found == {clip_id: best_caption(captions) for clip_id, captions in own["captions"].items()}
        assert all((root / name).read_bytes() == bytes_of[Path(name).stem] for name in videos)
    assert "in two lines or three" in (done.folder / "prompts.txt").read_text()
    assert (done.clips, done.without_caption) == (len(captioned), len(clips) - len(captioned))


def test_folder_without_a_caption_says_so(run: RunDir):
    table = pq.read_table(run.manifest)
    at = table.column_names.index("captions")
    pq.write_table(
        table.set_column(at, "captions", pa.nulls(len(table), table.schema.field("captions").type)), run.manifest
    )
    with pytest.raises(UserError, match="has a caption"):
        write_format(run, "folder")
    assert not list(run.root.glob("*export-folder*"))


@pytest.mark.parametrize("name", ["hf", "folder"])
def test_a_second_call_reads_no_shard_and_a_new_decision_replaces(
    run: RunDir, name: str, monkeypatch: pytest.MonkeyPatch
):
    first = write_format(run, name)
    before = {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(ClipDataset, "read", lambda self, index: pytest.fail("a shard was read again"))
        again = write_format(run, name)
    assert (again.reused, again.clips, again.without_caption) == (True, first.clips, first.without_caption)
    assert again.text.startswith(f"{first.clips} clips in {first.folder} (up to date)")
    assert {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")} == before
    table = pq.read_table(run.manifest)
    gone = next(
        i
        for i, (keep, c) in enumerate(zip(table["keep"].to_pylist(), table["captions"].to_pylist(), strict=True))
        if keep and c
    )
    keep = [value and i != gone for i, value in enumerate(table["keep"].to_pylist())]
    pq.write_table(table.set_column(table.column_names.index("keep"), "keep", pa.array(keep)), run.manifest)
    third = write_format(run, name)
    assert (third.reused, third.clips) == (False, first.clips - 1)
    assert not list(first.folder.rglob(f"{table['clip_id'][gone].as_py()}.mp4"))
    assert list(run.root.glob(".*.partial")) == []


def test_an_interrupted_call_leaves_nothing_visible_and_the_next_goes_on(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    read, asked = ClipDataset.read, []

    def stops(self: ClipDataset, index: int) -> bytes:
        asked.append(index)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return read(self, index)

    monkeypatch.setattr(ClipDataset, "read", stops)
    with pytest.raises(KeyboardInterrupt):
        write_format(run, "hf")
    assert not (run.root / "export-hf").exists()
    done = write_format(run, "hf")
    assert len(asked) == 4 + done.clips - 3  # the three that were written are not read again
    bytes_of = packed(run)
    assert {p.stem: p.read_bytes() for p in done.folder.glob("data/*/*.mp4")} == bytes_of
    assert list(run.root.glob(".*.partial")) == []


def test_mistakes_get_one_line(run: RunDir, tmp_path: Path):
    with pytest.raises(UserError, match="no format 'h5'; there are: hf, folder"):
        check_format("h5", None)
    with pytest.raises(UserError, match="add --format"):
        check_format("", tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for place in (mine, mine / "thesis.txt"):
        with pytest.raises(UserError, match="choose another --out"):
            write_format(run, "hf", place)
    assert (mine / "thesis.txt").read_text() == "years of work"
    with pytest.raises(UserError, match=r"thesis\.txt.*[Nn]ot a directory"):
        write_format(run, "hf", mine / "thesis.txt" / "below")
    shard = sorted(run.shards.glob("train-*.tar"))[0]
    data = bytearray(shard.read_bytes())
    data[2000::97] = bytes(255 - b for b in data[2000::97])
    shard.write_bytes(data)
    with pytest.raises(UserError, match=r"`curate export .*writes the shards again"):
        write_format(run, "hf", tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()
    shard.unlink()
    with pytest.raises(UserError, match="does not hold train-"):
        write_format(run, "hf", tmp_path / "damaged")


def test_without_shards_the_command_to_run_is_named(run: RunDir):
    table = pq.read_table(run.manifest)
    places = pa.nulls(len(table), pa.string())
    pq.write_table(table.set_column(table.column_names.index("shard"), "shard", places), run.manifest)
    with pytest.raises(UserError, match=f"no exported clips: `curate export {run.root}`"):
        write_format(run, "hf")
    run.manifest.unlink()
    with pytest.raises(UserError, match="no finished run"):
        write_format(run, "folder")


def test_a_small_disk_is_noticed_before_anything_is_written(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    free = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("clipmill.curate.formats.publish.shutil.disk_usage", lambda path: free)
    with pytest.raises(UserError, match=r"0\.00 GB free and the clips need"):
        write_format(run, "hf")
    assert not list(run.root.rglob("*.mp4"))


def test_a_disk_that_fills_up_keeps_what_was_written(tmp_path: Path):
    def fill(folder: Path) -> None:
        if (folder / "a").exists():
            return
        (folder / "a").write_text("a")
        raise OSError(errno.ENOSPC, "No space left on device")

    out, state = tmp_path / "out", "0" * 12
    with pytest.raises(UserError, match=r"the disk of .* is full"):
        publish(out, state, 1, 1, fill)
    assert not out.exists()
    assert not publish(out, state, 1, 1, fill)
    assert (out / "a").read_text() == "a"


def test_leftovers_of_other_folders_are_not_touched(tmp_path: Path):
    mine, others = tmp_path / f".out.{'1' * 12}.partial", tmp_path / f".out.b.{'1' * 12}.partial"
    mine.mkdir()
    others.mkdir()
    publish(tmp_path / "out", "2" * 12, 1, 1, lambda folder: None)
    assert not mine.exists()
    assert others.exists()


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ([caption("a", 0.3), caption("b", 0.7)], "b"),
        ([caption("a", 0.5), caption("b", 0.5)], "a"),
        ([caption("a", 0.9), caption("b", None)], "b"),
        ([caption("a", 9.0, "error"), caption(None, 9.0), caption(" \n ", 9.0), caption("c", 0.1, None)], "c"),
        ([caption("never", 0.0)], ""),
        ([caption("one\r\n two\x85three", 1.0)], "one two three"),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_the_best_caption(captions: object, expected: str):
    assert best_caption(captions) == expected


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ([None, " "], "unknown"),
        (["CC BY-SA 4.0", "cc-by-sa-4.0"], "cc-by-sa-4.0"),
        (["CC0-1.0"], "cc0-1.0"),
        (["CC0-1.0", None], "other"),
        (["ask Bob"], "other"),
    ],
)
def test_the_licence_that_a_hub_is_told(licences: list, expected: str):
    assert _hub_licence(licences) == expected
