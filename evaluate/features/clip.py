"""CLIP features of single frames through open_clip."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import load_network, published
from clipmill.curate.weights import Weights, known, located, sha256
from clipmill.curate.weights import in_hub_cache as weights_in_hub_cache
from clipmill.evaluate.features import FeatureNetwork

DEFAULT_MODEL, DEFAULT_PRETRAINED = "ViT-B-32", "laion2b_s34b_b79k"
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_FRAMES_AT_ONCE = 64


class CLIP(FeatureNetwork):
    """Image features of each frame, of length 1 (Radford et al. 2021, arXiv 2103.00020). `text` gives captions in the
    same space.
    """

    dim: ClassVar[int] = 512
    per_frame: ClassVar[bool] = True

    def __init__(
        self,
        device: str = "cpu",
        weights: Path | None = None,
        model: str = DEFAULT_MODEL,
        pretrained: str = DEFAULT_PRETRAINED,
        **options: Any,
    ) -> None:
        """model, pretrained: as open_clip names architectures and their weights; they decide the activation and the
        colours too. weights: a local file for them (state dict or safetensors), else the local Hugging Face cache, else
        the cache folder; nothing is downloaded. Raises UserError where they are missing or do not fit.
        """
        if options:
            raise UserError(f"the network clip takes no {', '.join(options)}")
        path = _file(weights, model, pretrained)
        self._name = f"{model} {pretrained}"
        self._sha256 = sha256(path)
        self._model = load_network(path, model, pretrained).to(device)
        self._tokenizer_of = model
        self.side_px, self.dim = _sizes(self._model)  # type: ignore[misc]
        self.label = f"CLIP {model}"
        self._mean, self._std = (torch.tensor(v, device=device).view(3, 1, 1) for v in _colours(model, pretrained))

    @property
    def identity(self) -> str:
        """Architecture and checksum of the weights."""
        return f"CLIP {self._name}, unit length, sha256 {self._sha256}"

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, side_px, side_px] in [-1, 1] -> float32 [B, T, D] of length 1. Raises UserError for another
        size.
        """
        if videos.ndim != 5 or tuple(videos.shape[2:]) != (3, self.side_px, self.side_px):
            raise UserError(
                f"this CLIP takes videos [B, T, 3, {self.side_px}, {self.side_px}], not {list(videos.shape)}"
            )
        frames = (videos.to(self._mean.device).flatten(0, 1) + 1) / 2
        parts = [
            self._model.encode_image((part - self._mean) / self._std, normalize=True)
            for part in frames.split(_FRAMES_AT_ONCE)
        ]
        return torch.cat(parts).unflatten(0, videos.shape[:2])

    def text(self, captions: list[str]) -> torch.Tensor:
        """float32 [N, D] of length 1."""
        import open_clip

        tokens = open_clip.get_tokenizer(self._tokenizer_of)(captions)
        return self._model.encode_text(tokens.to(self._mean.device), normalize=True)


def _file(weights: Path | None, model: str, pretrained: str) -> Path:
    """The weight file, looked for on this machine only."""
    cached = in_hub_cache(model, pretrained) if weights is None else None
    return cached or located(f"CLIP {model} {pretrained}", [entry_of(model, pretrained)], weights)


def entry_of(model: str, pretrained: str) -> Weights:
    """Of the table of weights; one made for the occasion where it has none."""
    entry = next((w for w in known() if (w.model, w.pretrained) == (model, pretrained)), None)
    files = tuple(f"{model}-{pretrained}{end}" for end in (".safetensors", ".pt"))
    return entry or Weights(f"{model}-{pretrained}", "own", "open_clip", files, "see its page", ("evaluate", "models"))


def in_hub_cache(model: str, pretrained: str) -> Path | None:
    """Where the local cache of the Hugging Face hub holds these weights; open_clip, which takes seconds to import, is
    asked only where the cache holds anything of its kind.
    """
    from huggingface_hub import constants

    if not any(Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/open_clip_*")):
        return None
    repository = published(model, pretrained).get("hf_hub", "").rstrip("/")
    found = (weights_in_hub_cache(repository, name) for name in _HUB_FILES if repository)
    return next((path for path in found if path is not None), None)


def _sizes(network: Any) -> tuple[int, int]:
    """(side of the square picture in px, length of a feature). Raises UserError for networks of other than square
    pictures.
    """
    side = network.visual.image_size
    sides = set(side) if isinstance(side, tuple | list) else {side}
    if len(sides) != 1:
        raise UserError(f"CLIP networks of square pictures only, not {side}")
    side_px = int(sides.pop())
    device = next(network.parameters()).device
    with torch.inference_mode():
        return side_px, int(network.encode_image(torch.zeros(1, 3, side_px, side_px, device=device)).shape[1])


def _colours(model: str, pretrained: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that pictures are normalised by."""
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    facts = published(model, pretrained)
    return facts.get("mean", OPENAI_DATASET_MEAN), facts.get("std", OPENAI_DATASET_STD)
