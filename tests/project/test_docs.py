"""The written pages: every command line parses, every file that they name is there, places for measured tables are
whole, and the README is short and quotes what was measured, the map names every room.
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
README, MEASURED, COMPARE = ROOT / "README.md", ROOT / "docs" / "measured.md", ROOT / "docs" / "compare.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS = ("curate", "evaluate", "models")
# `curate presets            curate presets svd` is two commands in one line.
_BETWEEN = re.compile(r"\s{3,}(?=(?:curate|evaluate|models) )|\s#")
_ENTRY = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(curate|evaluate|models) |-m clipmill\.(curate|evaluate|models)\.cli ")


def command_lines(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(command, words) of every call of one of ours in the page's indented blocks."""
    # A line that ends with a backslash goes on in the next.
    for line in re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8")).splitlines():
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
    text = MEASURED.read_text(encoding="utf-8")
    marks = re.findall(r"<!-- (table|end) (\w+) -->", text)
    names = dict.fromkeys(name for _, name in marks)
    assert marks == [(kind, name) for name in names for kind in ("table", "end")], "no table within another"
    scripts = re.findall(
        r'^ {8}"(\w+)": \[\s*"(\w+\.py)"', (ROOT / "benchmarks" / "tables.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    # That of the trained systems stands on their page.
    assert {name for name, _ in scripts} == {*names, "trained"}
    assert "<!-- table trained -->" in (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
    assert all((ROOT / "benchmarks" / script).is_file() for _, script in scripts)


def test_the_readme_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 220
    assert len(text.split()) <= 2500


def rows_of(lines: list[str]) -> list[list[str]]:
    """The cells of every row of Markdown tables, stars of emphasis taken off; rules between head and body left out."""
    cells = [
        [cell.strip().strip("*") for cell in line.strip().strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    return [row for row in cells if set(row[0]) != {"-"}]


def measured(table: str) -> list[dict[str, str]]:
    """The rows of one table of docs/measured.md, by the names of its first head."""
    text = MEASURED.read_text(encoding="utf-8")
    head, *rows = rows_of(text.partition(f"<!-- table {table} -->")[2].partition("<!-- end")[0].splitlines())
    return [dict(zip(head, row, strict=False)) | {"": row[0]} for row in rows]


# What the README says, with {} for the figure; where the figure stands: table, start of the row, column.
QUOTED = [
    ("precision {}, recall", "cuts", "fused", "precision"),
    ("recall {}, F1", "cuts", "fused", "recall"),
    ("F1 {} (`fused`", "cuts", "fused", "F1"),
    ("PySceneDetect's best detector has F1 {}", "cuts", "PySceneDetect Adaptive", "F1"),
    ("with `cascade` take {} of the time", "speed", "curate: cascade, motion", "/ PySceneDetect"),
    ("with `fused` and text {}", "speed", "curate: fused, motion, quality, borders, text", "/ PySceneDetect"),
    ("TensorFlow graph to {}", "goldens", "moving squares", "FVD"),
]


@pytest.mark.parametrize(("words", "table", "row", "column"), QUOTED, ids=[words for words, *_ in QUOTED])
def test_a_figure_of_the_readme_is_the_measured_one(words, table, row, column):
    figure = next(cells[column] for cells in measured(table) if cells[""].startswith(row))
    assert words.format(figure) in " ".join(README.read_text(encoding="utf-8").split())


def test_planted_defects_are_all_found_as_the_readme_says():
    rows = measured("demo")
    assert {cells["recall"] for cells in rows} == {"1.000"}
    assert {cells["precision"] for cells in rows if not cells[""].startswith("gradual")} == {"1.000"}


@pytest.mark.parametrize(
    ("quoted", "pool"),
    [
        ("every clip", "A, "),
        ("as many clips as the policy keeps", "R, "),
        ("what the default policy keeps", "B, "),
        ("what is clean by the truth", "C, "),
    ],
)
def test_the_gain_of_the_readme_is_the_measured_one(quoted, pool):
    of_readme = rows_of(README.read_text(encoding="utf-8").splitlines())
    clips, distance, defective = next(row[1:] for row in of_readme if row[0].startswith(quoted))
    row = next(cells for cells in measured("gain") if cells[""].startswith(pool))
    assert clips == row["clips"].partition(" ")[0]
    assert [distance, defective] == [row["Fréchet distance (mini), mean of seeds"], row["found defective"]]


def test_every_claim_beside_other_tools_names_its_test():
    rows = [row for row in rows_of(COMPARE.read_text(encoding="utf-8").splitlines()) if len(row) > 4]
    assert len(rows) > 30
    bare = [row[0] for row in rows if row[1] != "clipmill" and not row[1].startswith("no") and "`" not in row[-1]]
    assert bare == []


def test_every_room_is_on_the_map():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(ROOT) for name in COMMANDS for path in (ROOT / name).glob("*/**/*.py")}
    assert len(folders) > 30
    assert [str(folder) for folder in sorted(folders) if f"`{folder.as_posix()}`" not in page] == []


def test_the_loader_of_the_readme_reads_the_demo_whatever_shapes_its_clips_have(demo_run: Path, tmp_path: Path):
    (tmp_path / "run").symlink_to(demo_run)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [text for text in blocks if "DataLoader(" in text]
    code = f"samples_seen = 0\n{block}\nprint([list(batch['video'].shape) for _, batch in zip(range(2), loader)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[[8, 16, 3, 256, 256], [8, 16, 3, 256, 256]]", done.stderr
