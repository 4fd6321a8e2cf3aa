"""What `train.learn` says. Light: imported by the command line."""

import re
from dataclasses import dataclass
from typing import Literal

ALL, TEMPORAL, QUERY, LORA, CONTROL = "all", "temporal", "query+temporal", "lora", "control"
_LORA = re.compile(r"lora:([1-9]\d{0,5})(:temporal)?")


@dataclass(frozen=True)
class Learn:
    """rank: of low-rank branches, 0 for the other kinds. along_time: branches at attention along time alone."""

    kind: Literal["all", "temporal", "query+temporal", "lora", "control"]
    rank: int = 0
    along_time: bool = False


def learn_of(text: str) -> Learn:
    """all, temporal, query+temporal, control, lora:RANK or lora:RANK:temporal. Raises ValueError for another."""
    for kind in (ALL, TEMPORAL, QUERY, CONTROL):
        if text == kind:
            return Learn(kind)  # type: ignore[arg-type]
    found = _LORA.fullmatch(str(text))
    if found is None:
        raise ValueError(f"learn is all, temporal, query+temporal, control, lora:8 or lora:8:temporal, not {text!r}")
    return Learn("lora", int(found[1]), found[2] is not None)
