"""The columns in which CLIP's embeddings are stored, and reading them back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.errors import AnnotatorError


def column(role: str) -> str:
    """The column of a role's embedding."""
    return f"clip_embedding_{role}"


def roles_of(columns: Mapping[str, Any]) -> list[str]:
    """The roles of which a clip has an embedding, in their order."""
    return [role for role in ROLES if columns.get(column(role)) is not None]


def embeddings(columns: Mapping[str, Any]) -> np.ndarray:
    """float32 [R, D] of length 1, of the roles that a clip has, in their order. Raises AnnotatorError where it has
    none.
    """
    found = [np.asarray(columns[column(role)], np.float32) for role in roles_of(columns)]
    if not found:
        raise AnnotatorError("no embedding")
    vectors = np.stack(found)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
