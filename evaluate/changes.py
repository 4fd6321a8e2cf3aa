"""Settings of a score: which of them change the protocol, and which a metric."""

from collections.abc import Iterable
from typing import Any

from clipmill.curate.common.settings import parse_override


def changes_of(texts: Iterable[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(fields of the protocol, metric -> its fields) of `key=value` texts: `fvd.draws=5` has a dot, a protocol's field
    has none. Raises UserError for a text without an equals sign.
    """
    changes: dict[str, Any] = {}
    parameters: dict[str, dict[str, Any]] = {}
    for text in texts:
        for key, value in parse_override(text).items():
            if isinstance(value, dict):
                parameters.setdefault(key, {}).update(value)
            else:
                changes[key] = value
    return changes, parameters
