"""Where weights lie on this machine: named by the user, in clipmill's cache folder, or in the caches of other tools. No
network.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from clipmill.curate.errors import UserError
from clipmill.curate.weights.table import Weights, known, weights_named

FOLDER_VARIABLE = "CLIPMILL_WEIGHTS"
INDEX_FILE = "model.safetensors.index.json"


def cache_folder() -> Path:
    """The cache folder of weight files: `CLIPMILL_WEIGHTS`, else `weights` in the user's cache folder. It need not
    exist.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("clipmill")) / "weights"


def is_path(name: str) -> bool:
    """True where a name of weights is a path on this machine; names of the table come first."""
    if any(name == weights.name for weights in known()):
        return False
    return os.sep in name or "/" in name or Path(name).expanduser().exists()


def find(name: str, overrides: Mapping[str, str]) -> Path | None:
    """Where weights lie: `name` itself where it is a path, else `overrides[name]`, the cache folder, the caches of
    other tools; else None.

    Raises UserError for a path that does not exist and for a name that the table does not hold.
    """
    if is_path(name):
        return _existing(name, "weights")
    weights = weights_named(name)
    if name in overrides:
        return _existing(overrides[name], f"weights.{name}")
    return next((path for path in _places(weights) if path.exists()), None) or _in_hub_cache(weights)


def target(weights: Weights) -> Path:
    """Where weights belong in the cache folder: a file by its published name; of the hub, a folder by the name in the
    table, a network of open_clip as `evaluate` looks for it (`ViT-L-14-openai.safetensors`), any other file by the name
    in the table.
    """
    return _targets(weights)[0]


def _targets(weights: Weights) -> list[Path]:
    if weights.kind == "file":
        return [cache_folder() / weights.files[0]]
    stem = f"{weights.model}-{weights.pretrained}" if weights.pretrained else weights.name
    return [cache_folder() / (stem + ("" if weights.folder else Path(file).suffix)) for file in weights.files]


def _places(weights: Weights) -> list[Path]:
    folders = [os.path.expandvars(folder) for folder in weights.elsewhere]
    return _targets(weights) + [Path(f).expanduser() / weights.files[0] for f in folders if not f.startswith("$")]


def _existing(path: str, what: str) -> Path:
    found = Path(path).expanduser()
    if not found.exists():
        raise UserError(f"{what}: there is no {found}")
    return found


def _in_hub_cache(weights: Weights) -> Path | None:
    if weights.kind != "hub":
        return None
    if weights.folder:
        config = in_hub_cache(weights.source, "config.json")
        return config.parent if config is not None and _complete(config.parent) else None
    found = (in_hub_cache(weights.source, file) for file in weights.files)
    return next((path for path in found if path is not None), None)


def _complete(folder: Path) -> bool:
    """False where a download of the parts of a network stopped half-way."""
    try:
        parts = set(json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return any(folder.glob("*.safetensors"))
    return all((folder / part).exists() for part in parts)


def in_hub_cache(repository: str, file: str) -> Path | None:
    """Where the local cache of the Hugging Face hub holds `file` of a repository."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) else None
