"""The engine that a run's options name."""

from clipmill.curate.engines import Engine
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError


def engine_of(options: RunOptions) -> Engine:
    """The engine called `options.engine`. Raises UserError for an unknown one."""
    if options.engine != "local":
        raise UserError(f"no engine called {options.engine!r}; there is: local")
    from clipmill.curate.engines.local import LocalEngine

    return LocalEngine(options.n_workers)
