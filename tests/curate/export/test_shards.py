"""Shards and training reads: same bytes for the same clips, read back by webdataset and at random, resumed by one
integer.
"""

import hashlib
import itertools
import json
import re
import shutil
import tarfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import webdataset
from helpers.barcode import clip_row, read, video_row, write_video
from torch.utils.data import DataLoader

from clipmill.curate.contract.schema import INDEX, SHARDS
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.export.encode import EncodedClip, encode_clips
from clipmill.curate.export.old_shards import remove_old_shards
from clipmill.curate.export.shards import ClipDataset, Draw, ResumableSampler, Sample, leave_at_once, write_shards
from clipmill.curate.export.stream_copy import copy_clip
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.tables.run_dir import RunDir

CONFIG = ExportConfig(fps=None, short_side_px=90, preset="ultrafast", shard_clips=4)
N_CLIPS = 12
LENGTH = 40


@pytest.fixture(scope="module")
def encoded(tmp_path_factory) -> list[EncodedClip]:
    """Twelve clips of 40 frames of one bar-coded video: clip i begins with frame 40 i."""
    folder = tmp_path_factory.mktemp("clips")
    path = write_video(
        folder / "source.mp4",
        [i * 512 for i in range(N_CLIPS * LENGTH)],
        Fraction(1, 15360),
        size=(160, 90),
        preset="ultrafast",
    )
    video, pts = video_row(path)
    clips = [clip_row(video, pts, i * LENGTH, (i + 1) * LENGTH) for i in range(N_CLIPS)]
    return [done for done in encode_clips(path, video, clips, CONFIG, folder) if isinstance(done, EncodedClip)]


def samples(encoded: list[EncodedClip]) -> list[Sample]:
    return [
        Sample(clip, "val" if i % 6 == 5 else "train", {"video_id": "v", "caption": None if i else "größer"})
        for i, clip in enumerate(encoded)
    ]


@pytest.fixture(scope="module")
def run(encoded, tmp_path_factory) -> Path:
    """A run directory with shards and the manifest columns that training reads."""
    root = tmp_path_factory.mktemp("run")
    tables = write_shards(samples(encoded), root / "shards", CONFIG, "p" * 64)
    manifest = tables.index.to_pandas().sort_values("clip_id")
    first = {clip.clip_id: i * LENGTH for i, clip in enumerate(encoded)}
    manifest["first_frame"] = manifest["clip_id"].map(first)
    captions = [
        {"source": "sidecar", "model": None, "text": "often", "sample_weight": 0.75, "status": "ok"},
        {"source": "model", "model": "m", "text": "seldom", "sample_weight": 0.25, "status": "ok"},
        {"source": "model", "model": "m", "text": "never", "sample_weight": 9.0, "status": "error"},
    ]
    manifest["captions"] = [captions if i else None for i in range(len(manifest))]
    not_exported = pd.DataFrame([{"clip_id": "f" * 32, "split": "train"}])
    pa.parquet.write_table(pa.Table.from_pandas(pd.concat([manifest, not_exported])), root / "manifest.parquet")
    return root


