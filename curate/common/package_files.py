"""Data files that come with the packages (presets, protocols, tables, templates), by name."""

from importlib import resources


def file_names(folder: str, suffix: str) -> list[str]:
    """Names without `suffix` of the files in a folder of a package, by its dotted name, sorted."""
    names = (file.name for file in resources.files(folder).iterdir())
    return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix))


def read_file(folder: str, name: str) -> str:
    """The text of one file. Raises OSError where there is none."""
    return resources.files(folder).joinpath(name).read_text(encoding="utf-8")
