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
MODULES = ("_gpu_parity", "_gpu_training", "_gpu_attention", "_gpu_features", "_gpu_experiment")


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


@pytest.mark.slow
def test_every_part_runs_on_a_cpu_in_its_smallest_size(pools):
    parts = {}
    for name in gpu.SHARES:
        cases = parts[name] = {"status": "done", "cases": {}}
        gpu.part_alone(
            name, "cpu", "tiny", 600, str(pools), lambda case, found, to=cases: to["cases"].update({case: found})
        )
    failed = {name: case for part in parts.values() for name, case in part["cases"].items() if "failed" in case}
    assert failed == {}
    assert parts["training"]["cases"]["Latte-XL/2: ratios"]["ours, eager / plain module, eager"] > 0
    assert parts["parity"]["cases"]["latte"]["float32"]["within"]
    assert parts["attention"]["cases"]["packed full, heads of 16"]["within"]
    assert parts["features"]["cases"]["I3D, ours"]["per_s"] > 0
    assert {"pool A", "pool B"} <= parts["experiment"]["cases"].keys()
    written = json.loads(json.dumps({"size": "tiny", "parts": parts, "machine": parts["parity"]["cases"]["machine"]}))
    text = _gpu_table.table(written)
    assert text.startswith("On a CPU")
    assert "| Latte-XL/2: ours, eager | 2 |" in text


@pytest.mark.slow
def test_no_part_imports_what_a_bare_machine_lacks():
    code = f"import sys\nsys.modules.update(dict.fromkeys({ABSENT}))\nimport {', '.join(MODULES)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=BENCHMARKS)
    assert done.returncode == 0, done.stderr


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
