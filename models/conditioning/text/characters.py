"""Characters as fixed random vectors: for captions in any script, without weights."""

import unicodedata

import torch

from clipmill.models.conditioning.text.encoder import TextEncoder
from clipmill.models.conditioning.text.hashed import hashed_tokens


class Characters(TextEncoder):
    """A token per character, in any case and width; runs of white space are one space."""

    @property
    def name(self) -> str:
        return f"characters 1, {self.tokens} x {self.dim}"

    def encode_some(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        plain = [" ".join(unicodedata.normalize("NFKC", text).lower().split()) for text in texts]
        return hashed_tokens(plain, "character", self.tokens, self.dim)
