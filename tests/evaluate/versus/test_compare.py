"""`evaluate compare A B --real R` and `evaluate power`: pairs, rankings, and what is said."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.commands import evaluate, invoke, one_line
from helpers.textures import moving, noisy, write_files

from clipmill.curate.errors import UserError
from clipmill.evaluate.evaluation import Evaluation
from clipmill.evaluate.extraction.measure import Measured, Settings
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.sets import Video, VideoSet, open_set
from clipmill.evaluate.versus import study
from clipmill.evaluate.versus.matching import matched
from clipmill.evaluate.versus.ranking import holm, letters

ALL = {"n_real": 0, "n_fake": 0, "features": "mini"}


def measured(names: list[str], captions: list[str] | None = None, groups: list[str] | None = None, **columns):
    captions = captions or [""] * len(names)
    videos = [
        Video(name, f"key of {name} {captions}", open, caption, columns={k: v[i] for k, v in columns.items()})
        for i, (name, caption) in enumerate(zip(names, captions, strict=True))
    ]
    known = groups or names
    return Measured(names, [v.key for v in videos], np.zeros((len(names), 1), np.float32), groups=known, videos=videos)


NAMES = [f"{k}.mp4" for k in range(8)]


@pytest.mark.parametrize(
    ("a", "b", "how", "units"),
    [
        (measured(NAMES), measured([n.replace("mp4", "mkv") for n in NAMES[::-1]]), "the same names", 8),
        (measured(NAMES, list("abcdefgh")), measured(NAMES, list("hgfedcba")), "the same captions", 8),
        (measured(NAMES, list("aabbccdd")), measured(NAMES, list("aabbccdd")), "the same captions", 4),
        (measured(NAMES, list("aaaaaaaa")), measured(NAMES, list("aaaaaaaa")), "the same names", 8),
        (measured(NAMES, index=range(8)), measured(list("stuvwxyz"), index=range(8)), "the same numbers", 8),
        (measured(NAMES, groups=list("aabbccdd")), measured(NAMES), "the same names", 4),
        (measured(NAMES), measured(list("stuvwxyz")), "as independent sets", 8),
    ],
)
def test_clips_of_two_sets_are_paired_by_what_they_share(a, b, how, units):
    found = matched(a, b)
    assert how in found.how
    assert found.count == units
    assert found.paired == ("independent" not in how)
    assert (len(found.rows_a), len(found.rows_b)) == (8, 8)
    if "names" in how:
        assert [a.clip_ids[i][:1] for i in found.rows_a] == [b.clip_ids[i][:1] for i in found.rows_b]


def test_what_has_no_counterpart_is_left_out_and_counted():
    found = matched(measured(NAMES, list("aaabcdef")), measured(NAMES[:6], list("aabcdx")))
    assert found.left_out == (3, 1)
    assert len(found.rows_a) == len(found.rows_b) == 5
    with pytest.raises(UserError, match="--pair none"):
        matched(measured(NAMES), measured(list("xyz")), "name")
    alone = matched(measured(NAMES), measured(list("xyz")))
    assert (len(alone.rows_a), alone.left_out) == (3, (5, 0))


def test_corrections_and_letters():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    apart = {frozenset(pair): pair in ("ac", "ad", "bd") for pair in ("ab", "ac", "ad", "bc", "bd", "cd")}
    assert letters("abcd", apart) == {"a": "a", "b": "ab", "c": "bc", "d": "c"}
    assert letters("ab", {frozenset("ab"): True}) == {"a": "a", "b": "b"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Sixteen real videos, two sets of mild noise, and one of strong noise."""
    root, real = tmp_path_factory.mktemp("sets"), moving(16, 1, side=32)
    for name, sigma, seed in (("real", 0, 0), ("mild", 8, 1), ("also", 8, 2), ("strong", 60, 3)):
        write_files(root / name, noisy(real, sigma, seed))
    return root


