"""Where weights lie on this machine: named by the user, in clipmill's cache folder, or in the caches of other tools. No
network.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import platformdirs

from clipmill.curate.common.files import parse_json
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
    return on_this_machine(weights)


def on_this_machine(weights: Weights) -> Path | None:
    """Where weights lie: the cache folder, or the caches of other tools; None: nowhere."""
    return next((path for path in _places(weights) if path.exists()), None) or _in_hub_cache(weights)


def located(what: str, wanted: Sequence[Weights], given: Path | None, option: str = "--weights") -> Path:
    """The file (or folder) `given`, else the first of `wanted` that is on this machine. what: whose weights they are,
    for people. option: by which a user names a file. Raises UserError, in one line that says what to put where.
    """
    if given is not None:
        return _named(given.expanduser(), what)
    found = next((path for weights in wanted if (path := on_this_machine(weights)) is not None), None)
    if found is None:
        names = [file for weights in wanted for file in _file_names(weights)]
        pulls = [f"`curate weights pull {w.name}`" for w in wanted if w.kind != "own"]
        raise UserError(
            f"no weights for {what}: put {_either(names)} into {cache_folder()} (or set {FOLDER_VARIABLE}), or name a"
            f" file with {option}" + (f"; {_either(pulls)} brings one" if pulls else "")
        )
    return found


def hub_folder(repository: str) -> Path | None:
    """The folder on this machine with `config.json` of a network of the hub, in the table or not; None: nowhere."""
    entry = next((weights for weights in known() if weights.folder and weights.source == repository), None)
    if entry is not None and (found := on_this_machine(entry)) is not None:
        return found
    config = in_hub_cache(repository, "config.json")
    return None if config is None else config.parent


def bring_yourself(weights: Weights) -> UserError:
    """What is said where weights would have to be fetched that clipmill may not fetch."""
    return UserError(
        f"{weights.name} is not downloaded for you: take {weights.source}, and put {_either(_file_names(weights))} into"
        f" {cache_folder()}"
    )


def _file_names(weights: Weights) -> list[str]:
    return list(dict.fromkeys(path.name for path in _targets(weights)))


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _named(path: Path, what: str) -> Path:
    # The prefix of a TensorFlow checkpoint names several files and is none itself.
    if path.exists() or path.with_name(f"{path.name}.index").exists():
        return path
    raise UserError(f"no weights for {what} at {path}: there is no such file")


def target(weights: Weights) -> Path:
    """Where weights belong in the cache folder: a file by its published name; of the hub, a folder by the name in the
    table, a network of open_clip as `evaluate` looks for it (`ViT-L-14-openai.safetensors`), any other file by the name
    in the table.
    """
    return _targets(weights)[0]


def _targets(weights: Weights) -> list[Path]:
    if weights.kind != "hub":
        return [cache_folder() / file for file in weights.files]
    if weights.folder:
        return [cache_folder() / weights.name]
    if weights.pretrained:
        stem = f"{weights.model}-{weights.pretrained}"
        return [cache_folder() / f"{stem}{end}" for end in (".safetensors", ".bin", ".pt")]
    return [cache_folder() / (weights.name + Path(file).suffix) for file in weights.files]


def _places(weights: Weights) -> list[Path]:
    folders = [os.path.expandvars(folder) for folder in weights.elsewhere]
    known_folders = [Path(folder).expanduser() for folder in folders if not folder.startswith("$")]
    return _targets(weights) + [folder / file for folder in known_folders for file in weights.files]


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
        return config.parent if config is not None and _complete(config.parent, weights.files) else None
    found = (in_hub_cache(weights.source, file) for file in weights.files)
    return next((path for path in found if path is not None), None)


def _complete(folder: Path, patterns: Sequence[str]) -> bool:
    """False where a download of the parts of a network stopped half-way."""
    try:
        parts = set(parse_json((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        tensors = [pattern for pattern in patterns if pattern.endswith((".safetensors", ".bin"))]
        return any(any(folder.glob(pattern)) for pattern in tensors)
    return all((folder / part).exists() for part in parts)


def in_hub_cache(repository: str, file: str) -> Path | None:
    """Where the local cache of the Hugging Face hub holds `file` of a repository; None, too, for a name that can be
    none of a repository.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, file)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
