"""Linear layers by how they start."""

from torch import nn


def xavier_linear(dim: int, out_dim: int, bias: bool = True) -> nn.Linear:
    """Uniform weights of variance 2 / (dim + out_dim), zero bias (DiT, 2212.09748)."""
    layer = nn.Linear(dim, out_dim, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def zero_linear(dim: int, out_dim: int) -> nn.Linear:
    """Weights and bias zero: with the bias left random a residual around it would not start as the identity."""
    layer = nn.Linear(dim, out_dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
