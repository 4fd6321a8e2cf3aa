"""What a command works on: the videos found now and those of earlier commands, in order, with the text beside them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipmill.curate.common.content import Digests
from clipmill.curate.driver.earlier import earlier_sources, with_earlier, with_earlier_inputs
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import (
    Source,
    by_name,
    index_sources,
    known_state,
    mark_copies,
    memory_of,
    passed_over,
)
from clipmill.curate.inputs.given import find_given, given_text, with_texts
from clipmill.curate.inputs.sidecars import SidecarTables, find_sidecar_tables
from clipmill.curate.parts.part import Part
from clipmill.curate.settings.inputs import InputsConfig
from clipmill.curate.tables.run_dir import RunDir

_DEFAULT = InputsConfig()


@dataclass(frozen=True)
class Listing:
    """The input of a run: every file found, in order, and the text beside them. skipped: files that were not tried as
    videos, by suffix.
    """

    sources: list[Source]
    skipped: Mapping[str, int]
    inputs: tuple[str, ...]  # absolute, for later commands from other folders
    sidecars: SidecarTables

    @property
    def units(self) -> list[Source]:
        """The files to process: readable, the first of each content."""
        return [s for s in self.sources if s.sha256 is not None and s.duplicate_of is None]

    @property
    def names(self) -> dict[str, str]:
        """Id of each file to process -> its name for people."""
        return {source.video_id or "": source.relpath for source in self.units}


def list_inputs(inputs: Sequence[Path], run: RunDir, options: RunOptions, how: InputsConfig = _DEFAULT) -> Listing:
    """Find and hash the sources; videos of earlier commands that are not among them stay (options.drop_missing: leave).
    how: lists are read. Raises UserError where there is nothing to do.
    """
    given = [given_text(i) for i in inputs]
    sources, skipped = _outside(inputs, run, how)
    sources = _indexed(sources, given, run.root / "index.parquet", options)
    if words := passed_over(skipped):
        options.tell(words)
    return replace(_with_earlier(sources, given, run, options, how), skipped=skipped)


def list_part(inputs: Sequence[Path], run: RunDir, part: Part, options: RunOptions, how: InputsConfig) -> Listing:
    """The sources of one part, hashed; those of other parts and of earlier commands are left alone. Raises UserError
    where there is nothing in any part.
    """
    given = [given_text(i) for i in inputs]
    sources, _ = _outside(inputs, run, how)
    own = [source for source in sources if part.holds(source.relpath)]
    index = run.events.with_suffix(".index.parquet")
    return _listing(_indexed(own, given, index, options) if own else [], given, how)


def join_parts(
    sources: Sequence[Source], inputs: Sequence[str], run: RunDir, options: RunOptions, how: InputsConfig
) -> Listing:
    """The sources of all parts as one listing, the first of each content marked by name; earlier ones as in
    `list_inputs`.
    """
    digests = Digests(memory_of(inputs))
    states = [replace(s, state=known_state(digests, s.path, s.sha256)) for s in sorted(sources, key=by_name)]
    return _with_earlier(mark_copies(states), inputs, run, options, how)


def listing_of(run: RunDir, inputs: Sequence[str], how: InputsConfig = _DEFAULT) -> Listing:
    """The listing that the run's videos.parquet holds; the files need not be there."""
    digests = Digests(memory_of(inputs))
    sources = [replace(s, state=known_state(digests, s.path, s.sha256)) for s in earlier_sources(run)]
    return _listing(sources, inputs, how)


def _outside(inputs: Sequence[Path], run: RunDir, how: InputsConfig) -> tuple[list[Source], Mapping[str, int]]:
    """The sources found, without those of the run itself, and files passed over by suffix."""
    sources, skipped = find_given(inputs, how)
    inside = f"{os.path.realpath(run.root)}{os.sep}"
    outside = [s for s in sources if not os.path.realpath(s.path).startswith(inside)]
    if not outside:
        raise UserError(f"all files found lie in the run directory {run.root}: give the folder of the source videos")
    return outside, skipped


def _indexed(sources: Sequence[Source], given: Sequence[str], index: Path, options: RunOptions) -> list[Source]:
    # Not in the run: what a system tells of a file is no part of what was made of it.
    digests = Digests(memory_of(given), options.tell)
    with options.progress("indexing", len(sources), "files") as bar:
        return index_sources(sources, index, options.n_workers, lambda _: bar.advance(), digests)


def _with_earlier(
    sources: Sequence[Source], given: Sequence[str], run: RunDir, options: RunOptions, how: InputsConfig
) -> Listing:
    sources, messages = with_earlier(sources, given, run, options.drop_missing)
    for message in messages:
        options.tell(message)
    return _listing(sources, with_earlier_inputs(given, sources, run), how)


def _listing(sources: Sequence[Source], inputs: Sequence[str], how: InputsConfig) -> Listing:
    tables = find_sidecar_tables([Path(i) for i in inputs if os.path.isdir(i)])
    return Listing(list(sources), {}, tuple(inputs), with_texts(tables, inputs, how))
