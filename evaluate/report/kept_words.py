"""What the latents of a checkpoint keep, in words: for its page, and for `models info`."""

from collections.abc import Mapping
from typing import Any

_SETS = {"training": "training", "held_out": "held-out"}


def kept_words(shares: Mapping[str, Any]) -> str:
    """shares: `kept` of a run card, energy and change over time of windows that were trained on and of held-out ones,
    1 for all of it. A share below 0, where latents add more error than there was to keep, is nothing. "" for none.
    """
    parts = []
    for name, title in _SETS.items():
        found = [
            f"{_share(shares[key])} of the {what}"
            for what, key in (("energy", f"{name}_energy"), ("change over time", f"{name}_change"))
            if isinstance(shares.get(key), int | float)
        ]
        parts += [f"{' and '.join(found)} of {title} windows"] if found else []
    return "; ".join(parts)


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if value > 0 else "nothing"
