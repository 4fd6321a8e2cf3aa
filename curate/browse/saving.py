"""Moved thresholds become a policy of the run, under a name."""

import shlex
from typing import Any

from clipmill.curate.browse.clips import Clips
from clipmill.curate.browse.view import Asked, number
from clipmill.curate.driver.finish import save_decisions
from clipmill.curate.driver.run_facts import outcome_counts
from clipmill.curate.errors import UserError
from clipmill.curate.policy import decisions
from clipmill.curate.policy.policy import Policy, asked, check_columns, override, parse
from clipmill.curate.tables.join import makers
from clipmill.curate.tables.run_dir import changing
from clipmill.curate.tables.run_json import config_of


def save_policy(clips: Clips, name: str, address: Asked) -> dict[str, Any]:
    """Decide every clip by the run's policy with the address's thresholds, and save that as decisions/NAME. Returns
    what a person is told. Raises UserError for a name that is none, is the run's own policy's, or a limit that cannot
    be.
    """
    run, facts = clips.run, clips.facts
    if name == facts.policy:
        raise UserError(f"{name} is the policy that decides the run; take another name")
    config = config_of(run)
    policy = override(parse(name, asked(Policy(name, facts.filters))), _settings(address))
    check_columns(policy, [*facts.schema.names, *makers(config)], run.root)
    with changing(run):
        found = save_decisions(run, config, policy)
    counts = outcome_counts(found)
    use = f"curate use {shlex.quote(str(run.root))} {name}"
    words = f"saved: {name} keeps {counts['kept']} of {counts['clips']} clips; {use} makes it the run's policy"
    return {"told": words, "policies": decisions.saved(run.root)}


def _settings(address: Asked) -> list[str]:
    """The thresholds of an address as `curate filter --set` takes them. A side that is left open goes first: it may
    contradict the other one.
    """
    limits = sorted(
        ((key[2:], value) for key, value in address if key.startswith("t.")), key=lambda pair: pair[1] != ""
    )
    return [f"{key}={number(key, value)!r}" if value else f"{key}=off" for key, value in limits]
