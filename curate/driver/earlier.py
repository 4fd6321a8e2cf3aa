"""Videos of earlier commands that this one does not name, or cannot find: a folder or a disk may be away for a day, and
what was made of its videos stays in the run until somebody asks for it to go.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipmill.curate.common.publish import newest
from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import Source, by_name, mark_copies, source_at
from clipmill.curate.inputs.lists import is_list
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_run_json, read_videos


def earlier_sources(run: RunDir) -> list[Source]:
    """The listing that the run's videos.parquet holds; the files need not be there. Raises UserError where there is
    none, or it is damaged.
    """
    return [
        source_at(
            row["uri"],
            relpath=row["relpath"],
            size_bytes=row["size_bytes"],
            sha256=row["sha256"],
            problem=row["error_message"] if row["sha256"] is None else None,
            duplicate_of=row["duplicate_of"],
        )
        for row in read_videos(run).to_pylist()
    ]


def with_earlier(
    listed: Sequence[Source], inputs: Sequence[str], run: RunDir, drop_missing: bool
) -> tuple[list[Source], list[str]]:
    """The sources of a command and those of earlier ones that stay, in order, and what a person is told of them.

    inputs: absolute. drop_missing: those that are not found leave; what cannot be read now stays all the same, because
    nobody knows whether it is there. Raises UserError where the list of earlier sources is damaged.
    """
    if not newest(run.root, run.videos.name).exists():
        return list(listed), []
    sorted_out = _sort_out(listed, inputs, earlier_sources(run))
    stay = [*sorted_out.unreadable, *([] if drop_missing else sorted_out.missing)]
    again = {source.uri for source in stay}
    sources = [*(s for s in listed if s.uri not in again), *stay]
    # The one of several copies that is there is the one to be decoded.
    sources = mark_copies(sorted(sources, key=lambda s: (not s.is_here, by_name(s))))
    return sorted(sources, key=by_name), sorted_out.messages(drop_missing)


def with_earlier_inputs(inputs: Sequence[str], sources: Sequence[Source], run: RunDir) -> list[str]:
    """The inputs of earlier commands in which there are sources, then those of this one: the text that lies in them
    belongs to their videos. All absolute.
    """
    try:
        earlier = [str(text) for text in read_run_json(run).get("inputs", ())]
    except UserError:  # the first run, or one that was not finished
        earlier = []
    # A list says where its videos lie, not that they lie below it.
    held = [text for text in earlier if is_list(Path(text)) or any(_is_below(source.path, text) for source in sources)]
    return list(dict.fromkeys([*held, *inputs]))


@dataclass
class _SortedOut:
    """Sources of earlier commands: not among the inputs (missing), there but not to be read now (unreadable, with the
    reason), and replaced by other content.
    """

    missing: list[Source] = field(default_factory=list)
    unreadable: list[Source] = field(default_factory=list)
    replaced: list[Source] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=lambda: defaultdict(str))

    def messages(self, dropped: bool) -> list[str]:
        """A line for each kind."""
        found = []
        if self.unreadable:
            one = self.unreadable[0]
            found.append(f"{_named(self.unreadable)}: cannot be read now, kept as before ({self.reasons[one.uri]})")
        if self.missing and dropped:
            found.append(f"{_named(self.missing)} of earlier commands: not found here, taken out of the run")
        elif self.missing:
            found.append(
                f"{_named(self.missing)} of earlier commands: not found here, kept in the run; --drop-missing takes"
                " them out"
            )
        if self.replaced:
            found.append(f"{_named(self.replaced)}: other content than before; what was made of the old one leaves")
        return found


def _named(sources: Sequence[Source]) -> str:
    names = ", ".join(source.relpath for source in sources[:2])
    return f"{len(sources)} file{'s' if len(sources) > 1 else ''} ({names}{', ...' if len(sources) > 2 else ''})"


def _sort_out(listed: Sequence[Source], inputs: Sequence[str], earlier: Sequence[Source]) -> _SortedOut:
    now = {source.uri: source for source in listed}
    contents = {source.sha256 for source in listed if source.sha256 is not None}
    closed = [source for source in listed if source.problem is not None and os.path.isdir(source.path)]
    found = _SortedOut()
    for old in earlier:
        here = now.get(old.uri)
        outside = not any(_is_below(old.path, text) for text in inputs)
        lost = old.sha256 is not None and old.sha256 not in contents
        above = next((folder for folder in closed if _is_below(old.path, str(folder.path))), None)
        if here is not None:
            if lost and here.size_bytes is None:
                found.unreadable.append(old)
                found.reasons[old.uri] = here.problem or "unreadable"
            elif lost and here.sha256 != old.sha256:
                found.replaced.append(old)
        elif above is not None and lost:
            found.unreadable.append(old)
            found.reasons[old.uri] = f"{above.relpath}: {above.problem}"
        elif lost or (old.sha256 is None and outside and os.path.lexists(old.path)):
            # Else its content lies elsewhere now, or it is gone and had never been read.
            found.missing.append(old)
    return found


def _is_below(path: Path, folder: str) -> bool:
    return str(path) == folder or str(path).startswith(f"{folder.rstrip(os.sep)}{os.sep}")
