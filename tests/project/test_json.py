"""JSON of files and servers is read in one place, so that nothing that stands in it ends in a traceback."""

import ast
from pathlib import Path

import pytest

from clipmill.curate.common.files import parse_json

ROOT = Path(__file__).parents[2]
# What the product itself wrote a moment before: a child process, and the list that comes with the package.
OWN = {"curate/doctor.py", "evaluate/networks/i3d_weights.py", "curate/common/files.py"}


def calls(tree: ast.AST) -> list[ast.Call]:
    """json.load and json.loads, but for the copy of a value by way of its text."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load"):
            copies = isinstance(node.args[0], ast.Call) and ast.unparse(node.args[0].func) == "json.dumps"
            found += [] if copies else [node]
    return found


def test_json_is_read_in_one_place():
    wrong = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for room in ("curate", "evaluate", "models")
        for path in sorted((ROOT / room).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in OWN
        for call in calls(ast.parse(path.read_text()))
    ]
    assert not wrong, "use clipmill.curate.common.files.parse_json, whose only error is ValueError"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "{", "\x00"])
def test_whatever_the_text_is_it_is_one_kind_of_error(text: str):
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is the matter
        parse_json(text)
