"""`train.deterministic`: only algorithms that give the same bits each time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clipmill.curate.errors import UserError, first_line


@contextmanager
def deterministic(asked: bool) -> Iterator[None]:
    """While it is open, and where asked, torch uses no algorithm whose sums depend on the order of threads.

    Raises UserError where an operation has no other: torch says so when it comes to it.
    """
    before = torch.are_deterministic_algorithms_enabled()
    if asked:
        # cuBLAS reads it when it is first used, and torch refuses to multiply without it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if asked and "use_deterministic_algorithms" in str(error):
            raise UserError(f"set train.deterministic=false: {first_line(error, 160)}") from error
        raise
    finally:
        torch.use_deterministic_algorithms(before)
