"""docs/api.md and the examples of the public docstrings do what they say, one after another in one folder."""

import doctest
import inspect
import os
import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from clipmill import curate, evaluate, models

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
# Examples of `curate` come last: they change the run, and a training holds to its clips.
NAMES = [(package, name) for package in (models, evaluate, curate) for name in package.__all__]
pytestmark = pytest.mark.slow


def failures(text: str, name: str) -> list[str]:
    """What the examples of a text print that they should not."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return said


@pytest.fixture(scope="module")
def folder(two_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `videos` are two of the demo's, and the page makes `run`, `checkpoint` and `samples`."""
    root = tmp_path_factory.mktemp("api")
    shutil.copytree(two_videos, root / "videos")
    with chdir(root):
        said = failures(PAGE.read_text(encoding="utf-8"), "api.md")
    assert said == [], "\n".join(said)
    return root


def test_the_page_does_what_it_says(folder: Path):
    assert (folder / "run" / "report.html").is_file()
    assert (folder / "samples" / "manifest.parquet").is_file()


def examples() -> list[tuple[str, str]]:
    """(name, docstring) of every public name, and of the public methods of the classes."""
    found = []
    for package, name in NAMES:
        thing = getattr(package, name)
        members = vars(thing).items() if inspect.isclass(thing) else ()
        texts = {name: thing.__doc__} | {f"{name}.{key}": getattr(member, "__doc__", "") for key, member in members}
        found += [(f"{package.__name__}.{key}", text) for key, text in texts.items() if ">>> " in (text or "")]
    return found


@pytest.mark.parametrize(("name", "text"), examples(), ids=[name for name, _ in examples()])
def test_an_example_of_a_docstring_does_what_it_says(folder: Path, name: str, text: str):
    with chdir(folder):
        assert failures(inspect.cleandoc(text), name) == []


def test_an_example_that_is_wrong_is_seen():
    assert "Expected:" in "".join(failures(">>> 1 + 1\n3\n", "wrong"))
    assert "NameError" in "".join(failures(">>> absent\n", "wrong"))


def test_the_environment_of_a_caller_stays(folder: Path):
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    with chdir(folder):
        curate.Run("run").export({"short_side_px": 96}, workers=1, tell=None)
    assert {name: os.environ.get(name) for name in before} == before
