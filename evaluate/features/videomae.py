"""VideoMAE features through transformers: a network trained without labels on video, less blind to motion than I3D."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from clipmill.curate.errors import UserError, first_line
from clipmill.curate.weights import hub_folder, sha256
from clipmill.evaluate.features import FeatureNetwork

DEFAULT_MODEL = "MCG-NJU/videomae-base"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VideoMAE(FeatureNetwork):
    """Mean over all tokens of the last layer (Tong et al. 2022, arXiv 2203.12602). Takes exactly the frames it was
    trained on, usually 16.

    Ge et al. 2024 (arXiv 2404.12391) use another network of this family, VideoMAE-v2 ViT-g tuned on
    Something-Something: their numbers cannot be compared with these.
    """

    min_frames: ClassVar[int] = 16
    dim: ClassVar[int] = 768
    label: str = "VideoMAE"

    def __init__(
        self, device: str = "cpu", weights: Path | None = None, model: str = DEFAULT_MODEL, **options: Any
    ) -> None:
        """weights: a folder written by `save_pretrained`, else `model` is taken from the local Hugging Face cache;
        nothing is downloaded. Raises UserError where it is missing, is another network, or transformers is not
        installed.
        """
        if options:
            raise UserError(f"the network videomae takes no {', '.join(options)}")
        folder = _folder(weights, model)
        self._model = _loaded(folder).to(device)
        self._checksum = _checksum(folder)
        config = self._model.config
        self._frames = int(config.num_frames)
        self.side_px = int(config.image_size)  # type: ignore[misc]
        self.min_frames = self._frames  # type: ignore[misc]
        self.dim = int(config.hidden_size)  # type: ignore[misc]
        self._mean, self._std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (_MEAN, _STD))

    @property
    def identity(self) -> str:
        """Size and checksum of the weights."""
        return f"VideoMAE, {self._model.config.num_hidden_layers} layers, mean of tokens, sha256 {self._checksum}"

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, side_px, side_px] in [-1, 1] -> float32 [B, D]. Raises UserError for another T or size."""
        if tuple(videos.shape[1:]) != (self._frames, 3, self.side_px, self.side_px):
            wanted = f"[B, {self._frames}, 3, {self.side_px}, {self.side_px}]"
            raise UserError(
                f"this VideoMAE takes clips of exactly {self._frames} frames, {wanted}, not {list(videos.shape)}"
            )
        pixels = ((videos.to(self._mean.device) + 1) / 2 - self._mean) / self._std
        return self._model(pixel_values=pixels).last_hidden_state.mean(1)


def _folder(weights: Path | None, model: str) -> Path:
    """Where config.json and the weights lie. Looks only; importing transformers first would take seconds."""
    if weights is not None:
        folder = weights.expanduser()
    else:
        folder = _in_cache(model)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"no VideoMAE in {folder}: it needs config.json and model.safetensors, as save_pretrained writes them"
        )
    return folder


def _in_cache(model: str) -> Path:
    found = Path(model) if Path(model).is_dir() else hub_folder(model)
    if found is None:
        raise UserError(
            f"no {model} in the local Hugging Face cache: put it there (of the default model, `curate weights pull"
            " videomae`), or name a folder with --weights"
        )
    return found


def _loaded(folder: Path) -> Any:
    try:
        from transformers import VideoMAEConfig, VideoMAEModel
    except ImportError:
        raise UserError("VideoMAE needs transformers: pip install transformers") from None
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = VideoMAEConfig.from_pretrained(folder, **safe)
        loaded: Any = VideoMAEModel.from_pretrained(folder, config=config, output_loading_info=True, **safe)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"no VideoMAE can be loaded from {folder}: {first_line(error)}") from None
    model, report = loaded
    if report["missing_keys"]:
        raise UserError(f"{folder} holds no whole VideoMAE: {min(report['missing_keys'])} is missing")
    return model.eval().requires_grad_(False).float()


def _checksum(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    return " ".join(sha256(f) for f in files)
