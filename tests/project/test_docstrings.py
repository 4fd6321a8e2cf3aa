"""Every public name says what it is: modules, functions, classes, and methods that no documented base describes."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

from clipmill import curate, evaluate, models


def undocumented(package: Any) -> Iterator[str]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(found.name)
        if not module.__doc__:
            yield found.name
        for name, thing in vars(module).items():
            if not name.startswith("_") and getattr(thing, "__module__", None) == found.name:
                yield from (f"{found.name}.{missing}" for missing in _of(name, thing))


def _of(name: str, thing: Any) -> Iterator[str]:
    is_class = inspect.isclass(thing)
    # A dataclass without a docstring gets its signature as one.
    signature_alone = is_class and (thing.__doc__ or "").startswith(f"{name}(")
    if (is_class or inspect.isfunction(thing)) and (not thing.__doc__ or signature_alone):
        yield name
    for key, member in vars(thing).items() if is_class else ():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if (
            inspect.isfunction(function)
            and not key.startswith("_")
            and not function.__doc__
            and not _described_by_base(thing, key)
        ):
            yield f"{name}.{key}"


def _described_by_base(thing: type, key: str) -> bool:
    # torch's own words on `forward` say no shapes; a class docstring with a layout in brackets does.
    bases = [base for base in thing.__mro__[1:] if getattr(vars(base).get(key), "__doc__", None)]
    return bool(bases) and (key != "forward" or "[" in (thing.__doc__ or ""))


@pytest.mark.parametrize("package", [curate, evaluate, models], ids=lambda package: package.__name__)
def test_public_names_have_docstrings(package):
    assert sorted(undocumented(package)) == []