@pytest.fixture(scope="module")
def compared(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "tests.json"
    sets = [folders / name for name in ("strong", "mild", "also")]
    done = evaluate(
        *("compare", *sets, "--real", folders / "real", "--metrics", "kvd,flicker", "--features", "mini"),
        *("--draws", 399, "--out", out, "--cache", out.parent / "cache"),
    )
    return done.stdout, json.loads(out.read_text())


@pytest.mark.slow
def test_a_ranking_says_what_cannot_be_told_apart(compared):
    said, record = compared
    ranks = [line.split()[1:3] for line in said.splitlines() if line.startswith("  3. ")]
    assert ranks[0] == ["b", "strong"]
    assert "corrected for all 6 of them (Holm)" in said
    by_sets = {tuple(t["sets"]): t for t in record["tests"] if t["metric"] == "flicker"}
    assert by_sets["strong", "mild"]["better"] is not None
    assert by_sets["mild", "also"]["better"] is None
    assert by_sets["mild", "also"]["paired"] == "pairs of the same names"
    assert by_sets["strong", "mild"]["p_value"] == pytest.approx(0.005)
    assert by_sets["strong", "mild"]["p_corrected"] == pytest.approx(0.03)
    for test in record["tests"]:
        assert test["difference"] == pytest.approx(test["values"][0] - test["values"][1], rel=1e-9)
        assert test["standard_error"] > 0


@pytest.mark.slow
def test_power_is_told_from_one_set_and_from_two(folders, tmp_path):
    common = ("--real", folders / "real", "--features", "mini", "--cache", tmp_path, "--metrics", "kvd,flicker")
    two = evaluate("power", folders / "mild", folders / "strong", *common, "--difference", 0.01).stdout
    assert "flicker: mild and strong, 16 clips of each, pairs of the same names" in two
    assert two.count("  0.01: ") == 2
    one = evaluate("power", folders / "mild", *common).stdout
    assert "mild and another set like it, 16 clips of each, as independent sets" in one


def test_each_set_is_decoded_once_whatever_is_compared():
    opened = []

    def counted(videos: np.ndarray) -> VideoSet:
        found = open_set(videos)
        return replace(
            found, videos=[replace(v, open=lambda v=v: opened.append(v.key) or v.open()) for v in found.videos]
        )

    real, sets = moving(8, 1), [moving(8, k) for k in (2, 3, 4)]
    first = Evaluation(real, sets[0], load("clipmill", ALL), Settings(), _sets={"real": counted(real)})
    gathered = []
    for one in sets:
        evaluation = first.beside(one)
        evaluation._sets["fake"] = counted(one)
        gathered.append(evaluation.gathered(["kvd", "precision", "flicker"])[0])
        first = evaluation
    results, problems = study.tests(["a", "b", "c"], gathered, study.Settings(draws=19), lambda: None)
    assert (len(results), problems) == (9, {})
    assert len(opened) == len(set(opened)) == 32


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compare", "{0}", "{1}"), "--real REAL"),
        (("compare", "{0}", "--real", "{1}"), "two sets and more"),
        (("compare", "{0}", "{0}", "--real", "{1}", "--features", "mini"), "compared with itself"),
        (("compare", "{0}", "{1}", "--real", "{1}", "--pair", "colour"), "--pair is one of auto, caption"),
        (("compare", "{0}", "{1}", "--metrics", "fvdd"), "no metric called"),
        (("compare", "{0}", "{1}", "--metrics", "flicker", "--pair", "caption"), "no clips of the same captions"),
        (("power", "{0}", "{1}", "{0}", "--real", "{1}"), "one set or two"),
        (("power", "{0}", "--metrics", "flicker", "--difference", "0"), "it is not 0"),
    ],
)
def test_a_mistake_is_one_line(folders, tmp_path, arguments, says):
    words = [word.format(folders / "mild", folders / "strong") for word in arguments]
    one_line(invoke("evaluate", *words, "--cache", tmp_path), says)
