"""LAION's aesthetic heads: a line, or a perceptron that is linear, too (its layers have no activations between them),
of a CLIP embedding.

Weights are read as the published files name them: `weight`, `bias`; or `layers.0.weight`, `layers.2.weight`, ... with
dropout between.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.curate.weights import load_state


@dataclass(frozen=True)
class Head:
    """layers: (float32 weight [out, in], bias [out]) in their order."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def size(self) -> int:
        """Numbers that it takes."""
        return self.layers[0][0].shape[1]

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [N, D] of length 1 -> float32 [N] scores."""
        for weight, bias in self.layers:
            vectors = vectors @ weight.T + bias
        return vectors[:, 0]


def load_head(path: Path) -> Head:
    """Raises UserError, one line, where the file is damaged or no such head."""
    state = {name: tensor.float().numpy() for name, tensor in load_state(path).items()}
    names = sorted((n for n in state if n.endswith("weight")), key=_position)
    layers = tuple((state[name], state.get(name.removesuffix("weight") + "bias", np.zeros(0))) for name in names)
    ends = [1, *(weight.shape[1] for weight, _ in reversed(layers) if weight.ndim == 2)]
    fits = layers and all(w.ndim == 2 and b.shape == (w.shape[0],) for w, b in layers)
    if not fits or [weight.shape[0] for weight, _ in reversed(layers)] != ends[:-1]:
        raise UserError(f"{path} holds no aesthetic head: linear layers that end in one number")
    return Head(layers)


def _position(name: str) -> int:
    found = re.search(r"\d+", name)
    return int(found[0]) if found else 0
