"""A run that many processes make: `curate run --part i/n` each its videos, `curate finish` the whole."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clipmill.curate.common.device import check_device
from clipmill.curate.common.log import append_event
from clipmill.curate.config import Config, load_tree
from clipmill.curate.driver.listing import Listing, join_parts, list_part
from clipmill.curate.driver.made_before import kept_cuts
from clipmill.curate.driver.operations import Request, complete
from clipmill.curate.driver.pipeline import Work, make_part
from clipmill.curate.driver.preflight import preflight
from clipmill.curate.driver.videos import now, prepare_out
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.inputs.given import given_text
from clipmill.curate.leases.lease import leases, this_process
from clipmill.curate.parts.part import Part
from clipmill.curate.parts.record import PartFiles, Record, check_number, gather_events, parts_of
from clipmill.curate.tables.run_dir import RunDir, changing, changing_part

_MOST_NAMED = 8


def run_part(
    videos: Sequence[Path], out: Path, config: Config, options: RunOptions, part: Part, request: Request
) -> None:
    """Curate the videos of one part into `out`, beside processes that make other parts. Raises UserError as `run` does,
    and where the part is being made elsewhere.
    """
    check_device(options.device)
    files = PartFiles(out, part)
    config, message = kept_cuts(RunDir(out), config)
    if message:
        options.tell(message)
    work = Work(RunDir(out, files.events_name), preflight(config, tell=options.tell), options)
    assert work.engine is not None  # an unknown one is told before anything is written
    prepare_out(out)
    with changing_part(work.run, part.name, options.tell) as lease:
        check_number(out, part)
        record = _begun(work, videos, request)
        files.write(record)
        append_event(work.run.events, {"part": str(part), "host": record.host, "began_at": record.began_at})
        try:
            listing = list_part(videos, work.run, part, options, work.config.inputs)
            files.write_sources(listing.sources)
            totals = make_part(replace(work, lease=lease), listing)
        except (UserError, OSError) as error:
            files.write(replace(record, problem=one_line(error)))
            raise
        files.write(replace(record, finished_at=now(), totals=dict(totals)))
    options.tell(f"part {part} of {out}: {_words(listing, totals)}")
    options.tell(f"when all parts are done: curate finish {out}   (curate status {out} tells)")


def finish(root: Path, options: RunOptions, export_: bool, request: Request) -> None:
    """Join the parts of a run: copies, tables, decisions, shards, report. Raises UserError where a part is not done,
    where parts were made in different ways, or where this machine would make them in another.
    """
    check_device(options.device)
    files = parts_of(root)
    if not files:
        raise UserError(f"{root} is not being made in parts: `curate run VIDEOS --out {root} --part i/n` makes one")
    records = _complete(root, files)
    first = next(iter(records.values()))
    _check_alike(root, records)
    options = replace(options, lazy=first.lazy, drop_missing=first.drop_missing)
    work = Work(RunDir(root), preflight(load_tree(first.config), tell=options.tell), options)
    _check_versions(work.config, first)
    prepare_out(root)
    with changing(work.run, options.tell) as lease:
        sources = [source for one in files for source in one.sources() or ()]
        complete(
            replace(work, lease=lease),
            lambda w: join_parts(sources, first.inputs, w.run, options, w.config.inputs),
            export_,
            request,
        )
        gather_events(root)


def _begun(work: Work, videos: Sequence[Path], request: Request) -> Record:
    holder, config = this_process(), work.config
    return Record(
        command=request.command,
        inputs=tuple(map(given_text, videos)),
        config=json.loads(json.dumps(config.as_dict(), default=list)),
        fingerprints=_fingerprints(config),
        host=holder.host,
        process=holder.process,
        began_at=request.at,
        began_s=time.time(),
        lazy=work.options.lazy,
        drop_missing=work.options.drop_missing,
    )


def _fingerprints(config: Config) -> dict[str, str]:
    return {"base": config.fingerprints.base, **config.fingerprints.annotations}


def _words(listing: Listing, totals: Mapping[str, float]) -> str:
    errors = f", {totals['error']} with errors" if totals["error"] else ""
    return f"{len(listing.units)} videos, {totals['videos']} of them made now{errors}"


def _complete(root: Path, files: Sequence[PartFiles]) -> dict[Part, Record]:
    found = {one.part: one.read() for one in files}
    alive = {lease.name for lease in leases(root) if lease.alive}
    open_ = [part for part, record in found.items() if record is None or not record.finished_at or part.name in alive]
    if open_:
        named = ", ".join(map(str, open_[:_MOST_NAMED])) + (", ..." if len(open_) > _MOST_NAMED else "")
        raise UserError(
            f"{len(open_)} of the {len(files)} parts of {root} are not done ({named}): `curate status {root}` tells why"
        )
    return {part: record for part, record in found.items() if record is not None}


def _check_alike(root: Path, records: Mapping[Part, Record]) -> None:
    """Raises UserError where parts were asked for in different ways: run again, the odd ones become as the others."""
    asked = {part: _asked(record) for part, record in records.items()}
    first = asked[min(asked, key=lambda part: part.index)]
    for part, one in asked.items():
        different = [name for name in first if one.get(name) != first[name]]
        if different:
            raise UserError(
                f"part {part} of {root} was made with another {different[0]} than part 0/{part.of}: run all parts again"
                " with the same VIDEOS and settings, and with the same versions of libraries"
            )


def _asked(record: Record) -> dict[str, Any]:
    found = {name: value for name, value in asdict(record).items() if name in ("inputs", "lazy", "drop_missing")}
    config = {name: value for name, value in record.config.items() if name != "found_weights"}  # paths differ
    return found | config | {"fingerprint": dict(record.fingerprints)}


def _check_versions(config: Config, record: Record) -> None:
    own = _fingerprints(config)
    changed = [name for name, value in record.fingerprints.items() if own.get(name) != value]
    if changed:
        raise UserError(
            f"this machine would make other tables ({', '.join(changed)}) than {record.host} made: finish the run where"
            " the versions of libraries are those of the parts (`curate doctor` lists them)"
        )
