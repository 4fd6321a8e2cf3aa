"""Noise level and conditioning vector as one embedding per sample, or as tokens."""

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.layers.embeddings import SMALL_STD, NoiseLevelEmbedding
from clipmill.models.layers.linear import xavier_linear


class SampleEmbedding(nn.Module):
    """noise_level float [B], vector float [B, vector_dim] or None -> float [B, dim], activated by SiLU once for all
    layers that read it.

    Without a vector the embedding is that of the noise level alone.
    """

    def __init__(self, dim: int, vector_dim: int, noise_scale: float) -> None:
        super().__init__()
        self.noise_level = NoiseLevelEmbedding(dim, noise_scale)
        self.vector_in = xavier_linear(vector_dim, dim) if vector_dim else None
        self.vector_out = xavier_linear(dim, dim) if vector_dim else None

    def forward(self, noise_level: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
        embedding = self.noise_level(noise_level)
        if self.vector_in is not None and self.vector_out is not None and vector is not None:
            embedding = embedding + self.vector_out(F.silu(self.vector_in(vector.to(embedding.dtype))))
        return F.silu(embedding)

    def flops(self) -> int:
        """Floating point operations of a forward pass for one sample, with a vector where there is a place for one, a
        multiply-add being two; sinusoids and activations are left out.
        """
        layers = [layer for layer in (self.vector_in, self.vector_out) if layer is not None]
        return self.noise_level.flops() + sum(2 * layer.weight.numel() for layer in layers)


class SampleTokens(SampleEmbedding):
    """The same as tokens with learned places: float [B, 1 or 2, dim], the noise level and, where there is a place for
    one, the vector (U-ViT, 2209.12152, section 3).
    """

    def __init__(self, dim: int, vector_dim: int, noise_scale: float) -> None:
        super().__init__(dim, vector_dim, noise_scale)
        self.places = nn.Parameter(torch.empty(2 if vector_dim else 1, dim))
        nn.init.normal_(self.places, std=SMALL_STD)

    def forward(self, noise_level: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
        tokens = [self.noise_level(noise_level)]
        if self.vector_in is not None and self.vector_out is not None:
            given = tokens[0].new_zeros(len(tokens[0]), self.vector_in.in_features) if vector is None else vector
            tokens.append(self.vector_out(F.silu(self.vector_in(given.to(tokens[0].dtype)))))
        return torch.stack(tokens, dim=1) + self.places
