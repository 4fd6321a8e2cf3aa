"""The page over cards, logs and runs that somebody else wrote, or that were damaged: what they say stays text."""

import json
import re
from pathlib import Path

import pytest
from helpers.commands import invoke

from clipmill.evaluate.score_rows import ScoreRow, append

ODD = ("[]", "{", "null", "[" * 100_000, "{}", '{"config": 3, "buckets": [1], "parameters": "many", "counts": ["x"]}')


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A file of scores whose lineage leads to run/, ckpt/ and samples/ beside it."""
    for name in ("run", "ckpt", "samples"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "run.json").write_text('{"counts": {"clips": 2, "kept": 1}, "policy": "p", "command": "c"}')
    (tmp_path / "ckpt" / "card.json").write_text(json.dumps({"run": str(tmp_path / "run"), "config": {"name": "demo"}}))
    (tmp_path / "ckpt" / "log.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n')
    append(tmp_path / "scores.parquet", [row(tmp_path / "run", tmp_path / "samples", tmp_path / "ckpt")])
    return tmp_path / "scores.parquet"


def row(run: Path, samples: Path, checkpoint: Path) -> ScoreRow:
    return ScoreRow(
        metric="fvd",
        title="FVD",
        value=1.0,
        standard_error=0.1,
        unit="",
        real="run",
        fake="samples",
        n_real=2,
        n_fake=2,
        protocol="clipmill v1",
        facts={},
        real_ids="a",
        fake_ids="b",
        real_from={"manifest": str(run / "manifest.parquet")},
        fake_from={"manifest": str(samples / "manifest.parquet"), "checkpoint": str(checkpoint)},
    )


def page_of(scores: Path) -> str:
    out = scores.with_name("page.html")
    done = invoke("evaluate", "report", scores, "--out", out)
    assert done.returncode == 0, done.stderr
    return out.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("name", ["ckpt/card.json", "ckpt/log.jsonl", "run/run.json", "samples/sampling.json"])
def test_a_strange_file_leaves_a_gap(scores: Path, name: str, text: str):
    scores.with_name(name.split("/")[0]).joinpath(name.split("/")[1]).write_text(text)
    assert "From videos to a number" in page_of(scores)


def test_what_a_run_says_becomes_no_style_and_no_link(scores: Path):
    run = scores.parent / "javascript:alert(1)"
    run.mkdir()
    (run / "report.html").write_text("")
    counts = {"clips": "<b>2</b>", "kept": "1; background: url(//elsewhere)", "dropped": 1}
    (run / "run.json").write_text(json.dumps({"counts": counts, "policy": "<script>", "command": "x"}))
    scores.unlink()
    append(scores, [row(run, scores.parent / "samples", scores.parent / "ckpt")])
    page = page_of(scores)
    assert re.findall(r'style="flex: ([^"]*)"', page).count("1") >= 1
    assert all(re.fullmatch(r"\d+", grow) for grow in re.findall(r'style="flex: ([^"]*)"', page))
    assert all(address.startswith("./") for address in re.findall(r'href="([^"]*)"', page))
    assert "elsewhere" not in page
    assert "<script>" not in page
    assert "default-src 'none'" in page
