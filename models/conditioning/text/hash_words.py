"""Words as fixed random vectors: for small vocabularies and for tests, without weights."""

import re
import unicodedata

import torch

from clipmill.models.conditioning.text.encoder import TextEncoder
from clipmill.models.conditioning.text.hashed import hashed_tokens

# A run of letters and digits, or a sign of its own.
_WORD = re.compile(r"\w+|[^\w\s]")


class HashWords(TextEncoder):
    """A token per word, in any case and width, and per punctuation mark. It knows no likeness between words: a model
    learns each by itself. Scripts without spaces are better served by characters.
    """

    @property
    def name(self) -> str:
        return f"words 1, {self.tokens} x {self.dim}"

    def encode_some(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        return hashed_tokens([words_of(text) for text in texts], "word", self.tokens, self.dim)


def words_of(text: str) -> list[str]:
    """Words and punctuation marks in order, in lower case and Unicode's compatibility form."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())