def test_tables_follow_the_contract_and_point_at_the_bytes(encoded, tmp_path):
    tables = write_shards(samples(encoded), tmp_path / "shards", CONFIG, "p" * 64)
    assert tables.shards.schema == SHARDS
    assert tables.index.schema == INDEX
    shards = tables.shards.to_pylist()
    content = shards[0]["shard"].split("-")[1]
    assert re.fullmatch("[0-9a-f]{12}", content)
    names = ("train", 0), ("train", 1), ("train", 2), ("val", 0)
    assert [s["shard"] for s in shards] == [f"{split}-{content}-{number:06d}.tar" for split, number in names]
    assert [s["n_clips"] for s in shards] == [4, 4, 2, 2]
    assert {(s["width"], s["height"], s["fps"], s["codec"]) for s in shards} == {(160, 90, 30.0, "h264")}
    for shard in shards:
        data = (tmp_path / shard["uri"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (shard["sha256"], shard["size_bytes"])
        assert shard["total_duration_s"] == pytest.approx(shard["total_frames"] / 30)
    by_id = {clip.clip_id: clip for clip in encoded}
    for row in tables.index.to_pylist():
        with (tmp_path / "shards" / row["shard"]).open("rb") as file:
            file.seek(row["offset"])
            assert file.read(row["size"]) == by_id[row["clip_id"]].path.read_bytes()
    assert sum(s["n_clips"] for s in shards) == len(set(tables.index["clip_id"].to_pylist())) == N_CLIPS


def test_same_clips_same_bytes_in_any_order(encoded, tmp_path):
    forward = write_shards(samples(encoded), tmp_path / "a" / "shards", CONFIG)
    backward = write_shards(samples(encoded)[::-1], tmp_path / "b" / "shards", CONFIG)
    assert forward.shards.equals(backward.shards)
    assert forward.index.equals(backward.index)
    assert all(
        p.read_bytes() == (tmp_path / "b" / "shards" / p.name).read_bytes()
        for p in (tmp_path / "a" / "shards").iterdir()
    )


def test_tar_members_carry_nothing_of_the_machine(run):
    for path in (run / "shards").glob("*.tar"):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
            (0, 0, 0, "clipmill", "clipmill", 0o444)
        }
        stems = [Path(m.name).stem for m in members]
        assert stems[::2] == stems[1::2]
        assert [hashlib.sha256(f"shuffle:{s}".encode()).hexdigest() for s in stems[::2]] == sorted(
            hashlib.sha256(f"shuffle:{s}".encode()).hexdigest() for s in stems[::2]
        )


def test_webdataset_reads_them(run, encoded):
    by_id = {clip.clip_id: clip for clip in encoded}
    urls = sorted(str(p) for p in (run / "shards").glob("*.tar"))
    found = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert {s["__key__"] for s in found} == set(by_id)
    meta = [json.loads(s["json"]) for s in found]
    assert len({tuple(m) for m in meta}) == 1
    assert list(meta[0]) == sorted(meta[0])
    assert sorted(m["caption"] for m in meta if m["caption"] is not None) == ["größer"]
    for sample, m in zip(found, meta, strict=True):
        assert sample["mp4"] == by_id[sample["__key__"]].path.read_bytes()
        assert (m["clip_id"], m["n_frames"], m["fps"]) == (sample["__key__"], LENGTH, [30, 1])


def test_a_shard_closes_before_it_is_too_large(encoded, tmp_path):
    limit = 40_000
    tables = write_shards(samples(encoded), tmp_path, replace(CONFIG, shard_clips=1000, shard_bytes=limit))
    sizes = tables.shards["size_bytes"].to_pylist()
    assert len(sizes) > 2
    assert max(sizes) <= limit + tarfile.RECORDSIZE


def test_shards_of_an_earlier_export_do_not_linger(encoded, tmp_path):
    run = RunDir(tmp_path)
    write_shards(samples(encoded), run.shards, CONFIG)
    (run.shards / "train-000001.tar").write_bytes(b"as they were named before")
    (run.shards / "train-000001.tar.77.tmp").write_bytes(b"killed here")
    (run.shards / "notes.txt").write_text("mine")
    tables = write_shards(samples(encoded)[:3], run.shards, CONFIG)
    pa.parquet.write_table(tables.shards, tmp_path / "shards.parquet")
    assert remove_old_shards(run)
    assert sorted(p.name for p in run.shards.iterdir()) == ["notes.txt", *tables.shards["shard"].to_pylist()]
    assert tables.shards["n_clips"].to_pylist() == [3]


def test_other_clips_never_come_under_an_old_name(encoded, tmp_path):
    """A reader that has the old manifest open finds the old bytes, or no file."""
    names = set()
    for some in (samples(encoded), samples(encoded)[:5], [replace(s, meta={}) for s in samples(encoded)]):
        found = set(write_shards(some, tmp_path, CONFIG).shards["shard"].to_pylist())
        assert not names & found
        names |= found


def test_old_shards_stay_while_a_data_set_reads_them(encoded, run, tmp_path):
    copy = RunDir(shutil.copytree(run, tmp_path / "run"))
    clips = ClipDataset(copy.root)
    pa.parquet.write_table(write_shards(samples(encoded)[:3], copy.shards, CONFIG).shards, copy.root / "shards.parquet")
    assert not remove_old_shards(copy)
    assert len({clips[i]["clip_id"] for i in range(len(clips))}) == N_CLIPS
    del clips
    assert remove_old_shards(copy)
    assert len(list(copy.shards.glob("*.tar"))) == 1


def test_no_clips_no_shards(tmp_path):
    tables = write_shards([], tmp_path / "shards", CONFIG)
    assert (len(tables.shards), len(tables.index)) == (0, 0)


def test_a_clip_that_changed_is_not_packed(encoded, tmp_path):
    other = tmp_path / f"{encoded[0].clip_id}.mp4"
    other.write_bytes(encoded[1].path.read_bytes())
    with pytest.raises(UserError, match="changed"):
        write_shards([Sample(replace(encoded[0], path=other), "train", {})], tmp_path / "shards", CONFIG)
    assert list((tmp_path / "shards").iterdir()) == []


def frames_of(item: dict) -> list[int]:
    return [read(picture.permute(1, 2, 0).numpy()) for picture in item["video"]]


def test_whole_clips(run):
    data = ClipDataset(run, "split = 'val'", columns=["first_frame"], verify=True)
    assert (len(data), data.n_not_exported, data.n_too_short) == (2, 0, 0)
    for item in (data[0], data[1]):
        assert item["video"].shape == (LENGTH, 3, 90, 160)
        assert item["video"].dtype == torch.uint8
        assert item["fps"] == 30
        assert frames_of(item) == list(range(int(item["first_frame"]), int(item["first_frame"]) + LENGTH))


def test_windows_are_where_they_say_and_differ_by_epoch(run):
    data = ClipDataset(run, n_frames=5, stride=3, seed=11, columns=["first_frame"])
    assert data.n_not_exported == 1
    starts = []
    for index, epoch in itertools.product(range(3), range(4)):
        item = data[Draw(index, epoch)]
        begin = int(item["first_frame"]) + item["start_frame"]
        assert frames_of(item) == list(range(begin, begin + 13, 3))
        assert item["fps"] == 10
        starts.append(item["start_frame"])
    assert len(set(starts)) > 6
    assert max(starts) <= LENGTH - 13


def test_draws_depend_on_the_clip_not_on_the_condition(run):
    everything = ClipDataset(run, n_frames=4, seed=3)
    some = ClipDataset(run, "split = 'val'", n_frames=4, seed=3)
    everywhere = {everything[i]["clip_id"]: everything[i] for i in range(len(everything))}
    for i in range(len(some)):
        item = some[i]
        assert torch.equal(item["video"], everywhere[item["clip_id"]]["video"])
        assert item["caption"] == everywhere[item["clip_id"]]["caption"]


def test_a_condition_asks_the_run_or_the_table_that_is_given(run):
    manifest = pd.read_parquet(run / "manifest.parquet")
    where = "keep AND split = 'train' AND len(captions) > 0"
    keep = manifest["clip_id"].rank().mod(3).map({0: True, 1: False, 2: None}).astype(object)
    table = manifest.assign(keep=keep)
    data = ClipDataset(run, where, table=table)
    expected = table[(table["keep"] == True) & (table["split"] == "train") & table["captions"].notna()]  # noqa: E712
    assert list(data.table["clip_id"]) == list(expected["clip_id"])
    assert 0 < len(data) < N_CLIPS
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    assert list(ClipDataset(run, where, table=arrow).table["clip_id"]) == list(data.table["clip_id"])


def test_captions_come_by_their_weight(run):
    data = ClipDataset(run, n_frames=1)
    captions = [data[Draw(1, epoch)]["caption"] for epoch in range(120)]
    assert set(captions) == {"often", "seldom"}
    assert 0.65 < captions.count("often") / 120 < 0.85
    assert data[0]["caption"] == ""


def test_too_short_clips_are_counted_and_nothing_left_is_an_error(run):
    table = pd.read_parquet(run / "manifest.parquet")
    table.loc[table.index[:3], "export_n_frames"] = 8
    assert ClipDataset(run, table=table, n_frames=20).n_too_short == 3
    with pytest.raises(UserError, match="12 too short"):
        ClipDataset(run, n_frames=LENGTH + 1)


def test_a_stride_that_spans_the_clip_exactly(run):
    item = ClipDataset(run, n_frames=14, stride=3)[0]
    assert (item["start_frame"], len(item["video"])) == (0, 14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"where": "spllit = 'val'"}, "does not work: there is no column 'spllit'; did you mean 'split'"),
        ({"where": "@__import__('os').getcwd() != ''"}, "does not work"),
        (
            {"query": "keep and split == 'train'"},
            r"""no query=: write where="keep AND split = 'train'"$""",
        ),
        ({"query": "split.str.contains('t')"}, "conditions are SQL now"),
        ({"columns": ["motion"]}, "motion"),
        ({"stride": 0}, "at least 1"),
        ({"where": "split = 'x'"}, "no clip"),
    ],
)
def test_mistakes_get_one_line(run, arguments, message):
    with pytest.raises(UserError, match=message):
        ClipDataset(run, **arguments)


