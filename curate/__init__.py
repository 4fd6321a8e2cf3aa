"""Raw videos in; clips, scores, decisions, shards and a report out.

    from clipmill import curate

    run = curate.run("videos", "run")
    clips = curate.ClipDataset(run, n_frames=16)

The public names are below; `docs/api.md` shows each. They are imported when they are first used. Everything else is
found in its room (`clipmill.curate.scenes`, ...) and may move. `curate` imports neither `evaluate` nor `models`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipmill.curate.api import Run, load_config, run
    from clipmill.curate.dataset import ClipDataset, ResumableSampler
    from clipmill.curate.errors import UserError

__all__ = ["ClipDataset", "ResumableSampler", "Run", "UserError", "load_config", "run"]

_HOMES = {
    "ClipDataset": "clipmill.curate.dataset",
    "ResumableSampler": "clipmill.curate.dataset",
    "Run": "clipmill.curate.api",
    "UserError": "clipmill.curate.errors",
    "load_config": "clipmill.curate.api",
    "run": "clipmill.curate.api",
}


def __getattr__(name: str) -> Any:
    from clipmill.curate.common.plugins import lazily

    return lazily(__name__, _HOMES)(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
