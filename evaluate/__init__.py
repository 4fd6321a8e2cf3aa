"""Scores of generated and curated video: FVD, KVD and others, each number with its protocol and its error bar.

    from clipmill.evaluate import fvd

    row = fvd("real/", "samples/", protocol="clipmill")
    print(row, row.fingerprint)

`fvd`, `kvd`, `score` take whatever the command line takes, and uint8 arrays [N, T, H, W, 3]. Inside training loops
there are the meters `FrechetVideoDistance` and `KernelVideoDistance` (update, compute). The public names are below;
`docs/api.md` shows each. `evaluate` may import `curate`, and never sees a model class.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipmill.evaluate.api import fvd, kvd, score
    from clipmill.evaluate.meter import FrechetVideoDistance, KernelVideoDistance

__all__ = ["FrechetVideoDistance", "KernelVideoDistance", "fvd", "kvd", "score"]

_HOMES = {
    "FrechetVideoDistance": "clipmill.evaluate.meter",
    "KernelVideoDistance": "clipmill.evaluate.meter",
    "fvd": "clipmill.evaluate.api",
    "kvd": "clipmill.evaluate.api",
    "score": "clipmill.evaluate.api",
}


def __getattr__(name: str) -> Any:
    from clipmill.curate.common.plugins import lazily

    return lazily(__name__, _HOMES)(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
