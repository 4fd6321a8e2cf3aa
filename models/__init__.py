"""The reference latent video diffusion model: trained on a curate run, sampled from.

    from clipmill import models

    models.train("run", "checkpoint", "demo")
    models.sample("checkpoint", "samples", n=64)

The public names are below; `docs/api.md` shows each. `models` may import `curate` and `evaluate`; neither imports it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipmill.models.api import sample, train

__all__ = ["sample", "train"]

_HOMES = {"sample": "clipmill.models.api", "train": "clipmill.models.api"}


def __getattr__(name: str) -> Any:
    from clipmill.curate.common.plugins import lazily

    return lazily(__name__, _HOMES)(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
