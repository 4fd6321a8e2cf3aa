"""benchmarks/mutants: every change can be made, and the test that must notice it is there. That it notices, the script
shows: it takes seconds for each.
"""

import re
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import mutants

ROOT = Path(__file__).resolve().parents[2]
EVERY = mutants.mutants()
PAGES = sorted((ROOT / "docs" / "systems").glob("*.md"))


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: f"{mutant.system}: {mutant.breaks}")
def test_what_is_to_be_broken_stands_there_once(mutant):
    text = mutant.broken(ROOT)
    tomllib.loads(text) if mutant.file.endswith(".toml") else compile(text, mutant.file, "exec")
    assert text != (ROOT / mutant.file).read_text(encoding="utf-8")


@pytest.mark.parametrize("mutant", EVERY, ids=lambda mutant: f"{mutant.system}: {mutant.breaks}")
def test_the_test_that_must_notice_is_there(mutant):
    assert [test for test in mutant.test.split() if not is_there(test)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_of_a_system_is_there_and_something_breaks_it(page):
    named = named_by(page)
    assert named, "a system without a test"
    assert [test for test in named if not is_there(test)] == []
    breaking = {test.split("[")[0] for mutant in EVERY if mutant.system == page.stem for test in mutant.test.split()}
    breaking |= {test.split("::")[0] for test in breaking}
    assert [test for test in named if test not in breaking] == [], "name in benchmarks/mutants what each notices"


def named_by(page: Path) -> list[str]:
    """FILE::NAME, or FILE for all in it, of the row `tests`; `...` or nothing stands for the file before."""
    row = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| tests |"))
    found: list[str] = []
    for word in re.findall(r"`([^`]+)`", row):
        file, between, name = word.partition("::")
        found.append((file if file.endswith(".py") else found[-1].partition("::")[0]) + between + name)
    return found


def test_a_change_that_cannot_be_made_is_refused():
    mutant = mutants.Mutant("x", "nothing", "models/core/guidance.py", "no such text", "", "")
    with pytest.raises(ValueError, match="0 times"):
        mutant.broken(ROOT)


def is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    defined = f"def {name.split('[')[0]}(" if name else "def test_"
    return path.is_file() and defined in path.read_text(encoding="utf-8")