def test_no_manifest_and_not_exported(tmp_path):
    with pytest.raises(UserError, match=r"manifest\.parquet"):
        ClipDataset(tmp_path)
    with pytest.raises(UserError, match="curate export"):
        ClipDataset(tmp_path, table=pd.DataFrame({"clip_id": ["a"]}))


def test_a_shard_that_changed_is_noticed(run, tmp_path):
    """Bytes within the clips are told by their hash, which `verify` asks for."""
    copy = shutil.copytree(run, tmp_path / "run")
    table = pd.read_parquet(copy / "manifest.parquet")
    for row in table.dropna(subset="shard").itertuples():
        with (copy / "shards" / row.shard).open("r+b") as file:
            file.seek(int(row.offset) + 200)
            file.write(b"changed")
    broken = ClipDataset(copy, verify=True)
    for i in range(len(broken)):
        with pytest.raises(DecodeError, match=f"as the manifest says: `curate export {copy}`"):
            broken.read(i)


@pytest.mark.parametrize("how", ["other clips", "cut short", "longer", "lost"])
def test_shards_of_another_set_are_refused_without_reading_them(run, tmp_path, how):
    """Seen on the code before: with tars of another export most clips did not decode, and some were other clips."""
    copy = shutil.copytree(run, tmp_path / "run")
    shards = sorted((copy / "shards").glob("train-*.tar"))
    index = pd.read_parquet(copy / "manifest.parquet").dropna(subset="shard")
    sizes = [{"shard": path.name, "size_bytes": path.stat().st_size} for path in (copy / "shards").glob("*.tar")]
    pa.parquet.write_table(pa.Table.from_pylist(sizes), copy / "shards.parquet")
    assert len(ClipDataset(copy)) == len(index)
    if how == "other clips":
        one, other = (path.read_bytes() for path in shards[:2])
        size = max(len(one), len(other))
        shards[0].write_bytes(other.ljust(size, b"\0")[: len(one)].ljust(len(one), b"\0"))
    elif how == "cut short":
        shards[0].write_bytes(shards[0].read_bytes()[:-512])
    elif how == "longer":
        shards[0].write_bytes(shards[0].read_bytes() + bytes(512))
    else:
        shards[0].unlink()
    with pytest.raises(UserError, match=f"{shards[0].name}.*: `curate export {copy}` writes the shards again"):
        ClipDataset(copy)
    assert len(ClipDataset(copy, "split = 'val'")) == 2


