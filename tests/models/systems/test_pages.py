"""Every command of docs/systems, in order, at the systems' smallest sizes."""

import shlex
import shutil
from pathlib import Path

import pytest
from helpers.commands import invoke

from clipmill.models.config import preset_names

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs" / "systems").glob("*.md"))
SMALL = {
    "train": ("--steps", "2", "--device", "cpu", "--set", "train.validate_every=0"),
    "sample": ("--n", "2", "--device", "cpu", "--set", "sample.steps=2"),
}
OURS = ("curate", "evaluate", "models")


def commands(page: Path) -> list[list[str]]:
    """Of the page's indented blocks; a line that ends with a backslash goes on in the next."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [shlex.split(line, comments=True) for line in lines if line.split(" ")[0] in OURS]


def small(words: list[str]) -> list[str]:
    """The same command, quick: presets at their smallest size, few steps and videos, two steps of sampling a stage."""
    out: list[str] = []
    for word in words:
        before = out[-1] if out else ""
        if before == "--n":
            out.pop()
        else:
            out.append(f"{word}-nano" if before == "--config" and word in preset_names() else word)
    stages = [f"{number}:sample.steps=2" for number in range(1, out.count("--then") + 1)]
    then = [word for text in stages for word in ("--then-set", text)]
    return [*out, *then, *SMALL.get(out[1] if out[0] == "models" else "", ())]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_system_run_one_after_another(page, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "RUN")
    found = commands(page)
    assert {"train", "sample"} <= {words[1] for words in found}, "from training to sampling"
    for words in found:
        done = invoke(words[0], *small(words)[1:], cwd=tmp_path)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_presets_that_are_there(page):
    named = facts(page)["presets"].replace("`", "").replace(",", " ").split()
    assert named
    assert [name for name in named if name not in preset_names()] == []


def facts(page: Path) -> dict[str, str]:
    """The rows of the page's first table."""
    rows = [line.split("|") for line in page.read_text(encoding="utf-8").split("\n\n")[1].splitlines()]
    found = {row[1].strip(): "|".join(row[2:-1]).strip() for row in rows}
    assert [key for key in found if key.strip("-")] == list(KEYS), page
    return found


KEYS = ("paper", "task", "here", "not here", "property", "tests", "presets")
