"""Decisions by hand through the commands: lists, CSV, corrected captions, saved policies."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import contents, curate, invoke, one_line

from clipmill.curate.dataset import pick_caption
from clipmill.curate.formats.shard_clips import best_caption
from clipmill.curate.policy.by_hand import Word, read_words, say_words


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    return shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("shards"))


def manifest(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "manifest.parquet")


def test_lists_of_clips_decide_and_say_so(run, tmp_path):
    ids = list(manifest(run)["clip_id"])
    (tmp_path / "in.txt").write_text("# mine\nclip_id\n" + ids[0] + ", because\n\n")
    (tmp_path / "out.txt").write_text("\n".join(ids[1:3]))
    said = curate(
        "filter", run, "--set", "motion.min=1000", "--include", tmp_path / "in.txt", "--exclude", tmp_path / "out.txt"
    ).stdout
    assert "1 clips of the lists are kept, 2 dropped" in said
    after = manifest(run).set_index("clip_id")
    assert list(after.index[after["keep"]]) == [ids[0]]
    assert list(after.loc[ids[1], "failed_filters"]) == ["motion", "by_hand"]
    assert read_words(run)[ids[1]].note == "from out.txt"


def test_a_wrong_list_changes_nothing(run, tmp_path):
    clip, before = manifest(run)["clip_id"][0], contents(run)
    (tmp_path / "strange.txt").write_text("nothing\n")
    (tmp_path / "mine.txt").write_text(f"{clip}\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    one_line(invoke("curate", "filter", run, "--include", tmp_path / "strange.txt"), "no clip 'nothing'")
    mine = tmp_path / "mine.txt"
    one_line(invoke("curate", "filter", run, "--include", mine, "--exclude", mine), "included, too")
    one_line(invoke("curate", "filter", run, "--include", tmp_path / "bytes.txt"), "UTF-8")
    assert contents(run) == before


def test_a_csv_brings_every_decision_to_another_copy(run, tiny_run, tmp_path):
    ids = list(manifest(run)["clip_id"])
    notes = ['"quoted", with a comma', "two\nlines", "=1+1", "'=1+1", "-"]
    say_words(run, [Word(clip, "drop", note, who="ann") for clip, note in zip(ids, notes, strict=False)])
    say_words(run, [Word(ids[5], None, None, "A caption.")])
    curate("hand", run, "--to", tmp_path / "all.csv")
    other = shutil.copytree(tiny_run, tmp_path / "other", ignore=shutil.ignore_patterns("shards"))
    cells = [cell for row in csv.reader((tmp_path / "all.csv").read_text().splitlines()) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "-"))], "no formula for a spreadsheet"
    assert "6 decisions taken over" in curate("hand", other, "--from", tmp_path / "all.csv").stdout
    assert read_words(other).keys() == read_words(run).keys()
    for clip, word in read_words(run).items():
        taken = read_words(other)[clip]
        assert (taken.verdict, taken.note, taken.caption, taken.when) == (
            word.verdict, word.note, word.caption, word.when,
        )  # fmt: skip
    assert read_words(other)[ids[0]].who == "ann"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clip,verdict\nx,keep\n", "no column clip_id"),
        ("clip_id,verdict\nx,perhaps\n", "line 2: clip x: 'perhaps' is no verdict"),
        ("clip_id,when\nx,yesterday\n", "no time"),
        ("clip_id,verdict\n,keep\n", "no clip_id"),
    ],
)
def test_a_wrong_csv_is_one_line(run, tmp_path, text, says):
    (tmp_path / "wrong.csv").write_text(text)
    one_line(invoke("curate", "hand", run, "--from", tmp_path / "wrong.csv"), says)
    assert not read_words(run)


def test_a_corrected_caption_is_what_training_reads_and_goes_without_a_trace(run):
    before = manifest(run)
    clip = before["clip_id"][4]
    say_words(run, [Word(clip, caption="What it really shows.")])
    curate("filter", run)
    captions = manifest(run).set_index("clip_id")["captions"]
    assert {pick_caption(captions[clip], np.random.default_rng(i)) for i in range(20)} == {"What it really shows."}
    assert best_caption(captions[clip]) == "What it really shows."
    others = [c for c in before["clip_id"] if c != clip]
    assert [list(captions[c]) for c in others] == [list(c) for c in before.set_index("clip_id").loc[others, "captions"]]
    say_words(run, [Word(clip)])
    curate("filter", run)
    assert [list(c) for c in manifest(run)["captions"]] == [list(c) for c in before["captions"]]


def test_saved_decisions_become_the_policy_on_request(run):
    curate("filter", run, "--set", "motion.min=1000", "--name", "nothing")
    assert not manifest(run)["keep"].any()
    curate("filter", run)
    assert manifest(run)["keep"].all()
    assert "policy nothing decides the run from now on" in curate("use", run, "nothing").stdout
    assert not manifest(run)["keep"].any()
    one_line(invoke("curate", "use", run, "nothin"), "did you mean 'nothing'?")
    one_line(invoke("curate", "filter", run, "--name", "hand"), "take another name")
