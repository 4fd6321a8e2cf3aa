"""Plug-ins and data files by name; modules are imported by name in one place."""

import ast
from pathlib import Path

from clipmill.curate import annotators
from clipmill.curate.common import plugins
from clipmill.curate.common.package_files import file_names, read_file
from clipmill.evaluate import metrics

ROOT = Path(__file__).resolve().parents[3]


def test_one_list_of_plug_ins_underscored_or_dashed():
    assert "clip_similarity" in annotators.names()
    assert "clip_similarity" in plugins.file_names(metrics)
    assert "clip-similarity" in metrics.names()
    assert not any(name.startswith(("_", "-")) for name in metrics.names())


def test_files_of_packages_by_name():
    assert "default" in file_names("clipmill.curate.presets", ".toml")
    assert read_file("clipmill.evaluate.protocols", "original.toml").startswith("version = 1\n")


def imports_by_name(source: str) -> bool:
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = {getattr(call, "attr", getattr(call, "id", "")) for call in calls}
    return bool(names & {"import_module", "__import__", "iter_modules", "walk_packages"})


def test_modules_are_imported_by_name_in_one_place():
    files = [path for top in ("curate", "evaluate", "models") for path in sorted((ROOT / top).rglob("*.py"))]
    found = [str(path.relative_to(ROOT)) for path in files if imports_by_name(path.read_text(encoding="utf-8"))]
    assert found == ["curate/common/plugins.py"]
