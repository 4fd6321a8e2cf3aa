"""The dependency line curate <- evaluate <- models, kept by walking every import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {"curate": {"curate"}, "evaluate": {"curate", "evaluate"}, "models": {"curate", "evaluate", "models"}}


def imported_packages(source: str, package: str) -> set[str]:
    """Our packages that a file of `package` imports, anywhere in it, also by importlib.import_module with a name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {_room(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.add(package)
        elif isinstance(node, ast.ImportFrom):
            found |= {_room(f"{node.module}.{alias.name}") for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(_room(node.args[0].value))
    return found & set(MAY_IMPORT)


def _room(dotted: str) -> str:
    """The package a dotted name belongs to; an old name, without `clipmill.`, counts too."""
    return dotted.removeprefix("clipmill.").partition(".")[0]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_dependency_line(package):
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        forbidden = imported_packages(path.read_text(encoding="utf-8"), package) - MAY_IMPORT[package]
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted(forbidden)]
    assert not wrong


def test_the_walk_sees_every_kind_of_import():
    source = (
        "import clipmill.models.training\n"
        "def f():\n    from clipmill import evaluate\n    import importlib\n"
        "    importlib.import_module('clipmill.curate.video.reader')\n"
    )
    assert imported_packages(source, "curate") == {"models", "evaluate", "curate"}
