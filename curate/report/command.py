"""The `curate filter` command that leads from the run's configuration to a policy: what the page's sliders add their
changes to.
"""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.curate.policy.policy import RIVALS, Filter, Policy, parse
from clipmill.curate.report.load import Decided, Run


def commands(run: Run, decided: Decided) -> dict[str, Any]:
    """`curate filter` starts from the policy in run.json's config, so the command must say all that differs from it.

    flags: `--name NAME` where the policy is not the configuration's own. settings: per filter of the policy, key ->
    `column.key=value`, quoted for a shell. off: `column=off` for filters of the configuration that the policy lacks.
    """
    config = run.info.get("config") or {}
    base = {f.column: asked(f) for f in _configured(config).filters}
    settings = [_differences(f.column, asked(f), base.get(f.column, {})) for f in decided.policy.filters]
    own_name = Path(str(config.get("preset") or "")).stem
    return {
        "flags": "" if decided.name == own_name else f"--name {shlex.quote(decided.name)}",
        "settings": settings,
        "off": [shlex.quote(f"{column}=off") for column in base if column not in decided.policy.columns],
    }


def asked(filter_: Filter) -> dict[str, Any]:
    """The filter as a person would set it: a keep-rate target instead of the threshold found from it."""
    found: dict[str, Any] = {k: getattr(filter_, k) for k in ("min", "max")} | (filter_.requested or {})
    for target in filter_.requested or {}:
        found[RIVALS[target]] = None
    found |= {"one_of": filter_.one_of, "on_error": None if filter_.on_error == "error" else filter_.on_error}
    return {k: v for k, v in found.items() if v is not None}


def _configured(config: dict[str, Any]) -> Policy:
    """The configuration's policy; an empty one where run.json has none that can be read."""
    try:
        return parse("configured", config.get("policy") or {})
    except (UserError, AttributeError):
        return Policy("configured")


def _differences(column: str, wanted: dict[str, Any], base: dict[str, Any]) -> dict[str, str]:
    found = {k: _value(v) for k, v in wanted.items() if not _same(v, base.get(k))}
    gone = {k: "error" if k == "on_error" else "off" for k in base if k not in wanted and RIVALS.get(k) not in found}
    return {k: shlex.quote(f"{column}.{k}={v}") for k, v in (found | gone).items()}


def _same(a: Any, b: Any) -> bool:
    """Equal, or equal limits of a float32 column, where freezing writes the float32 that the limit became."""
    return a == b or (isinstance(a, float) and isinstance(b, float) and bool(np.float32(a) == np.float32(b)))


def _value(value: Any) -> str:
    """As TOML, in the fewest digits that read back as the same limit."""
    if isinstance(value, float):
        return str(np.float32(value)) if float(np.float32(value)) == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value)
