"""benchmarks/gpu.py: that it goes on running without a GPU, and that what it lists is what it needs."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import _gpu_table  # noqa: E402
import _gpu_wheels  # noqa: E402
import gpu  # noqa: E402

# What a bare machine lacks, and no part may import.
ABSENT = ("pyarrow", "pandas", "duckdb", "av", "cv2", "scipy", "typer", "rich")


@pytest.fixture
def pools(tmp_path) -> Path:
    """A file as `gpu.py pools` writes it, of moving noise."""
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 256, (6, 16, 64, 64, 3), dtype=np.uint8)
    settings = ["data.sizes=['64x64']", "data.frames=[16]", "backbone.options.depth=2"]
    real = rng.random((2, 12, 128)).astype(np.float32)
    path = tmp_path / "pools.npz"
    stored = np.diff(windows, axis=1, prepend=np.uint8(0))
    np.savez_compressed(path, windows=stored, change=np.array([50.0, 50.0]), settings=json.dumps(settings),
                        pool_A=np.arange(6), pool_B=np.arange(3), real_0=real[0], real_1=real[1])  # fmt: skip
    return path


# In a process of its own, where nothing may be imported that a bare machine lacks: also not within a function.
EVERY_PART = f"""
import json, sys
sys.modules.update(dict.fromkeys({ABSENT}))
import gpu
for part in gpu.SHARES:
    gpu.part_alone(part, "cpu", "tiny", 600, sys.argv[1], lambda case, found: print(json.dumps([part, case, found])))
"""


@pytest.mark.slow
def test_every_part_runs_in_its_smallest_size_on_a_cpu_with_what_a_bare_machine_has(pools):
    done = subprocess.run([sys.executable, "-c", EVERY_PART, pools], stdout=subprocess.PIPE, text=True, cwd=BENCHMARKS)
    assert done.returncode == 0
    parts = {name: {"status": "done", "cases": {}} for name in gpu.SHARES}
    for name, case, found in map(json.loads, done.stdout.splitlines()):
        parts[name]["cases"][case] = found
    cases = {name: part["cases"] for name, part in parts.items()}
    assert [case for part in cases.values() for case in part.values() if "failed" in case] == []
    assert cases["training"]["Latte-XL/2: ratios"]["ours, eager / plain module, eager"] > 0
    assert cases["training"]["Latte-XL/2: models train's loop"]["skipped_steps"] == 0
    assert cases["parity"]["latte"]["float32"]["within"]
    assert cases["attention"]["packed full, heads of 16"]["within"]
    assert cases["features"]["I3D, ours"]["per_s"] > 0
    assert {"pool A", "pool B"} <= cases["experiment"].keys()
    text = _gpu_table.table({"size": "tiny", "parts": parts, "machine": cases["parity"]["machine"]})
    assert text.startswith("On a CPU")
    assert "| Latte-XL/2: ours, eager | 2 |" in text


@pytest.mark.slow
def test_the_distance_of_the_experiment_is_that_of_evaluate():
    from _gpu_experiment import frechet_distance as here

    from clipmill.evaluate.distances.frechet import frechet_distance

    first, second = np.random.default_rng(0).standard_normal((2, 40, 128)).astype(np.float32)
    assert here(first, 2 * second + 1) == pytest.approx(frechet_distance(first, 2 * second + 1), rel=1e-6)


def test_a_part_that_ends_badly_keeps_its_reason_and_the_others_run(tmp_path):
    options = argparse.Namespace(size="tiny", device="cpu", pools=None, unpacked="")
    part = {"cases": {}}
    gpu.one_part("no such part", 60, options, part, lambda: None)
    assert part["status"] == "failed"
    assert "invalid choice" in part["reason"]


def test_lines_of_a_part_are_cases_and_all_else_is_passed_on(capsys):
    assert gpu.parsed('{"a case": {"ms": 1.0}}\n') == {"a case": {"ms": 1.0}}
    assert gpu.parsed("a library says something\n") is None
    assert gpu.parsed("3\n") is None
    assert capsys.readouterr().err == "a library says something\n3\n"


def test_the_wheels_are_listed_once_and_fit():
    names = [name for group in _gpu_wheels.NEEDED.values() for name in group]
    assert len(names) == len(set(names))
    assert sum(mib for group in _gpu_wheels.NEEDED.values() for _, mib in group.values()) <= _gpu_wheels.MOST_MIB
    assert all(f"| {name} |" in _gpu_wheels.listing(None) for name in names)


def test_without_results_the_table_says_that_no_gpu_has_run_it():
    assert _gpu_table.table(None).startswith("No GPU has run this yet")


def test_what_was_not_measured_stands_in_the_table_with_its_reason():
    cases = {"I3D, ours": {"failed": "OutOfMemoryError: 3 GiB"}, "RAFT": {"skipped": "torchvision does not import"}}
    parts = {"features": {"status": "failed", "reason": "cut off after 60 s", "cases": cases}}
    text = _gpu_table.table({"size": "full", "machine": {"device": "cpu", "threads": 2}, "parts": parts})
    assert "The part failed: cut off after 60 s." in text
    assert "I3D, ours failed: OutOfMemoryError: 3 GiB." in text
    assert "RAFT skipped: torchvision does not import." in text
