"""What is imported by a name known only when the program runs: plug-ins by file name (one class per file of a package,
no registry), and public names of a package when they are first used.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

from clipmill.curate.errors import UserError

Plugin = TypeVar("Plugin")


def file_names(package: ModuleType) -> list[str]:
    """Every plug-in of the package, by file name; `_private.py` is none."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def names(package: ModuleType) -> list[str]:
    """The same as a person types them, with dashes for underscores."""
    return [name.replace("_", "-") for name in file_names(package)]


def plugin(package: ModuleType, name: str, base: type[Plugin], what: str) -> type[Plugin]:
    """The one subclass of `base` in `<package>/<name>.py`. Raises UserError with the known names where there is
    none.
    """
    if name.replace("_", "-") not in names(package):
        raise UserError(f"no {what} called {name!r}; there are: {', '.join(names(package))}")
    module = importlib.import_module(f"{package.__name__}.{name.replace('-', '_')}")
    found = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, base) and v.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(f"{module.__name__} must define exactly one {base.__name__}, it defines {len(found)}")
    return found[0]


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose public names live in other modules: each is imported when it is first used,
    so that `import` of the package costs nothing. homes: public name -> dotted name of its module.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return get
