"""`--where` filters runs, not samples, and rows and output say so."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest
from helpers.commands import evaluate, invoke, one_line

from clipmill.evaluate.score_rows import ScoreRow, read

CLIPS = ("--features", "mini", "--set", "clip_frames=8", "--set", "n_real=0", "--set", "n_fake=0")


@pytest.fixture(scope="module")
def condition(demo_run: Path) -> str:
    """Fits about half of the run's kept clips."""
    manifest = pd.read_parquet(demo_run / "manifest.parquet")
    kept = manifest[manifest["keep"]]
    return f"motion > {kept['motion'].median():.4f} AND width >= 16"


def matching(run: Path, condition: str) -> int:
    manifest = run / "manifest.parquet"
    return len(duckdb.sql(f"SELECT clip_id FROM '{manifest}' WHERE keep AND {condition}").fetchall())


def scored(tmp_path: Path, *arguments: object) -> tuple[list[ScoreRow], str]:
    done = evaluate(*arguments, *CLIPS, "--out", tmp_path / "scores.parquet", "--cache", tmp_path / "cache")
    return read(tmp_path / "scores.parquet"), done.stdout + done.stderr


def test_a_run_is_filtered_and_its_samples_are_not(
    small_training: Path, demo_run: Path, condition: str, tmp_path: Path
):
    samples = small_training / "samples"
    (row,), said = scored(tmp_path, "fvd", demo_run, samples, "--where", condition)
    assert (row.n_real, row.n_fake) == (matching(demo_run, condition), len(list(samples.glob("*.mp4"))))
    assert row.real_from["where"] == condition
    assert "where" not in row.fake_from
    assert f"--where applied to the real set ({demo_run}); not filtered: the fake set ({samples})" in said


def test_two_runs_are_both_filtered(demo_run: Path, condition: str, tmp_path: Path):
    (row,), said = scored(tmp_path, "fvd", demo_run, demo_run / "manifest.parquet", "--where", condition)
    assert row.n_real == row.n_fake == matching(demo_run, condition)
    assert row.real_from["where"] == row.fake_from["where"] == condition
    assert "not filtered" not in said


def test_statistics_are_not_filtered_and_a_scored_run_is(
    small_training: Path, demo_run: Path, condition: str, tmp_path: Path
):
    file = tmp_path / "real.npz"
    evaluate("stats", demo_run, *CLIPS, "--out", file, "--cache", tmp_path / "cache")
    (row,), said = scored(tmp_path, "fvd", file, demo_run, "--where", condition)
    assert row.n_real > row.n_fake == matching(demo_run, condition)
    assert f"--where applied to the fake set ({demo_run}); not filtered: the real set ({file})" in said


@pytest.mark.parametrize(
    ("sets", "condition", "message"),
    [
        (
            ("{run}", "{samples}"),
            "nothing > 1",
            "{run}/manifest.parquet: the condition 'nothing > 1' does not work: there is no column 'nothing'",
        ),
        (("{run}", "{samples}"), "motion > 1e9", "no clip of {run}/manifest.parquet is kept and matches"),
        (("{samples}", "{samples}"), "motion > 0.1", "{samples} holds samples"),
        (("{root}", "{samples}"), "motion > 0.1", "{root} has none, {samples} holds samples"),
    ],
)
def test_a_condition_that_fits_no_set_names_the_set(
    small_training: Path, demo_run: Path, tmp_path: Path, sets: tuple[str, ...], condition: str, message: str
):
    places = {"run": demo_run, "samples": small_training / "samples", "root": tmp_path}
    done = invoke(
        "evaluate", "fvd", *(s.format(**places) for s in sets), *CLIPS, "--where", condition, "--cache", tmp_path
    )
    one_line(done, message.format(**places))
