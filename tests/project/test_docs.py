"""The written pages: every command line parses, every file that they name is there, and places for measured tables are
whole.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
COMMANDS = ("curate", "evaluate", "models")
# `curate presets            curate presets svd` is two commands in one line.
_BETWEEN = re.compile(r"\s{3,}(?=(?:curate|evaluate|models) )|\s#")
_ENTRY = re.compile(r"^(?:\.venv/bin/)?(curate|evaluate|models) |-m clipmill\.(curate|evaluate|models)\.cli ")


def command_lines(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(command, words) of every call of one of ours in the page's indented blocks."""
    for line in page.read_text(encoding="utf-8").splitlines():
        for part in _BETWEEN.split(line[4:]) if line.startswith("    ") else ():
            found = _ENTRY.search(part)
            if found:
                yield found[1] or found[2], shlex.split(part[found.end() :])


def lines() -> list[tuple[str, str, list[str]]]:
    return [(page.name, name, words) for page in PAGES for name, words in command_lines(page)]


def test_there_are_command_lines_of_all_three():
    assert {name for _, name, _ in lines()} == set(COMMANDS)
    assert len(lines()) > 40


@pytest.mark.parametrize(
    ("page", "name", "words"), lines(), ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None
)
def test_a_command_line_of_the_pages_is_understood(page, name, words):
    command = typer.main.get_command(import_module(f"clipmill.{name}.cli").app)
    while hasattr(command, "commands"):
        assert words, f"{page}: a group without a command"
        assert words[0] in command.commands, f"{page}: {name} has no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    _, rest, _ = command.make_parser(command.context_class(command)).parse_args(list(words))
    assert not rest, f"{page}: {rest} is too much for `{name}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:tests|benchmarks|notebooks|docs)/[\w./]*\w\.(?:py|md|png|ipynb|json)\b", text))
    linked = {(page.parent / target).resolve() for target in re.findall(r"\]\((?!http)([^)#]+)\)", text)}
    absent = sorted(name for name in named if not (ROOT / name).exists()) + sorted(
        str(path) for path in linked if not path.exists()
    )
    assert absent == []


def test_every_table_has_one_place_and_a_script():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    marks = re.findall(r"<!-- (table|end) (\w+) -->", text)
    names = dict.fromkeys(name for _, name in marks)
    assert marks == [(kind, name) for name in names for kind in ("table", "end")], "no table within another"
    scripts = re.findall(
        r'^ {8}"(\w+)": \[\s*"(\w+\.py)"', (ROOT / "benchmarks" / "tables.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {name for name, _ in scripts} == set(names)
    assert all((ROOT / "benchmarks" / script).is_file() for _, script in scripts)


def test_the_loader_of_the_readme_reads_the_demo_whatever_shapes_its_clips_have(demo_run: Path, tmp_path: Path):
    (tmp_path / "run").symlink_to(demo_run)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [text for text in blocks if "DataLoader(" in text]
    code = f"samples_seen = 0\n{block}\nprint([list(batch['video'].shape) for _, batch in zip(range(2), loader)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[[8, 16, 3, 256, 256], [8, 16, 3, 256, 256]]", done.stderr
