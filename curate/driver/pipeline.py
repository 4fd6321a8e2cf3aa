"""The steps from listed videos to decided clips and shards, the same for whoever needs them: `operations`, `dry_run`,
`calibrate`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from clipmill.curate.config import Config
from clipmill.curate.decode.unread import forget_others
from clipmill.curate.driver.finish import finish
from clipmill.curate.driver.listing import Listing
from clipmill.curate.driver.run_facts import run_facts
from clipmill.curate.driver.stored_passes import run_passes
from clipmill.curate.driver.videos import (
    process,
    refresh_videos,
    remove_damaged,
    remove_unreadable,
    tasks_of,
    write_unprocessed,
)
from clipmill.curate.engines import Engine
from clipmill.curate.engines.by_name import engine_of
from clipmill.curate.engines.guarded import GuardedEngine
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import Damaged
from clipmill.curate.export.driver import export
from clipmill.curate.export.record import Exported
from clipmill.curate.leases.lease import Lease
from clipmill.curate.policy.decisions import Outcomes
from clipmill.curate.policy.policy import Policy, asked, policy_id
from clipmill.curate.settings.fingerprints import BASE_TABLES
from clipmill.curate.tables.compact import compact, has_many_parts
from clipmill.curate.tables.join import Joined
from clipmill.curate.tables.run_dir import RunDir


@dataclass(frozen=True)
class Work:
    """What all steps of one operation share: where, what, how. lease: under which the run is changed; work ends where
    it is lost.
    """

    run: RunDir
    config: Config
    options: RunOptions
    lease: Lease | None = None

    @cached_property
    def engine(self) -> Engine:
        """Where the workers run. Raises UserError for an unknown one."""
        found = engine_of(self.options)
        return found if self.lease is None else GuardedEngine(found, self.lease.check)

    def tell(self, text: str) -> None:
        """A line for people."""
        self.options.tell(text)


@dataclass(frozen=True)
class Curated:
    """What `curate` made. facts: run.json."""

    joined: Joined
    outcomes: Outcomes
    facts: dict[str, Any]


Told = Callable[[Counter[str]], dict[str, Any]]
"""What only the caller knows for run.json, from the videos, clips, frames decoded and seconds per stage of a call."""


def curate(work: Work, listing: Listing, policy: Policy | None, told: Told) -> Curated:
    """Everything that is stale of these videos, then the joined tables and the decisions, which change as one. policy:
    what decides, None: the configuration's. Raises UserError where the disk fills up: what is done stays done.
    """
    remove_damaged(work.run, work.config, work.options)
    try:
        return _curate(work, listing, policy, told)
    except Damaged:
        if not remove_unreadable(listing, work.run, work.config, work.options):
            raise
    return _curate(work, listing, policy, told)


def make_part(work: Work, listing: Listing) -> Counter[str]:
    """Everything that is stale of these videos, and nothing of others: tables are joined when all parts are there. With
    `lazy` what follows the decoding is left out: what a policy drops is known when all are there. Returns counts and
    seconds by stage. Raises UserError as `curate` does.
    """
    remove_damaged(work.run, work.config, work.options, listing.names)
    try:
        return _make_part(work, listing)
    except Damaged:
        if not remove_unreadable(listing, work.run, work.config, work.options):
            raise
    return _make_part(work, listing)


def _make_part(work: Work, listing: Listing) -> Counter[str]:
    totals = _process(work, listing)
    if not work.options.lazy:
        totals += run_passes(work.run, work.config, listing.names, work.options)
    _remove_others(work.run, work.config, list(listing.names))
    return totals


def _process(work: Work, listing: Listing) -> Counter[str]:
    tasks = tasks_of(listing, work.run, work.config, work.options)
    if len(tasks) < len(listing.units):
        work.tell(f"{len(listing.units) - len(tasks)} of {len(listing.units)} videos are up to date")
    return process(tasks, work.engine, work.run, work.options)


def _curate(work: Work, listing: Listing, policy: Policy | None, told: Told) -> Curated:
    run, config, options = work.run, work.config, work.options
    forget_others(run, listing.names)
    totals = _process(work, listing)
    write_unprocessed(listing, run)
    for warning in refresh_videos(listing, run, config):
        work.tell(f"warning: {warning}")
    # What `--lazy` leaves out is what this policy drops, not what the configuration's would.
    in_play = config if policy is None else replace(config, policy=asked(policy))
    totals += run_passes(run, in_play, listing.names, options)
    _remove_others(run, config, list(listing.names))
    if has_many_parts(run):
        compact(run, work.tell)
    done = finish(run, config, [s.video_id or "" for s in listing.units], policy)
    facts = run_facts(config, done.joined, done.outcomes, told(totals))
    changes = done.split_changes(run, config)
    done.publish(run, facts)
    for message in [*done.joined.messages, *changes]:
        work.tell(message)
    return Curated(done.joined, done.outcomes, facts)


def _remove_others(run: RunDir, config: Config, units: Sequence[str]) -> None:
    """Parts of these units that other settings made."""
    prints = config.fingerprints
    tables = dict.fromkeys(BASE_TABLES, prints.base)
    tables |= {prints.tables[name]: prints.annotations[name] for name in config.annotators}
    for table, fingerprint in tables.items():
        run.remove_others(table, dict.fromkeys(units, fingerprint))


def write_shards(work: Work, policy: Policy, facts: Mapping[str, Any] | None = None) -> Exported:
    """The clips that the manifest keeps, as shards. policy: the frozen one that keeps them. facts: run.json from then
    on, None: it stays. Raises UserError as `export.driver.export` does.
    """
    return export(work.run, work.config.export, policy_id(policy), work.engine, work.options, facts)
