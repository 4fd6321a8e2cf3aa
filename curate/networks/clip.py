"""A CLIP network of open_clip, from files of this machine: pictures and texts to vectors of length 1 in one space.

Weights are a file whose architecture the table of weights names, or a folder in open_clip's form (open_clip_config.json
beside the weights), which says everything itself.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.common.files import parse_json
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.networks.clip_folder import CONFIG_FILE, folder_config, tokenizer_options
from clipmill.curate.weights import find, is_path, weights_named

# Batches are filled up to multiples of this: products of few rows take other paths through the libraries and round
# otherwise, and what a clip gets must not depend on its neighbours, on how many workers there are, or on what an
# interrupted run had done.
_WHOLE = 16


def embedding_size(weights: str, overrides: Mapping[str, str] | None = None) -> int:
    """Numbers in a vector of the network whose weights are called so (or lie there); imports nothing heavy. Raises
    UserError.
    """
    path = find(weights, overrides or {}) if is_path(weights) or weights in (overrides or {}) else None
    if path is not None and path.is_dir():
        size = folder_config(path).get("embed_dim")
        if not isinstance(size, int) or size < 1:
            raise UserError(f"{path / CONFIG_FILE}: embed_dim is a whole number, not {size!r}")
        return size
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise UserError("CLIP needs the package open_clip_torch: pip install open_clip_torch")
    return int(_read_json(Path(spec.origin).parent / "model_configs" / f"{architecture(weights)}.json")["embed_dim"])


def architecture(weights: str) -> str:
    """As open_clip names it. Raises UserError for weights of another kind, and for a lone file of weights."""
    if is_path(weights):
        raise UserError(
            f"{weights} does not say what network it is for: give a folder with {CONFIG_FILE}, or --set"
            f" weights.NAME={weights}"
        )
    model = weights_named(weights).model
    if model is None:
        raise UserError(f"{weights} is no network of open_clip (see `curate weights list`)")
    return model


class ClipModel:
    """Ready to embed. Vectors are float32 of length 1."""

    def __init__(self, weights: str, path: Path, device: str) -> None:
        """weights: their name; path: where they lie. Raises UserError for files that do not fit."""
        import open_clip
        import torch

        self.device = torch.device(device)
        options = tokenizer_options(folder_config(path)) if path.is_dir() else {}
        self.network, self.transform, name = _loaded(weights, path)
        self.network.eval().requires_grad_(False).to(self.device)
        try:
            self.tokenizer = open_clip.get_tokenizer(name, **options)
        except Exception as error:  # damaged files make the readers fail in any way
            raise UserError(f"{path} does not hold a tokenizer of open_clip: {one_line(error, 160)}") from None

    def pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [H, W, 3] RGB of any sizes -> float32 [N, D]. Resized and cut to the middle square as open_clip
        does.
        """
        import torch

        ready = [self.ready(picture) for picture in pictures]
        ready += [torch.zeros_like(ready[0])] * (-len(ready) % _WHOLE)
        with torch.inference_mode():
            vectors = self.network.encode_image(torch.stack(ready).to(self.device), normalize=True)
        return self._plain(vectors[: len(pictures)])

    def ready(self, picture: np.ndarray) -> Any:
        """uint8 [H, W, 3] RGB -> float32 tensor [3, side, side] as the network wants it."""
        from PIL import Image

        return self.transform(Image.fromarray(picture))

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, D]. Texts are cut to what the network reads (77 tokens for CLIP's own)."""
        import torch

        filled = [*texts, *[""] * (-len(texts) % _WHOLE)]
        with torch.inference_mode():
            vectors = self.network.encode_text(self.tokenizer(filled).to(self.device), normalize=True)
        return self._plain(vectors[: len(texts)])

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before a softmax: the inverse of the temperature that the network was trained
        to.
        """
        return float(self.network.logit_scale.exp())

    def _plain(self, vectors: Any) -> np.ndarray:
        return vectors.float().cpu().numpy()


@lru_cache(maxsize=2)
def ready_clip(weights: str, path: Path, device: str) -> ClipModel:
    """The network, loaded once per process: two annotators of one pass share it, and neither knows of the other."""
    return ClipModel(weights, path, device)


def _loaded(weights: str, path: Path) -> tuple[Any, Any, str]:
    """(network, transform of PIL pictures, name by which open_clip finds the tokenizer)."""
    import open_clip

    if path.is_dir():
        name = f"local-dir:{path}"
        try:
            network, _, transform = open_clip.create_model_and_transforms(name)
        except Exception as error:  # damaged files make the readers fail in any way
            raise UserError(f"{path} does not hold a network of open_clip: {one_line(error, 160)}") from None
        return network, transform, name
    name = architecture(weights)
    pretrained = weights_named(weights).pretrained or ""
    network = load_network(path, name, pretrained)
    mean, std = (published(name, pretrained).get(key) for key in ("mean", "std"))
    return network, open_clip.image_transform(network.visual.image_size, is_train=False, mean=mean, std=std), name


def load_network(path: Path, model: str, pretrained: str) -> Any:
    """An architecture of open_clip with the weights in a file (state dict or safetensors), in float32, frozen.
    pretrained: as open_clip calls the weights; it decides the activation. Raises UserError for an unknown architecture
    and a file that does not fit.
    """
    import open_clip

    if model not in open_clip.list_models():
        raise UserError(f"open_clip knows no architecture {model!r}")
    quick_gelu = bool(published(model, pretrained).get("quick_gelu", False))
    network: Any = open_clip.create_model(model, pretrained=None, force_quick_gelu=quick_gelu)
    try:
        open_clip.load_checkpoint(network, str(path))
    except Exception as error:  # damaged files make the readers fail in any way
        raise UserError(f"{path} does not fit CLIP {model}: {one_line(error, 160)}") from None
    return network.eval().requires_grad_(False).float()


def published(model: str, pretrained: str) -> dict[str, Any]:
    """What open_clip knows of these weights: where they are published, and how their network differs from the plain
    one.
    """
    from open_clip import get_pretrained_cfg

    return dict(get_pretrained_cfg(model, pretrained))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = one_line(error) if isinstance(error, OSError) else f"not JSON ({error})"
        raise UserError(f"cannot read {path}: {reason}") from error
