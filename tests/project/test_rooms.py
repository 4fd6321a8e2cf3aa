"""The house: the dependency line curate <- evaluate <- models, no cycle between rooms, and rooms that stay small.

A room is a folder; a module at a package's root is a room of its own. Imports inside functions count.
"""

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {"curate": {"curate"}, "evaluate": {"curate", "evaluate"}, "models": {"curate", "evaluate", "models"}}
IMPORTS_BY_NAME = Path("curate/common/plugins.py")
PLUG_INS = {"annotators", "metrics", "features"}  # one file per plug-in, found by its name: as many as there are
MOST_MODULES = 16
MOST_LINES = 400
FEWEST_WORDS = 5

Arrow = tuple[str, str]  # dotted name of the module that imports -> of the module that is imported


House = dict[Path, ast.Module]  # relative to the root


@pytest.fixture(scope="module")
def house() -> House:
    """Every file of the product."""
    files = (path for package in sorted(MAY_IMPORT) for path in sorted((ROOT / package).rglob("*.py")))
    return {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def dotted(path: Path) -> str:
    """curate/video/reader.py -> clipmill.curate.video.reader; an __init__.py is its folder."""
    return ".".join(("clipmill", *path.with_suffix("").parts)).removesuffix(".__init__")


def imported_names(source: ast.Module, module: str) -> set[str]:
    """Dotted names that a file imports, anywhere in it, also by importlib.import_module with a name. module: its own
    name; for an __init__.py with `.__init__` at its end.
    """
    found = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            found |= {f"{base if node.level else node.module}.{alias.name}" for alias in node.names}
        elif by_name(node) and node.args and isinstance(node.args[0], ast.Constant):
            found.add(str(node.args[0].value))
    return found


def by_name(node: ast.AST) -> bool:
    """Whether a node is a call that imports what a string names."""
    called = getattr(node, "func", None)
    return getattr(called, "attr", getattr(called, "id", "")) in ("import_module", "__import__")


def imported_packages(source: ast.Module) -> set[str]:
    """Our packages that a file imports; an old name, without `clipmill.`, counts too."""
    names = imported_names(source, "a file")
    return {name.removeprefix("clipmill.").partition(".")[0] for name in names} & set(MAY_IMPORT)


def arrows(files: House) -> set[Arrow]:
    """Who imports whom among these files."""
    modules = {dotted(path) for path in files}
    found = set()
    for path, source in files.items():
        for name in imported_names(source, ".".join(("clipmill", *path.with_suffix("").parts))):
            target = name if name in modules else name.rpartition(".")[0]  # a name within a module
            if target in modules:
                found.add((dotted(path), target))
    return found


def room_of(module: str, packages: set[str]) -> str:
    """packages: dotted names of folders."""
    folder = module.rpartition(".")[0]
    return module if module in packages or folder.count(".") < 2 else folder


def cycles(files: House) -> list[str]:
    """One line per import that lies on a cycle between rooms; first those of which there is one, quickest to turn."""
    packages = {dotted(path) for path in files if path.name == "__init__.py"}
    between = defaultdict(set)
    for source, target in arrows(files):
        between[room_of(source, packages), room_of(target, packages)].add((source, target))
    onward = defaultdict(set)
    for source, target in between:
        onward[source] |= {target} - {source}
    knotted = [pair for pair in between if pair[0] != pair[1] and pair[0] in reached(pair[1], onward)]
    knotted.sort(key=lambda pair: (len(between[pair]), pair))
    return [f"{a} -> {b}: {source} imports {target}" for a, b in knotted for source, target in sorted(between[a, b])]


def reached(start: str, onward: dict[str, set[str]]) -> set[str]:
    """Every room that is imported from `start`, by any number of steps."""
    found, todo = set(), [start]
    while todo:
        room = todo.pop()
        if room not in found:
            found.add(room)
            todo += onward[room]
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_dependency_line(package, house):
    wrong = []
    for path, source in house.items():
        if path.parts[0] == package:
            forbidden = imported_packages(source) - MAY_IMPORT[package]
            wrong += [f"{path} imports {name}" for name in sorted(forbidden)]
    assert not wrong


def test_the_walk_sees_every_kind_of_import():
    source = (
        "import clipmill.models.training\n"
        "def f():\n    from clipmill import evaluate\n    import importlib\n"
        "    importlib.import_module('clipmill.curate.video.reader')\n"
    )
    assert imported_packages(ast.parse(source)) == {"models", "evaluate", "curate"}


def test_no_cycle_between_rooms(house):
    assert cycles(house) == []


def test_a_cycle_is_seen_through_a_third_room_a_function_and_a_relative_import():
    files = {
        "a/__init__.py": "",
        "a/one.py": "from clipmill.curate.b import two",
        "b/__init__.py": "",
        "b/two.py": "def f():\n    import clipmill.curate.lone",
        "lone.py": "from .a.one import name",
        "c/__init__.py": "from . import three",
        "c/three.py": "from clipmill.curate.c.four import name\nfrom clipmill.curate.a.one import name",
        "c/four.py": "import clipmill.curate.c.three",
    }
    assert cycles({Path("curate") / path: ast.parse(source) for path, source in files.items()}) == [
        "clipmill.curate.a -> clipmill.curate.b: clipmill.curate.a.one imports clipmill.curate.b.two",
        "clipmill.curate.b -> clipmill.curate.lone: clipmill.curate.b.two imports clipmill.curate.lone",
        "clipmill.curate.lone -> clipmill.curate.a: clipmill.curate.lone imports clipmill.curate.a.one",
    ]


def test_modules_are_imported_by_a_string_in_one_place(house):
    """Whoever reads the imports of a file knows what it needs. Scripts in strings, for processes, are no imports."""
    using = {path for path, source in house.items() if any(map(by_name, ast.walk(source)))}
    assert using == {IMPORTS_BY_NAME}


def test_rooms_are_small(house):
    modules = Counter(path.parent for path in house if path.name != "__init__.py")
    large = {str(folder): n for folder, n in modules.items() if n > MOST_MODULES and folder.name not in PLUG_INS}
    assert large == {}


def test_files_are_small(house):
    lines = {str(path): (ROOT / path).read_text(encoding="utf-8").count("\n") for path in house}
    assert {path: n for path, n in lines.items() if n > MOST_LINES} == {}


def test_every_room_says_what_it_is_for(house):
    rooms = {path.parent / "__init__.py" for path in house}
    said = {path: ast.get_docstring(house[path]) or "" if path in house else "" for path in rooms}
    assert sorted(str(path) for path, text in said.items() if len(text.split()) < FEWEST_WORDS) == []
