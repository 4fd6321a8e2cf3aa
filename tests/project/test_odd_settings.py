"""Every setting of the presets, given what it cannot be: a UserError of one line, whatever the key."""

from typing import Any

import pytest

from clipmill.curate import config as curate_config
from clipmill.curate.errors import UserError
from clipmill.models import config as models_config

ODD = ("None", "3", "[]", "[1]", "'x'", "{a = 1}", "-1", "nan", "true", "{}")


def keys(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all settings, tables included."""
    found = []
    for name, value in tree.items():
        found += [f"{prefix}{name}", *(keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [])]
    return found


def check(load: Any, key: str) -> None:
    """What cannot be is refused in one line; any other error fails the test by itself."""
    for value in ODD:
        said = ""
        try:
            load(f"{key}={value}")
        except UserError as error:
            said = str(error)
        assert "\n" not in said


@pytest.mark.parametrize("key", [*keys(curate_config.load("default").as_dict()), "policy.motion", "policy.nothing"])
def test_of_curate(key: str):
    check(lambda text: curate_config.load("default", [text]), key)


@pytest.mark.parametrize("key", keys(models_config.load("demo-nano").as_dict()))
def test_of_models(key: str):
    check(lambda text: models_config.load("demo-nano", [text]), key)
