"""Vision-language networks of transformers, from a folder of this machine: pictures of a clip to text. Safetensors
only, no foreign code.

BLIP-2 (Li et al. 2023, arXiv 2301.12597) sees several pictures as VideoBLIP does, which wrote the second captions of
the SVD paper: the patches of all pictures stand side by side when the Q-Former looks at them. Networks of the chat kind
see each picture by itself.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipmill.curate.common.files import parse_json
from clipmill.curate.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor

CHAT_PROMPT = (
    "These are frames of one short video clip, in their order. Describe the clip in one to three plain sentences: who"
    " or what is seen, what happens, and how the camera moves. Say only what is visible."
)
BLIP2 = "blip-2"


def check_transformers() -> None:
    """Raises UserError where transformers is not installed; imports nothing."""
    if find_spec("transformers") is None:
        raise UserError("caption_video needs the package transformers: pip install transformers")


class VisionLanguage:
    """Ready to write."""

    def __init__(self, folder: Path, device: str) -> None:
        """folder: as `save_pretrained` of network and processor write it. Raises UserError, one line, where it cannot
        be loaded.
        """
        import torch

        check_transformers()
        from transformers import AddedToken

        self.kind = _kind(folder)
        self._device = device
        self._dtype = torch.float32 if device == "cpu" else torch.bfloat16
        self._processor, self._network = _loaded(folder, self.kind, self._dtype)
        self._network.eval().requires_grad_(False).to(device)
        self._processor.tokenizer.padding_side = "left"
        if self.kind == BLIP2:
            _sees_pictures_side_by_side(self._network)
            if isinstance(self._processor.image_token, str):  # its `__call__` takes it for an AddedToken
                self._processor.image_token = AddedToken(self._processor.image_token, normalized=False, special=True)
            if self._network.config.image_token_index is None or self._processor.num_query_tokens is None:
                raise UserError(
                    f"{folder} is of a BLIP-2 whose files name no image token: fetch its files again, or save it with"
                    " transformers >= 4.50"
                )

    def captions(
        self, clips: Sequence[Sequence[np.ndarray]], prompt: str | None, max_tokens: int, n_beams: int
    ) -> list[tuple[str, bool]]:
        """Of each clip, its pictures uint8 [H, W, 3] RGB (of a BLIP-2, the same number of each) -> (text, whether it
        came to its end).

        prompt: None for none of BLIP-2, and for `CHAT_PROMPT` of others. The likeliest text: nothing is drawn by
        chance.
        """
        import torch

        inputs = (
            self._of_blip2(clips, prompt or "")
            if self.kind == BLIP2
            else self._of_chat(clips, CHAT_PROMPT if prompt is None else prompt)
        )
        fixed = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        with torch.inference_mode():
            tokens = self._network.generate(**inputs, max_new_tokens=max_tokens, num_beams=n_beams, **fixed)
        return self._texts(_without_prompt(tokens, inputs["input_ids"]), max_tokens)

    def _of_chat(self, clips: Sequence[Sequence[np.ndarray]], prompt: str) -> Any:
        texts = [self._question(len(pictures), prompt) for pictures in clips]
        start = self._processor.tokenizer.bos_token
        twice = (
            {"add_special_tokens": False} if start and texts[0].startswith(start) else {}
        )  # the template has put it there
        inputs = self._processor(text=texts, images=_images(clips), padding=True, return_tensors="pt", **twice)
        return inputs.to(self._device, self._dtype)

    def _question(self, n_pictures: int, prompt: str) -> str:
        if not getattr(self._processor, "chat_template", None):
            return f"{getattr(self._processor, 'image_token', '<image>') * n_pictures}\n{prompt}"
        content = [*({"type": "image"} for _ in range(n_pictures)), {"type": "text", "text": prompt}]
        return str(
            self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        )

    def _of_blip2(self, clips: Sequence[Sequence[np.ndarray]], prompt: str) -> Any:
        """pixel_values [B, pictures, 3, H, W]; the text counts the image as once."""
        flat = [image for images in _images(clips) for image in images]
        inputs = self._processor(text=[prompt] * len(clips), images=flat, return_tensors="pt").to(
            self._device, self._dtype
        )
        inputs["pixel_values"] = inputs["pixel_values"].unflatten(0, (len(clips), -1))
        return inputs

    def _texts(self, tokens: "Tensor", max_tokens: int) -> list[tuple[str, bool]]:
        texts = self._processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        ends = self._network.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        ended = [tokens.shape[1] < max_tokens or any(token in ends for token in row) for row in tokens.tolist()]
        return [(text.strip(), end) for text, end in zip(texts, ended, strict=True)]


def _images(clips: Sequence[Sequence[np.ndarray]]) -> list[list[Any]]:
    from PIL import Image

    return [[Image.fromarray(picture) for picture in pictures] for pictures in clips]


def _without_prompt(tokens: "Tensor", prompt: "Tensor") -> "Tensor":
    """Some networks give the prompt back before what they wrote."""
    length = prompt.shape[1]
    return tokens[:, length:] if tokens.shape[1] >= length and bool((tokens[:, :length] == prompt).all()) else tokens


def _sees_pictures_side_by_side(network: Any) -> None:
    """BLIP-2's vision network takes [B, T, 3, H, W], and gives the patches of a clip's T pictures as if they were of
    one.
    """
    from torch import nn

    class SideBySide(nn.Module):
        def __init__(self, single: nn.Module) -> None:
            super().__init__()
            self.single = single

        def forward(self, pixel_values: "Tensor", **options: Any) -> Any:
            found = self.single(pixel_values.flatten(0, 1), **options)
            patches = found.last_hidden_state.unflatten(0, pixel_values.shape[:2]).flatten(1, 2)
            return type(found)(last_hidden_state=patches, pooler_output=found.pooler_output)

    network.vision_model = SideBySide(network.vision_model)


def _kind(folder: Path) -> str:
    try:
        return str(parse_json((folder / "config.json").read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        raise UserError(f"{folder} holds no network of transformers: config.json is missing or damaged") from None


def _loaded(folder: Path, kind: str, dtype: Any) -> tuple[Any, Any]:
    """(processor, network). Nothing that the folder brings is run, and nothing is fetched."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    named = "dtype" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 56) else "torch_dtype"
    network_class: Any = (
        transformers.Blip2ForConditionalGeneration if kind == BLIP2 else transformers.AutoModelForImageTextToText
    )
    processor_class: Any = transformers.Blip2Processor if kind == BLIP2 else transformers.AutoProcessor
    try:
        processor = processor_class.from_pretrained(folder, **safe)
        network, report = network_class.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **{named: dtype}, **safe
        )
    except Exception as error:  # damaged or foreign files make the readers fail in any way
        raise UserError(f"caption_video.network: {folder} cannot be loaded: {one_line(error, 200)}") from None
    if report["missing_keys"]:
        raise UserError(
            f"caption_video.network: {folder} holds no whole network: {min(report['missing_keys'])} is missing"
        )
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise UserError(f"caption_video.network: {folder} holds no processor of pictures and text beside its network")
    return processor, network
