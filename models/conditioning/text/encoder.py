"""What every encoder of captions offers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch


class TextEncoder(ABC):
    """Frozen: captions to tokens. tokens: places for them; dim: channels of each; device: where it computes."""

    def __init__(self, tokens: int, dim: int) -> None:
        self.tokens, self.dim = tokens, dim
        self.device = torch.device("cpu")

    @property
    @abstractmethod
    def name(self) -> str:
        """Changes whenever the tokens of some caption would: for keys of caches."""

    @abstractmethod
    def encode_some(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [B, tokens, dim], bool [B, tokens], of captions that are not empty."""

    def to(self, device: torch.device) -> None:
        """Where to compute; tokens come back on the CPU."""
        self.device = device

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens float32 [B, N, D] on the CPU, and mask bool [B, N], False for padding, whose tokens are zero. An empty
        caption is padding throughout.
        """
        features = torch.zeros(len(texts), self.tokens, self.dim)
        mask = torch.zeros(len(texts), self.tokens, dtype=torch.bool)
        there = [index for index, text in enumerate(texts) if text.strip()]
        if there:
            some, some_mask = (part.cpu() for part in self.encode_some([texts[index].strip() for index in there]))
            features[there] = some.float().masked_fill(~some_mask.unsqueeze(-1), 0.0)
            mask[there] = some_mask
        return features, mask
