"""Which policy decides a run: the configuration's, or what `curate filter` made of it."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from clipmill.curate.common.settings import parse_override, title_of
from clipmill.curate.config import Config, load_tree
from clipmill.curate.contract import schema
from clipmill.curate.errors import UserError
from clipmill.curate.policy import decisions
from clipmill.curate.policy.policy import Policy, asked, merge, parse
from clipmill.curate.tables.join import makers
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_run_json


def policy_of(config: Config, name: str | None = None) -> Policy:
    """The configuration's policy, its columns checked. Raises UserError for a column nothing makes, before any work."""
    title = name or title_of(config.preset)
    return parse(title, config.policy, columns=_columns(config))


def _columns(config: Config) -> list[str]:
    return [*schema.CLIPS.names, *makers(config), *schema.JOINED_COLUMNS]


def filtered_policy(run: RunDir) -> Policy | None:
    """The policy that decides the run as `curate filter` left it, its targets not frozen; None where it is the
    configuration's own, and where there is no finished run.
    """
    try:
        facts = read_run_json(run)
        active, _, _ = decisions.load(run.root, facts["policy"])
        own = policy_of(load_tree(facts["config"]))
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None
    return None if active.name == own.name and _rounded(active) == _rounded(own) else parse(active.name, asked(active))


def _rounded(policy: Policy) -> dict[str, dict[str, Any]]:
    """What was asked for, to the precision of scores: freezing rounds a limit to that of its column."""
    return {
        column: {
            key: float(np.float32(value)) if isinstance(value, float) else value for key, value in settings.items()
        }
        for column, settings in asked(policy).items()
    }


def with_settings(policy: Policy, sets: Sequence[str], config: Config) -> Policy:
    """The policy with the `policy.COLUMN.KEY=VALUE` among a command's settings. Raises UserError for a column nothing
    makes.
    """
    table: dict[str, Any] = asked(policy)
    for tree in map(parse_override, sets):
        table = merge(table, tree.get("policy", {}))
    return parse(policy.name, table, columns=_columns(config))


def kept_policy(run: RunDir, config: Config) -> tuple[Policy | None, str]:
    """For `curate run` into a run that is there: what `curate filter` made of its policy, unless this configuration has
    another one than the run had; and a line for people where there is something to tell.
    """
    policy = filtered_policy(run)
    if policy is None:
        return None, ""
    if read_run_json(run)["config"]["policy"] == json.loads(json.dumps(config.policy)) and set(policy.columns) <= set(
        _columns(config)
    ):
        return policy, policy_stays(policy)
    return (
        None,
        (
            f"policy {policy.name} of `curate filter` does not stay: this command has another policy; `curate filter`"
            " decides again"
        ),
    )


def policy_stays(policy: Policy) -> str:
    """The line that says so."""
    return f"policy {policy.name} stays as `curate filter` left it"
