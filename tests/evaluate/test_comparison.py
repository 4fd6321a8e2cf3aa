"""Scores side by side: best first, repeats once, differences beside their errors."""

import numpy as np
import pytest
from helpers.commands import invoke

from clipmill.evaluate.score_rows import ScoreRow, append


def row(metric: str, value: float, error: float | None, fake: str, **changes) -> ScoreRow:
    facts = {"metric": metric} | changes
    ids = (metric, "", "", "real", fake, 12, 12, "clipmill v1", facts, "r", fake)
    return ScoreRow(ids[0], ids[0], value, error, *ids[2:])


def compared(path, rows, *options) -> list[str]:
    append(path, rows)
    done = invoke("evaluate", "compare", path, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("metric", "best_first"),
    [("psnr", ["inf", "30", "20"]), ("ssim", ["inf", "30", "20"]), ("fvd", ["20", "30", "inf"])],
)
def test_the_best_comes_first(tmp_path, metric, best_first):
    rows = [row(metric, value, 1.0, str(value)) for value in (20.0, np.inf, 30.0)]
    found = compared(tmp_path / "s.parquet", rows)
    assert [line.split()[1] for line in found[1:]] == best_first
    assert ("highest is best" in found[0]) == (metric != "fvd")


def test_what_was_measured_again_is_listed_once(tmp_path):
    rows = [row("fvd", 20.0, 1.0, "a")] * 3 + [row("fvd", 25.0, 1.0, "b")]
    found = compared(tmp_path / "s.parquet", rows)
    assert len(found) == 3
    assert "measured 3 times" in found[1]
    assert "times" not in found[2]


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (22.0, 1.0, "2 ± 1.4 from the first, within the errors"),
        (24.0, 1.0, "4 ± 1.4 from the first, more than the errors explain"),
        (24.0, None, "without error bars"),
        (np.inf, None, "infinite"),
    ],
)
def test_a_difference_stands_beside_its_error(tmp_path, value, error, says):
    found = compared(tmp_path / "s.parquet", [row("fvd", 20.0, 1.0, "a"), row("fvd", value, error, "b")])
    assert says in found[2]


def test_a_forced_order_is_the_metrics_too(tmp_path):
    rows = [row("psnr", 20.0, 1.0, "a", n=1), row("psnr", 30.0, 1.0, "b", n=2)]
    found = compared(tmp_path / "s.parquet", rows, "--force")
    assert [line.split()[1] for line in found[-2:]] == ["30", "20"]


def test_the_page_lists_a_repeated_measurement_once(tmp_path):
    append(tmp_path / "s.parquet", [row("psnr", np.inf, None, "a")] * 3 + [row("psnr", 30.0, 1.0, "b")])
    done = invoke("evaluate", "report", tmp_path / "s.parquet")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert page.count("measured 3 times") == 1
    assert page.count('<td class="number">infinite</td>') == 2, "as a score, and in the table of the sets"
    assert "playing" not in page, "there are no videos"
