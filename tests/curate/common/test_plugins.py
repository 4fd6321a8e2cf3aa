"""Plug-ins and data files by name."""

from clipmill.curate import annotators
from clipmill.curate.common import plugins
from clipmill.curate.common.package_files import file_names, read_file
from clipmill.evaluate import metrics


def test_one_list_of_plug_ins_underscored_or_dashed():
    assert "clip_similarity" in annotators.names()
    assert "clip_similarity" in plugins.file_names(metrics)
    assert "clip-similarity" in metrics.names()
    assert not any(name.startswith(("_", "-")) for name in metrics.names())


def test_files_of_packages_by_name():
    assert "default" in file_names("clipmill.curate.presets", ".toml")
    assert read_file("clipmill.evaluate.protocols", "original.toml").startswith("version = 1\n")
