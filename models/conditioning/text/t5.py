"""T5's encoder through transformers."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from clipmill.curate.common.files import parse_json
from clipmill.curate.errors import UserError, first_line
from clipmill.curate.weights import sha256
from clipmill.models.conditioning.text.hub import model_folder
from clipmill.models.conditioning.text.weighted import WeightedEncoder

_SETTING = "conditioning.text.model"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_FILES = ("*.json", "*.model", *_WEIGHTS)


class T5(WeightedEncoder):
    """The last layer of a T5 encoder (Raffel et al. 2020, arXiv 1910.10683), a token per piece of a word and one for
    the end.
    """

    def __init__(self, model: str, tokens: int) -> None:
        """model: a folder written by `save_pretrained`, or a name on the hub. Weights are read at the first caption.
        Raises UserError where it is missing or is another network.
        """
        self._folder = model_folder(model, _FILES, _SETTING)
        super().__init__(tokens, _width(self._folder))

    @property
    def name(self) -> str:
        """With the checksum of the weights, which takes a while for large ones."""
        return f"T5, {self.tokens} x {self.dim}, sha256 {' '.join(sha256(file) for file in weights_of(self._folder))}"

    def encode_some(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokenizer, network = self.parts
        pieces = tokenizer(
            texts, max_length=self.tokens, padding="max_length", truncation=True, return_tensors="pt"
        ).to(self.device)
        found = network(input_ids=pieces["input_ids"], attention_mask=pieces["attention_mask"])
        return found.last_hidden_state, pieces["attention_mask"].bool()

    def load(self) -> tuple[Any, Any]:
        return _loaded(self._folder)


def weights_of(folder: Path) -> list[Path]:
    """The files of weights that are read: safetensors where there are any. Raises UserError where there are none."""
    for pattern in _WEIGHTS:
        if files := sorted(folder.glob(pattern)):
            return files
    raise UserError(f"{folder} holds no weights: put model.safetensors beside config.json")


def _width(folder: Path) -> int:
    try:
        config = parse_json((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {folder / 'config.json'}: {error}") from error
    if "t5" not in str(config.get("model_type")) or not isinstance(config.get("d_model"), int):
        raise UserError(
            f"{folder} holds a network of type {config.get('model_type')!r}, not t5: set {_SETTING} to another folder"
        )
    weights_of(folder)
    return int(config["d_model"])


def _loaded(folder: Path) -> tuple[Any, Any]:
    """(tokenizer, network)."""
    try:
        from transformers import AutoTokenizer, T5EncoderModel
    except ImportError:
        raise UserError("the text encoder t5 needs transformers: pip install transformers sentencepiece") from None
    # Without the second, transformers asks at the terminal whether it may run the folder's code.
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        loaded: Any = T5EncoderModel.from_pretrained(folder, output_loading_info=True, **safe)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError, UnpicklingError) as error:
        raise UserError(f"no T5 can be loaded from {folder}: {first_line(error, 200)}") from None
    network, report = loaded
    if report["missing_keys"]:
        raise UserError(f"{folder} holds no whole T5 encoder: {min(report['missing_keys'])} is missing")
    return tokenizer, network.eval().requires_grad_(False).float()
