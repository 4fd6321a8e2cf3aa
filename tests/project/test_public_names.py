"""The public names: few, light, documented, and never covered by a room of the same name."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import clipmill
from clipmill import curate, evaluate, models

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [curate, evaluate, models]
NAMES = [(package, name) for package in PACKAGES for name in package.__all__]
FOLDERS = ("benchmarks", "clipmill", "curate", "evaluate", "models", "notebooks", "tests")
# An import in code that stands in a text: a page, a string, a cell.
_PLAIN = re.compile(r"^[\s>.\"']*(?:from|import) (?:curate|evaluate|models)\b(?!-)", re.MULTILINE)


def everything(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_no_room_covers_a_public_name(package):
    before = {name: getattr(package, name) for name in package.__all__}
    for module in everything(package):
        importlib.import_module(module)
    assert {name: getattr(package, name) for name in package.__all__} == before
    assert not [name for name, thing in before.items() if isinstance(thing, ModuleType)]
    rooms = {name.removeprefix(f"{package.__name__}.").partition(".")[0] for name in everything(package)}
    assert not rooms & set(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_editors_see_the_names_that_python_finds(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == package._HOMES
    assert sorted(seen) == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        curate.rum  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'models2'"):
        clipmill.models2  # noqa: B018


def test_importing_the_packages_imports_nothing_heavy():
    code = (
        "import sys, clipmill; clipmill.curate.__all__; clipmill.evaluate.__all__; clipmill.models.__all__;"
        "print([m for m in ('torch', 'numpy', 'pandas', 'pyarrow', 'cv2', 'typer') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda value: getattr(value, "__name__", value))
def test_a_public_name_says_what_it_takes(package, name):
    thing = getattr(package, name)
    is_class = inspect.isclass(thing)
    if is_class and issubclass(thing, Exception):
        return
    text = inspect.getdoc(thing) or ""
    assert ">>> " in text.partition("Example:")[2], "an example"
    told = text + (inspect.getdoc(thing.__init__) or "" if is_class else "")
    arguments = inspect.signature(thing).parameters
    assert [a for a in arguments if not re.search(rf"(?:^|[\s*,]){a}(?:, \w+)*:", told)] == []


def test_every_public_name_has_an_example_on_the_page():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    code = "\n".join(line for line in page.splitlines() if line.startswith((">>> ", "... ")))
    assert [name for _, name in NAMES if not re.search(rf"\.{name}\b", code)] == []


def plain_imports(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            yield from (name for name in names if name.partition(".")[0] in ("curate", "evaluate", "models"))
    yield from (found[0].strip() for found in _PLAIN.finditer(text))


def test_nothing_imports_the_packages_by_their_old_names():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = {
        str(path.relative_to(ROOT)): names
        for path in [*pages, *files]
        if path != Path(__file__).resolve() and (names := sorted(set(plain_imports(path))))
    }
    assert found == {}


def test_plain_imports_are_found_in_code_and_in_texts(tmp_path):
    code = tmp_path / "code.py"
    code.write_text("def f():\n    import models.cli\n\nTEXT = '''\nfrom curate.video import x\n'''\n")
    page = tmp_path / "page.md"
    page.write_text("# import curate\n\nimport evaluate\n>>> from models import y\nfrom clipmill import curate\n")
    assert sorted(set(plain_imports(code))) == ["from curate", "import models", "models.cli"]
    assert sorted(set(plain_imports(page))) == [">>> from models", "import evaluate"]
