"""Costs follow from rates, whatever they come from."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.commands import curate, invoke, one_line

from clipmill.curate.costs.estimate import costs_of
from clipmill.curate.costs.rates import Rates, rates_of
from clipmill.curate.tables.buckets import digits_for


def by_name(clips: float, rates: Rates) -> dict:
    return {cost.what: cost for cost in costs_of(clips, rates)}


def test_costs_are_rates_times_clips_and_only_pairs_grow_faster():
    rates = rates_of(None, None, ["cpu_s.decode=0.36", "gpu_s.clip=0.036", "kept=0.5", "cpu_hour=2", "gpu_hour=3"])
    small, large = by_name(1e6, rates), by_name(1e7, rates)
    assert small["decode"].cpu_h == pytest.approx(100)
    assert small["decode"].dollars == pytest.approx(200)
    assert small["clip"].dollars == pytest.approx(30)
    assert small["export"].stored_bytes == pytest.approx(0.5e6 * 571e3)
    assert large["decode"].cpu_h == pytest.approx(10 * small["decode"].cpu_h)
    assert large["near duplicates"].cpu_h == pytest.approx(100 * small["near duplicates"].cpu_h)
    for costs in (small, large):
        for name in ("cpu_h", "gpu_h", "stored_bytes", "objects", "dollars"):
            stages = sum(getattr(cost, name) for what, cost in costs.items() if what != "all")
            assert getattr(costs["all"], name) == pytest.approx(stages)


def test_objects_are_those_of_compacted_tables():
    assert digits_for(50_000, 400) == 2
    tables = by_name(1e6, Rates())["tables"]
    assert tables.objects == 10 * 16**2 < 5000


def test_the_command_says_what_it_does_not_count():
    done = curate("estimate", "--hours", "1500", "--set", "clip_s=5.4", "--set", "join_cpu_s=1e-4")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("1,000,000 clips of 5.4 s: 1,500 h")
    assert "export_cpu_s" in lines[-1]
    assert "join_cpu_s" not in lines[-1]


def test_rates_of_a_run_and_of_a_file(tiny_run: Path, tmp_path: Path):
    facts = json.loads((tiny_run / "run.json").read_text())
    rates = rates_of(tiny_run, None, [])
    assert rates.cpu_s["decode"] == pytest.approx(
        facts["processed"]["stage_seconds"]["decode"] / facts["counts"]["clips"]
    )
    assert rates.shard_bytes > 0
    file = tmp_path / "rates.toml"
    file.write_text("kept = 0.25\n[cpu_s]\ndecode = 1.0\n")
    changed = rates_of(tiny_run, file, [])
    assert (changed.kept, changed.cpu_s["decode"], changed.cpu_s["motion"]) == (0.25, 1.0, rates.cpu_s["motion"])
    shutil.copytree(tiny_run, tmp_path / "run")
    facts["processed"]["videos"] = 0
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    one_line(invoke("curate", "estimate", "--clips", "10", "--run", tmp_path / "run"), "did not process all")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--clips or --hours"),
        (("--clips", "1e6", "--hours", "1"), "--clips or --hours"),
        (("--clips", "many"), "many"),
        (("--clips", "-1"), "above 0"),
        (("--clips", "1", "--set", "kep=1"), "did you mean 'kept'"),
        (("--clips", "1", "--set", "kept=x"), "kept is a number"),
        (("--clips", "1", "--set", "cpu_s=1"), "for each stage"),
        (("--clips", "1", "--rates", "absent.toml"), "absent.toml"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], says: str):
    one_line(invoke("curate", "estimate", *words), says)
