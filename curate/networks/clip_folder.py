"""What a folder in open_clip's form says of its network, checked before open_clip acts on it.

Such a folder is somebody's: its configuration can ask for classes of transformers and for settings of their readers,
`trust_remote_code` among them, which runs a Python file of the folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipmill.curate.common.files import parse_json
from clipmill.curate.errors import UserError, one_line

CONFIG_FILE = "open_clip_config.json"
# Of a tokenizer: how texts are cleaned. All others are handed to the reader of its files.
_TOKENIZER = frozenset({"clean", "strip_sep_token", "language", "lower", "reduction_mask"})
_NAMES = {"vision_cfg": "timm_model_name", "text_cfg": "hf_model_name"}


def folder_config(folder: Path) -> dict[str, Any]:
    """`model_cfg` of the folder. Raises UserError, one line, where there is none, or where it asks for more than a
    network and a tokenizer whose code is installed here.
    """
    path = folder / CONFIG_FILE
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = one_line(error) if isinstance(error, OSError) else f"not JSON ({error})"
        raise UserError(f"cannot read {path}: {reason}") from error
    found = config.get("model_cfg") if isinstance(config, Mapping) else None
    towers = [found.get(name) for name in _NAMES] if isinstance(found, Mapping) else []
    if not isinstance(found, dict) or not all(isinstance(tower, Mapping) for tower in towers):
        raise UserError(f"{path} describes no network of open_clip: model_cfg with vision_cfg and text_cfg is missing")
    _check_tokenizer(path, found["text_cfg"])
    for tower, key in _NAMES.items():
        name = found[tower].get(key) or ""
        if not isinstance(name, str) or ":" in name or (key == "hf_model_name" and name):
            raise UserError(f"{path}: {key}={name!r} names a network of somewhere else, which is not loaded")
    return found


def tokenizer_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """For `open_clip.get_tokenizer`: no code of the folder, whatever transformers has for a default."""
    return {"trust_remote_code": False, "local_files_only": True} if config["text_cfg"].get("hf_tokenizer_name") else {}


def _check_tokenizer(path: Path, text: Mapping[str, Any]) -> None:
    asked = text.get("tokenizer_kwargs", {})
    unknown = sorted(set(asked) - _TOKENIZER) if isinstance(asked, Mapping) else ["tokenizer_kwargs"]
    if unknown:
        raise UserError(f"{path}: a tokenizer may not be given {unknown[0]!r} by the folder it lies in: take it out")
