"""CoCa through open_clip: pictures to sentences (Yu et al. 2022, arXiv 2205.01917).

open_clip's own `generate` needs classes that transformers 5 has no more, encodes each picture once per beam, and adds
up logits instead of log probabilities; so the search is ours, the network and its decoder are open_clip's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipmill.curate.captions.beam_search import Beams
from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import ready_clip

if TYPE_CHECKING:
    from torch import Tensor

# As open_clip's default: shorter captions are mostly a noun.
_SHORTEST = 5


class Coca:
    """Ready to write."""

    def __init__(self, weights: str, path: Path, device: str, n_beams: int, max_tokens: int) -> None:
        """weights: their name; path: where they lie. Raises UserError for files that do not fit, or for a network that
        does not write.
        """
        self._clip = ready_clip(weights, path, device)
        self._network: Any = self._clip.network
        self._device = device
        tokenizer: Any = self._clip.tokenizer
        if not hasattr(self._network, "text_decoder") or not hasattr(tokenizer, "sot_token_id"):
            raise UserError(f"{weights} does not write: a CoCa of open_clip is needed, for example coca-vit-l-14")
        self._beams = Beams(
            count=n_beams,
            longest=min(max_tokens, self._network.context_length - 2),
            shortest=min(_SHORTEST, max_tokens - 1),
            start=tokenizer.sot_token_id,
            end=tokenizer.eot_token_id,
            pad=self._network.pad_id,
        )

    def captions(self, pictures: Sequence[np.ndarray], batch: int = 1) -> list[tuple[str, bool]]:
        """uint8 [H, W, 3] RGB of any sizes -> (text, whether it came to its end) of each. batch: fewer are filled up to
        as many, so that what is written of a picture does not depend on how many others there are (sums of another
        shape round otherwise).
        """
        import torch

        with torch.inference_mode():
            ready = [self._clip.ready(picture) for picture in pictures]
            ready += [torch.zeros_like(ready[0])] * (batch - len(ready))
            images = torch.stack(ready).to(self._device)
            encoded = self._network(images)
            repeated = {
                name: encoded[f"image_{key}"].repeat_interleave(self._beams.count, 0) for name, key in _ENCODED.items()
            }

            def step(tokens: "Tensor") -> "Tensor":
                return self._network(None, tokens, **repeated, output_labels=False)["logits"][:, -1]

            tokens, ended = self._beams.best(step, len(images), self._device)
        return [(self._text(row), end) for row, end in zip(tokens.tolist(), ended, strict=True)][: len(pictures)]

    def _text(self, tokens: list[int]) -> str:
        kept = [t for t in tokens if t not in (self._beams.start, self._beams.end, self._beams.pad)]
        return str(self._clip.tokenizer.decode(kept)).strip()


_ENCODED = {"image_latent": "features", "image_embs": "embs"}
