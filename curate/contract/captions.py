"""The list of a clip's captions, as the manifest holds it."""

from collections.abc import Mapping
from typing import Any

PREFIX = "caption_"


def caption(source: str, model: str | None, text: str | None, sample_weight: float, status: str) -> dict[str, Any]:
    """A struct of schema.CAPTION."""
    return {"source": source, "model": model, "text": text, "sample_weight": sample_weight, "status": status}


def captions_of(rows: Mapping[str, Mapping[str, Any] | None], sidecar: str | None) -> list[dict[str, Any]]:
    """The captions that are there: the sidecar's, then those of caption annotators. rows: annotator -> its row of the
    clip.
    """
    found = [] if sidecar is None else [caption("sidecar", None, sidecar, 1.0, "ok")]
    for name, row in rows.items():
        if row is not None and name in row and row["status"] == "ok" and row[name]:
            found.append(caption(name.removeprefix(PREFIX), None, row[name], 1.0, "ok"))
    return found
