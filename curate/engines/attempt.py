"""One call of a task's function, whatever it raises."""

from collections.abc import Callable
from typing import Any

from clipmill.curate.errors import UserError, full_disk, is_full_disk

USER_ERROR = "user error"


def attempt(function: Callable[..., Any], *arguments: Any) -> tuple[str, Any, str | None]:
    """(status, value, message). status: ok; error, where it raised; USER_ERROR, where every task would end the same
    way: a mistake of the user, or a full disk. value is the kind of error then.
    """
    try:
        return "ok", function(*arguments), None
    except UserError as error:
        return USER_ERROR, type(error), str(error)
    except Exception as error:
        if is_full_disk(error):
            return USER_ERROR, UserError, str(full_disk())
        return "error", None, f"{type(error).__name__}: {' '.join(str(error).split())}"