def test_a_clip_in_the_middle_of_a_shard_is_checked_when_it_is_read(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    table = pd.read_parquet(copy / "manifest.parquet").dropna(subset="shard").sort_values(["shard", "offset"])
    row = table[table["split"] == "train"].iloc[1]
    with (copy / "shards" / row["shard"]).open("r+b") as file:
        file.seek(int(row["offset"]) - 512)
        file.write(b"0" * 32)
    clips = ClipDataset(copy)
    with pytest.raises(DecodeError, match=f"does not hold clip {row['clip_id']} as the manifest says"):
        clips.read(clips.table["clip_id"].tolist().index(row["clip_id"]))


def test_many_shards_keep_few_files_open(run, monkeypatch):
    monkeypatch.setattr("clipmill.curate.dataset._MAX_OPEN_SHARDS", 2)
    data = ClipDataset(run)
    for _ in range(3):
        for i in range(len(data)):
            data.read(i)
            assert len(data._files._open) <= 2


def test_copied_clips_with_b_frames_are_read_frame_exactly(tmp_path):
    path = write_video(
        tmp_path / "a.mkv",
        list(range(100)),
        Fraction(1, 25),
        "libx264",
        (160, 90),
        **{"x264-params": "open-gop=1:bframes=3"},
    )
    video, pts = video_row(path)
    copy = copy_clip(path, video, clip_row(video, pts, 10, 90), tmp_path / "copy.mp4")
    begin = pts.index(clip_row(video, pts, 10, 90)["keyframe_start_pts"])
    tables = write_shards([Sample(copy, "train", {})], tmp_path / "shards", CONFIG)
    data = ClipDataset(tmp_path, table=tables.index.to_pandas(), n_frames=6, stride=2)
    for epoch in range(8):
        item = data[Draw(0, epoch)]
        first = begin + item["start_frame"]
        assert frames_of(item) == list(range(first, first + 12, 2))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("stop", [0, 1, 7, 23, 24, 100])
def test_sampler_resumes_from_one_integer(world, stop):
    def draw(start: int, world: int, steps: int) -> list[tuple[int, int]]:
        ranks = [itertools.islice(ResumableSampler(23, 5, start, rank, world), steps) for rank in range(world)]
        return [(int(d), d.epoch) for step in zip(*ranks, strict=True) for d in step]

    whole = draw(0, 1, 300)
    assert draw(stop, world, 40) == whole[stop : stop + 40 * world]
    assert all(sorted(i for i, e in whole if e == epoch) == list(range(23)) for epoch in range(12))
    assert [i for i, e in whole if e == 0] != [i for i, e in whole if e == 1]


@pytest.mark.slow
def test_loader_workers_give_the_same_items_and_resume(run):
    """Spawned workers, stopped after 3 batches: the rest is what an uninterrupted run without workers gives."""
    data = ClipDataset(run, n_frames=3, seed=2)
    data[0]  # open a shard in this process: the workers must not inherit it

    def batches(start: int, n: int, workers: int) -> list[dict]:
        sampler = ResumableSampler(len(data), seed=9, start=start)
        context = "spawn" if workers else None
        options = {"multiprocessing_context": context, "worker_init_fn": leave_at_once}
        loader = DataLoader(data, batch_size=4, sampler=sampler, num_workers=workers, **options)
        return list(itertools.islice(loader, n))

    whole = batches(0, 7, 0)
    resumed = batches(3 * 4, 4, 2)
    for one, other in zip(whole[3:], resumed, strict=True):
        assert one["clip_id"] == other["clip_id"]
        assert one["caption"] == other["caption"]
        assert torch.equal(one["video"], other["video"])


def test_sampler_refuses_the_impossible():
    for arguments in (
        {"n": 0, "seed": 0},
        {"n": 3, "seed": 0, "rank": 2, "world": 2},
        {"n": 3, "seed": 0, "start": -1},
    ):
        with pytest.raises(ValueError, match="need n"):
            ResumableSampler(**arguments)
    assert np.isclose(float(Draw(3, 1)), 3)
