"""What is installed: the wheel beside other people's `evaluate` and `models`, and the data files in it.

Heavy dependencies are those of this environment; nothing is fetched.
"""

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
THEIRS = "evaluate"
FOREIGN = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "evaluate"
version = "0.4"
[tool.setuptools]
packages = ["evaluate"]
"""
DATA = (
    "clipmill/py.typed",
    "clipmill/curate/presets/*.toml",
    "clipmill/curate/weights/table.toml",
    "clipmill/curate/report/*.css",
    "clipmill/curate/report/*.j2",
    "clipmill/curate/report/*.js",
    "clipmill/evaluate/features/*.safetensors",
    "clipmill/evaluate/networks/*.json",
    "clipmill/evaluate/protocols/*.toml",
    "clipmill/evaluate/report/*.j2",
    "clipmill/models/presets/*.toml",
)


def run(*words: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    """A process that sees neither the checkout nor the user's own packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PYTHONNOUSERSITE": "1"
    }
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def build(source: Path, out: Path) -> Path:
    """The wheel of a project, built without network."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", out, source, cwd=out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves folders beside the sources."""
    try:
        major = int(version("setuptools").partition(".")[0])
    except PackageNotFoundError:
        major = 0
    if major < 77:
        pytest.skip("building needs setuptools >= 77: pip install 'clipmill[dev]'")
    source = tmp_path_factory.mktemp("wheel") / "source"
    for name in ("clipmill", "curate", "evaluate", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return build(source, source.parent / "dist")


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment of its own, which sees the dependencies of this one but not this checkout."""
    root = tmp_path_factory.mktemp("environment")
    venv.create(root, with_pip=True, symlinks=True)
    python = root / "bin" / "python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=root).stdout.strip())
    # Lines of a .pth go behind the environment's own packages; editable installs do not run from there.
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip(python, "install", "--no-deps", "--no-compile", wheel)
    return python


def pip(python: Path, *words: object) -> None:
    run(python, "-m", "pip", words[0], "--disable-pip-version-check", *words[1:], cwd=python.parent)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A research folder with a `models/` and a `curate/` of its own."""
    for name in ("models", "curate"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('their {name}')")
    return tmp_path


def test_the_wheel_holds_the_data_and_no_tests(wheel: Path):
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    assert [pattern for pattern in DATA if not any(name.match(pattern) for name in names)] == []
    tops = {name.parts[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"clipmill"}
    python_files = {
        path.relative_to(ROOT) for top in ("curate", "evaluate", "models") for path in (ROOT / top).rglob("*.py")
    }
    assert {name.relative_to("clipmill") for name in names if name.suffix == ".py"} == python_files | {
        Path("__init__.py")
    }


def test_other_peoples_evaluate_and_ours_leave_each_other_alone(python: Path, elsewhere: Path):
    theirs = elsewhere / "theirs"
    (theirs / "evaluate").mkdir(parents=True)
    (theirs / "pyproject.toml").write_text(FOREIGN)
    (theirs / "evaluate" / "__init__.py").write_text("whose = 'theirs'\n")
    both = (
        f"import {THEIRS}, clipmill.evaluate; print(evaluate.whose, clipmill.evaluate.fvd.__name__, clipmill.__file__)"
    )
    ours = "import clipmill.evaluate; print(clipmill.evaluate.fvd.__name__)"
    pip(python, "install", "--no-deps", build(theirs, elsewhere / "dist"))
    said = run(python, "-c", both, cwd=elsewhere).stdout.split()
    assert said[:2] == ["theirs", "fvd"]
    assert Path(said[2]).is_relative_to(python.parents[1]), "the installed one, not the checkout"
    pip(python, "uninstall", "--yes", "evaluate")
    assert run(python, "-c", f"import {THEIRS}", cwd=elsewhere, check=False).returncode == 1
    assert run(python, "-c", ours, cwd=elsewhere).stdout.split() == ["fvd"]


@pytest.mark.parametrize("name", ["curate", "evaluate", "models"])
def test_a_folder_of_the_same_name_does_not_run_instead(python: Path, elsewhere: Path, name: str):
    for command in ((python, "-m", f"clipmill.{name}.cli"), (python.with_name(name),)):
        said = run(*command, "--help", cwd=elsewhere).stdout
        assert "Usage: " in said
        assert "their" not in said
