"""The text transformer of CLIP through open_clip."""

from pathlib import Path
from typing import Any

import torch

from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import load_network, published
from clipmill.curate.weights import FOLDER_VARIABLE, cache_folder, sha256
from clipmill.curate.weights.locations import on_this_machine
from clipmill.evaluate.features.clip import entry_of, in_hub_cache
from clipmill.models.conditioning.text.hub import downloaded_folder, reachable
from clipmill.models.conditioning.text.weighted import WeightedEncoder

_SETTING = "conditioning.text.pretrained"
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClipText(WeightedEncoder):
    """The last layer of CLIP's text transformer, normed, before it is pooled (Radford et al. 2021, arXiv 2103.00020): a
    token for the start, for each piece of a word and for the end; padding after the end is masked.
    """

    def __init__(self, model: str, pretrained: str, tokens: int) -> None:
        """model: as open_clip names architectures. pretrained: a file of weights, or their name in open_clip. Weights
        are read at the first caption. Raises UserError where they are missing, or for a text tower of another kind.
        """
        self._model, self._pretrained = model, pretrained
        self._file = _weight_file(model, pretrained)
        width, self._context = _sizes(model)
        if tokens > self._context:
            raise UserError(
                f"CLIP {model} has places for {self._context} tokens: set conditioning.text.tokens to at most that, not"
                f" {tokens}"
            )
        super().__init__(tokens, width)

    @property
    def name(self) -> str:
        """With the checksum of the weights."""
        return f"CLIP {self._model}, {self.tokens} x {self.dim}, sha256 {sha256(self._file)}"

    def encode_some(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokenizer, network = self.parts
        cut = tokenizer(texts, context_length=self.tokens)
        pieces = torch.nn.functional.pad(cut, [0, self._context - self.tokens]).to(self.device)
        found: list[torch.Tensor] = []
        norm = getattr(network, "text", network).ln_final
        handle = norm.register_forward_hook(lambda module, arguments, output: found.append(output))
        try:
            network.encode_text(pieces)
        finally:
            handle.remove()
        # The end has the largest number of all pieces.
        mask = torch.arange(self.tokens) <= cut.argmax(dim=1, keepdim=True)
        return found[0][:, : self.tokens], mask

    def load(self) -> tuple[Any, Any]:
        import open_clip

        network = load_network(self._file, self._model, self._pretrained)
        network.visual = None
        return open_clip.get_tokenizer(self._model), network


def _weight_file(model: str, pretrained: str) -> Path:
    """On this machine, else downloaded. Importing open_clip takes seconds, so the hub is asked for only where one
    answers.
    """
    if not model or not pretrained:
        raise UserError(
            f"set conditioning.text.model to an architecture of open_clip and {_SETTING} to a file of weights or their"
            " name"
        )
    named = Path(pretrained).expanduser()
    for file in (named, *(named / name for name in _HUB_FILES)):
        if file.is_file():
            return file
    stored = on_this_machine(entry_of(model, pretrained))
    return stored or in_hub_cache(model, pretrained) or _downloaded(model, pretrained)


def _downloaded(model: str, pretrained: str) -> Path:
    repository = published(model, pretrained).get("hf_hub", "").rstrip("/") if reachable() else ""
    if not repository:
        raise UserError(
            f"there are no weights {pretrained!r} for CLIP {model} here, and no hub that offers them: set {_SETTING} to"
            f" a file, or put {model}-{pretrained}.safetensors into {cache_folder()} (or set"
            f" {FOLDER_VARIABLE})"
        )
    folder = downloaded_folder(repository, "open_clip_config.json", _HUB_FILES, _SETTING)
    files = [folder / name for name in _HUB_FILES if (folder / name).is_file()]
    if not files:
        raise UserError(f"{repository} holds no weights of open_clip: set {_SETTING} to a file")
    return files[0]


def _sizes(model: str) -> tuple[int, int]:
    """(channels, places) of the text transformer."""
    import open_clip

    if model not in open_clip.list_models():
        raise UserError(f"open_clip knows no architecture {model!r}")
    text: dict[str, Any] = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
    others = ("hf_model_name", "hf_tokenizer_name", "embed_cls", "no_causal_mask")
    plain = not any(text.get(key) for key in others) and text.get("pool_type", "argmax") == "argmax"
    if not plain or not isinstance(text.get("width"), int):
        raise UserError(
            f"the text tower of {model} is not CLIP's own: set conditioning.text.model to another, such as ViT-H-14"
        )
    return int(text["width"]), int(text.get("context_length", 77))
