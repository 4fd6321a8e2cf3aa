"""Encoders of captions that have weights: read at the first caption, so that a network can be built without them in
memory.
"""

from abc import abstractmethod
from typing import Any

import torch

from clipmill.models.conditioning.text.encoder import TextEncoder


class WeightedEncoder(TextEncoder):
    """Its network and tokenizer are there when somebody asks for them."""

    _loaded: tuple[Any, Any] | None = None

    @abstractmethod
    def load(self) -> tuple[Any, Any]:
        """(tokenizer, frozen network on the CPU in single precision). Raises UserError."""

    @property
    def parts(self) -> tuple[Any, Any]:
        """(tokenizer, network on `device`)."""
        if self._loaded is None:
            tokenizer, network = self.load()
            self._loaded = tokenizer, network.to(self.device)
        return self._loaded

    def to(self, device: torch.device) -> None:
        super().to(device)
        if self._loaded is not None:
            self._loaded[1].to(device)
