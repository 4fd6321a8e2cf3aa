"""Features on disk: what is damaged is made again and said; what several commands write stays whole."""

import errno
import multiprocessing
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipmill.curate.errors import UserError
from clipmill.evaluate import score
from clipmill.evaluate.extraction import measure as measuring
from clipmill.evaluate.extraction import reference_stats
from clipmill.evaluate.extraction.clips import ClipFacts
from clipmill.evaluate.extraction.measure import Measured, Measurement, Settings, measure
from clipmill.evaluate.extraction.store import FeatureStore, Stored
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.evaluate.report import write_report
from clipmill.evaluate.score_rows import ScoreRow, append, read
from clipmill.evaluate.sets import open_set


def features(keys: str) -> dict[str, Stored]:
    return {k: Stored(np.arange(4, dtype=np.float32) + ord(k), ClipFacts(32, 48, 8.0)) for k in keys}


def damaged(data: bytes) -> dict[str, bytes]:
    """A file that was cut short, that the disk lost, whose bits flipped in head, middle and end, that is another's."""
    flips = {f"flip {at}": data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :] for at in range(0, len(data), 97)}
    return {"empty": b"", "cut": data[: len(data) // 2], "nulls": bytes(len(data)), "longer": data + b"\0"} | flips


def test_damaged_parts_are_made_again_and_said(tmp_path):
    FeatureStore(tmp_path, "f").write(features("ab"))
    (part,) = tmp_path.glob("features/f/*.parquet")
    whole = part.read_bytes()
    FeatureStore(tmp_path, "f").write(features("cd"))
    for how, data in damaged(whole).items():
        part.write_bytes(data)
        said: list[str] = []
        store = FeatureStore(tmp_path, "f", said.append)
        assert sorted(store.read("abcd")) == ["c", "d"], how
        assert len(said) == 1, how
        assert "1 damaged parts" in said[0]
        store.write(features("ab"))
        assert part.read_bytes() == whole
        again = FeatureStore(tmp_path, "f", said.append).read("abcd")
        assert np.array_equal(again["a"].values, features("a")["a"].values)
        assert len(said) == 1, "said once"


def test_parts_kept_by_name_alone_are_not_believed(tmp_path):
    FeatureStore(tmp_path, "f").write(features("ab"))
    (part,) = tmp_path.glob("features/f/*.parquet")
    part.rename(part.with_name(f"{part.stem.partition('-')[0]}.parquet"))
    assert FeatureStore(tmp_path, "f").read("ab") == {}


def test_an_evaluation_goes_on_after_its_features_were_damaged(tmp_path):
    videos = np.random.default_rng(0).integers(0, 255, (3, 8, 32, 32, 3), np.uint8)
    options = {"settings": {"clip_frames": 8, "features": "mini"}, "cache": tmp_path}

    def scored(tell=None) -> float:
        return float(score(["fvd"], videos, 255 - videos, tell=tell, **options)[0])

    before = scored()
    for part in tmp_path.glob("features/*/*.parquet"):
        part.write_bytes(part.read_bytes()[:-20])
    said: list[str] = []
    assert scored(said.append) == before
    assert sum("damaged" in line for line in said) == 1
    assert scored() == before


def row(name: str) -> ScoreRow:
    return ScoreRow("m", "M", 1.0, None, "", "r", name, 1, 1, "p", {}, "", "")


def _append(path: Path, name: str, count: int) -> None:
    for k in range(count):
        append(path, [row(f"{name}{k}")])


def test_two_commands_that_add_to_one_file_lose_no_row(tmp_path):
    path, spawn = tmp_path / "new" / "scores.parquet", multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_append, args=(path, name, 15)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(r.fake for r in read(path)) == sorted(f"{name}{k}" for name in "abc" for k in range(15))
    assert [p.name for p in path.parent.iterdir()] == ["scores.parquet"]


@pytest.mark.parametrize("what", ["scores", "features", "statistics"])
def test_a_write_that_the_disk_refuses_leaves_what_was_there(tmp_path, what):
    refused = {
        "scores": lambda folder: append(folder / "s" / "scores.parquet", [row("b")]),
        "features": lambda folder: FeatureStore(folder, "f").write(features("ab")),
        "statistics": lambda folder: reference_stats.save(folder / "s.npz", measured(), {}),
    }
    append(tmp_path / "s" / "scores.parquet", [row("a")])
    before = (tmp_path / "s" / "scores.parquet").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            refused[what](tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["scores.parquet"]
    assert (tmp_path / "s" / "scores.parquet").read_bytes() == before


def measured() -> Measured:
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    facts = [ClipFacts(32, 48, 8.0)] * 3
    return Measured(list("abc"), ["a#0", "b#0", "c#0"], values, facts=facts, groups=list("abc"))


def test_damaged_statistics_are_one_line_never_other_numbers(tmp_path):
    path = tmp_path / "s.npz"
    reference_stats.save(path, measured(), {"features": "mini"})
    whole = path.read_bytes()
    for how, data in damaged(whole).items():
        path.write_bytes(data)
        found = outcome(path)
        assert found is None or np.array_equal(found.values, measured().values), how
        if not reference_stats.is_stats(path):
            with pytest.raises(UserError):
                open_set(path)


def outcome(path: Path) -> Measured | None:
    """What a file of statistics holds; None where it is said to be damaged, in one line."""
    try:
        return reference_stats.load(path)[0]
    except UserError:
        return None


def test_a_kill_loses_the_work_of_some_seconds_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However slow a network is: here each clip takes longer than may be lost."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (6, 4, 32, 32, 3), np.uint8))
    monkeypatch.setattr(measuring, "_STORE_EVERY_S", 0.0)
    protocol, settings = (
        Protocol("a", 1, clip_frames=4, n_real=0, n_fake=0),
        Settings("cpu", batch=1, workers=1, cache=tmp_path / "cache"),
    )

    def run(dies_at: int) -> int:
        n_measured = 0

        def combine(items: list[np.ndarray]) -> np.ndarray:
            nonlocal n_measured
            n_measured += 1
            if n_measured == dies_at:
                os._exit(9)  # as a kill: nothing is caught, nothing is put away
            return np.stack(items).mean(axis=(1, 2, 3))

        what = Measurement(lambda pixels, fps, video: pixels, combine, "f")
        assert len(measure(open_set(str(tmp_path / "a.npy")), 0, protocol, what, settings).clip_ids) == 6
        return n_measured

    child = multiprocessing.get_context("fork").Process(target=run, args=(5,))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert run(0) == 2, "four of six are there"


def test_a_page_of_several_sets_says_of_which_a_warning_is(tmp_path: Path):
    few = "43 real clips are few"
    append(tmp_path / "one.parquet", [replace(row("a"), warnings=(few,))])
    append(tmp_path / "two.parquet", [replace(row(name), warnings=(few,)) for name in ("a", "b")])
    one, two = (write_report(tmp_path / f"{n}.parquet", tmp_path / f"{n}.html").read_text() for n in ("one", "two"))
    assert f">{few}<" in one
    assert f">FAKE a: {few}<" in two
    assert f">FAKE b: {few}<" in two
