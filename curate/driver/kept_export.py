"""What `curate export` set stays when `curate run` is asked again as before."""

import json
from dataclasses import asdict, replace
from typing import Any

from clipmill.curate.config import Config
from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of, read_run_json

# Key of run.json: what `curate run` asked for, where `curate export` has changed it since.
BEFORE = "export_before"


def asked_before(run: RunDir, config: Config | None = None) -> dict[str, Any]:
    """The entry for the next run.json; empty where no `curate export` has changed a setting, or where this
    configuration has others.
    """
    try:
        facts = read_run_json(run)
    except UserError:  # the first run, or one that was not finished
        return {}
    stays = config is None or _plain(config) == facts["config"]["export"]
    return {BEFORE: facts[BEFORE]} if stays and BEFORE in facts else {}


def changed_by_export(facts: dict[str, Any], config: Config) -> dict[str, Any]:
    """run.json of a run that `curate export` gives this configuration."""
    before = facts.get(BEFORE, facts["config"]["export"])
    return facts | {"config": config.as_dict()} | ({} if _plain(config) == before else {BEFORE: before})


def kept_export(run: RunDir, config: Config) -> tuple[Config, str]:
    """For `curate run` into a run that is there: its configuration with what `curate export` set, unless it asks for
    another export than the run did; and a line for people where there is something to tell.
    """
    before = asked_before(run).get(BEFORE)
    if before is None:
        return config, ""
    now = config_of(run)
    changes = ", ".join(f"{k}={v}" for k, v in _plain(now).items() if v != before.get(k))
    if _plain(config) == before:
        return replace(config, export=now.export), f"export stays as `curate export` set it: {changes}"
    return config, f"what `curate export` set does not stay ({changes}): this command has other export settings"


def _plain(config: Config) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config.export)))
    return plain
