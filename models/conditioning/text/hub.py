"""Folders of published models: on this machine, or downloaded where the hub answers at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipmill.curate.common.log import say
from clipmill.curate.errors import UserError, first_line
from clipmill.curate.weights import hub_folder, network_check

_ANSWER_S = 1.0


def model_folder(model: str, patterns: Sequence[str], setting: str) -> Path:
    """The folder with `config.json` of a model: `model` itself, the local Hugging Face cache, or a download of the
    files that match `patterns` into it. setting: what a user sets to name a folder. Raises UserError, within two
    seconds where the hub does not answer.
    """
    if not model:
        raise UserError(
            f"set {setting} to a folder with config.json, weights and tokenizer, or to a model's name on the Hugging"
            " Face hub"
        )
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise UserError(
            f"{folder} holds no config.json: {setting} is a folder as save_pretrained writes it, tokenizer and all"
        )
    _hub()
    return hub_folder(model) or downloaded_folder(model, "config.json", patterns, setting)


def downloaded_folder(repository: str, file: str, patterns: Sequence[str], setting: str) -> Path:
    """A download into the cache, if the hub has `file` and says so at once. Raises UserError, one line, with what to do
    without it.
    """
    if not offers(repository, file):
        raise UserError(
            f"there is no {repository} on this machine and the hub does not offer it: on one with a connection run "
            f"`hf download {repository} --local-dir FOLDER`, bring the folder here and set {setting}=FOLDER"
        )
    say(f"downloading {repository}")
    try:
        return Path(_hub().snapshot_download(repository, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the download of {repository} failed, start again or set {setting} to a folder: {first_line(error, 160)}"
        ) from error


def offers(repository: str, file: str) -> bool:
    """Whether the hub has `file` of a repository for anyone and says so at once; False, too, where the user switched
    downloads off.
    """
    try:
        url = _hub().hf_hub_url(repository, file)
    except ValueError:
        return False
    status = None if network_check.offline() else network_check.statuses([url], _ANSWER_S)[url]
    return status is not None and status < 400


def reachable() -> bool:
    """Whether there is a hub to ask."""
    return not network_check.offline() and not network_check.silent_hosts([_hub().constants.ENDPOINT], _ANSWER_S)


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise UserError("networks with weights need huggingface_hub: pip install transformers") from None
    return huggingface_hub
