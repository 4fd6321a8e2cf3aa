"""The engine that a run's options name."""

from dataclasses import replace

from clipmill.curate.engines import Engine
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError, closest

ENGINES = ("local", "inline")
_NEVER = 1 << 30


def engine_of(options: RunOptions, workers: int | None = None, recycle: bool = True) -> Engine:
    """The engine called `options.engine`.

    Args:
        options: of the command.
        workers: how many; None: `options.n_workers`.
        recycle: whether a worker is replaced after some tasks.

    Raises:
        UserError: for an unknown one.
    """
    if options.engine == "inline":
        from clipmill.curate.engines.inline import InlineEngine

        return InlineEngine()
    if options.engine == "local":
        from clipmill.curate.engines.local import LocalEngine

        made = LocalEngine(workers or options.n_workers)
        return made if recycle else replace(made, recycle_after=_NEVER)
    raise UserError(f"no engine called {options.engine!r}{closest(options.engine, ENGINES)}")
