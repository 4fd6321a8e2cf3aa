"""The notebooks: text and executed form agree, hold no error and no path of a machine, and run on a freshly curated
demo.
"""

import re
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext is a development dependency: pip install 'clipmill[dev]'")
nbformat = pytest.importorskip("nbformat", reason="nbformat is a development dependency: pip install 'clipmill[dev]'")

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]*.py"))
MAX_BYTES = 400_000
# An absolute path tells who ran the notebook, and is wrong everywhere else. Closing tags and addresses are none.
MACHINE_PATH = re.compile(r"(?<![\w.<:/])/[A-Za-z][\w.-]*/[\w.-]|[A-Z]:\\|file://")


def executed(name: str) -> Any:
    """The committed notebook."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs_of(notebook: Any) -> list[Any]:
    """The outputs of all code cells."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_are_notebooks():
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("name", NAMES)
def test_text_and_notebook_hold_the_same_cells(name):
    text = [(cell.cell_type, cell.source) for cell in jupytext.read(FOLDER / f"{name}.py").cells]
    assert [(cell.cell_type, cell.source) for cell in executed(name).cells] == text


@pytest.mark.parametrize("name", NAMES)
def test_every_code_cell_was_executed_in_order_without_an_error(name):
    cells = [cell for cell in executed(name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [
        output
        for output in outputs_of(executed(name))
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_small_and_name_no_folder_of_a_machine(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < MAX_BYTES
    texts = [str(value) for output in outputs_of(executed(name)) for value in _texts(output)]
    assert texts
    assert not [found[0] for text in texts for found in MACHINE_PATH.finditer(text)]


def _texts(output: Any) -> list[Any]:
    data = output.get("data", {})
    return [output.get("text", ""), *(value for kind, value in data.items() if not kind.startswith("image/"))]


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_on_the_demo(name, demo_run, small_training, tmp_path, monkeypatch):
    """With one thread and in a folder of its own: the run is only read."""
    nbclient = pytest.importorskip(
        "nbclient", reason="nbclient is a development dependency: pip install 'clipmill[dev]'"
    )
    pytest.importorskip("ipykernel", reason="ipykernel is a development dependency: pip install 'clipmill[dev]'")
    for path in FOLDER.glob("*.py"):
        copy(path, tmp_path)
    monkeypatch.setenv("CLIPMILL_RUN", str(demo_run))
    monkeypatch.setenv("CLIPMILL_SAMPLES", str(small_training / "samples"))
    monkeypatch.setenv("CLIPMILL_RESULTS", str(FOLDER.parent / "benchmarks" / "results"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = states(demo_run)
    notebook = jupytext.read(tmp_path / f"{name}.py")
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert states(demo_run) == before
    committed = executed(name)
    assert [kinds(cell) for cell in notebook.cells] == [kinds(cell) for cell in committed.cells]


def states(run: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}


def kinds(cell: Any) -> set[str]:
    """What a cell shows: `image/png`, `text/html`, ...; other data may add or lose a plain text."""
    shown = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
    return {kind for kind in shown if kind.startswith("image/")}
