"""A split that a policy emptied, and videos that changed sides, are said."""

from pathlib import Path

import pandas as pd
from helpers.commands import invoke
from helpers.tiny_videos import quick, write_tiny

from clipmill.curate.duplicates.split_changes import changed_sides, without_kept

HALVES = {"train": 0.5, "val": 0.5}


def clips(*rows: tuple[str, str, bool]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["video_id", "split", "keep"])
    return table.assign(relpath=table["video_id"] + ".mp4")


def test_a_split_without_a_kept_clip_is_named():
    emptied = clips(("a", "train", True), ("b", "val", False), ("c", "val", False))
    (line,) = without_kept(emptied, HALVES)
    assert line.startswith("split 'val' has no kept clip: the policy keeps none of its 2;")
    assert without_kept(emptied, {"train": 1.0}) == []  # never asked for
    assert without_kept(clips(("a", "train", True), ("b", "val", True)), HALVES) == []
    assert without_kept(clips(("a", "train", False), ("b", "val", False)), HALVES) == []  # nothing is kept anywhere


def test_videos_that_changed_sides_are_counted_each_way():
    before = clips(("a", "val", True), ("a", "val", True), ("b", "train", True), ("gone", "val", True))
    now = clips(("a", "train", True), ("a", "train", True), ("b", "train", True), ("new", "val", True))
    (line,) = changed_sides(before, now)
    assert line.startswith("1 video was in split 'val' and is in 'train' now, for example a.mp4:")
    assert changed_sides(before, before) == []
    both = clips(("a", "train", True), ("b", "val", True))
    assert [line[:31] for line in changed_sides(before, both)] == [
        "1 video was in split 'train' an",
        "1 video was in split 'val' and ",
    ]


def test_run_and_filter_say_what_became_of_the_splits(tmp_path: Path):
    videos, out = tmp_path / "in", tmp_path / "run"
    for number in range(8):
        write_tiny(videos / f"{number}.mp4", number, steps=(1 + number,))
    options = ("--out", out, "--no-export", *quick())
    first = invoke("curate", "run", videos, *options)
    assert first.returncode == 0, first.stderr
    table = pd.read_parquet(out / "manifest.parquet")
    held_out = table[table["split"] == "val"]
    assert 0 < len(held_out) < len(table)

    limit = held_out["motion"].min() * 0.999
    assert (table["motion"] < limit).any()  # else the choice of videos above is none for this test
    said = invoke("curate", "filter", out, "--set", f"motion.max={limit}").stdout
    assert f"split 'val' has no kept clip: the policy keeps none of its {len(held_out)};" in said

    again = invoke("curate", "run", videos, *options, "--set", "export.split={train=0.5,val=0.5}").stdout
    assert " in split 'train' and " in again
    assert "compare no model that was trained on the earlier split" in again


def test_a_run_without_clips_has_no_splits_to_speak_of(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.mp4").write_bytes(b"\x00" * 100)
    done = invoke("curate", "run", tmp_path / "in", "--out", tmp_path / "run", "--no-export", *quick())
    assert done.returncode == 0, done.stderr
    assert "0 clips" in done.stdout
