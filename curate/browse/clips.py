"""The clips of a run as the page asks for them: one page of a view, counts, histograms, one clip in full.

All questions go through one DuckDB connection that can reach no file (`common.sql`); it scans the mapped copy of the
manifest (`mapped`). Before the copy is there, the first clips of the file are shown.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipmill.curate.browse.facts import Facts, read_facts
from clipmill.curate.browse.mapped import ROW, mapped_copy, read_batches, with_search
from clipmill.curate.browse.rules import Rules
from clipmill.curate.browse.view import Asked, View, view_of
from clipmill.curate.common.publish import manifest_files
from clipmill.curate.common.sql import connect, taken
from clipmill.curate.errors import UserError
from clipmill.curate.policy.by_hand import Word, read_words, say_words
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import open_manifest

_FIRST, _MOST_PLACES = 240, 20_000
_VIEWS = 8  # lists of row numbers that are remembered, four bytes a clip
_HAND = pa.schema([(ROW, pa.int32()), ("verdict", pa.string())])


class Clips:
    """The clips of one run. Safe to ask from several threads; one question is answered at a time."""

    def __init__(self, root: Path) -> None:
        """Raises UserError where the folder is no finished run."""
        self.run = RunDir(root)
        self.words = read_words(root)
        self._lock = threading.Lock()
        self._views: OrderedDict[Any, np.ndarray] = OrderedDict()
        self._failure: Exception | None = None
        self._load()

    def _load(self) -> None:
        self.facts: Facts = read_facts(self.run)
        self.rows_copied = 0
        self._places: dict[str, int] = {}
        self._first: list[dict[str, Any]] = []
        self._table: pa.Table | None = None
        self._ready = threading.Event()
        self._manifest = open_manifest(self.run)
        self._stamp = _stamp(self._manifest.where.switch)
        threading.Thread(target=self._copy, daemon=True).start()

    def _copy(self) -> None:
        try:
            table = mapped_copy(self._manifest, list(dict.fromkeys(self.facts.makers.values())), self._tick)
            self._batches = table.to_batches()
            self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)]).tolist()
            self._connection = connect({"clips": table})
            self._table = table
            self._register_hand()
        except Exception as error:  # told to whoever asks: a thread has nobody to raise to
            self._failure = error
        self._ready.set()

    def _tick(self, rows: int) -> None:
        self.rows_copied = rows

    @property
    def is_ready(self) -> bool:
        """Whether every question is answered at once; until then only the first clips are known."""
        return self._ready.is_set()

    def refresh(self) -> None:
        """Read the run again where a command has changed it since."""
        with self._lock:
            if self.is_ready and _stamp(manifest_files(self.run.root).switch) != self._stamp:
                self._views.clear()
                self.words = read_words(self.run.root)
                self._load()

    def wait(self) -> None:
        """Until the copy is there. Raises what went wrong with it."""
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def first(self, n: int) -> list[dict[str, Any]]:
        """The first clips of the manifest, at most _FIRST, without the copy."""
        if not self._first:
            batch = next(iter(read_batches(self._manifest, _FIRST)))
            self._first = with_search(batch, 0).to_pylist()
        return self._first[:n]

    def rules(self) -> Rules:
        """The run's own policy over these clips."""
        return Rules(self.facts.filters, self.facts.schema, self.facts.makers)

    def view(self, asked: Asked) -> View:
        """See `view_of`."""
        return view_of(asked, self.rules())

    def found(self, view: View) -> np.ndarray:
        """int32 [n]: row numbers of the view's clips, in its order."""
        if not view.parts and view.order == ROW and not view.where:
            return np.arange(self.facts.n_clips, dtype=np.int32)
        sql, values = view.rows()
        key = (sql, tuple(values), view.where)
        with self._lock:
            if key in self._views:
                self._views.move_to_end(key)
                return self._views[key]
        rows = self.ask(sql, values)[ROW].to_numpy().astype(np.int32)
        if view.where:
            rows = rows[taken(self.table, view.where)[rows]]
        with self._lock:
            self._views[key] = rows
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
        return rows

    @property
    def table(self) -> pa.Table:
        """The mapped copy, once it is there."""
        self.wait()
        assert self._table is not None
        return self._table

    def ask(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        """The answer to a query over `clips` and `hand`."""
        self.wait()
        with self._lock:
            return self._connection.sql(sql, params=list(values)).to_arrow_table()

    def ask_of(self, rows: Sequence[int], sql: str) -> pa.Table:
        """The answer to a query over `few`, a table of these clips alone, and `hand`."""
        few = pa.Table.from_batches([self._slice(row) for row in rows], self.table.schema)
        with self._lock:
            self._connection.register("few", few)
            return self._connection.sql(sql).to_arrow_table()

    def take(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        """All shown columns of these rows, in their order."""
        self.wait()
        found = [self._slice(row).to_pylist()[0] for row in rows]
        if len(self._places) > _MOST_PLACES:
            self._places.clear()
        self._places.update((clip["clip_id"], clip[ROW]) for clip in found)
        return found

    def _slice(self, row: int) -> pa.RecordBatch:
        at = bisect_right(self._starts, row) - 1
        return self._batches[at].slice(row - self._starts[at], 1)

    def one(self, clip_id: str) -> dict[str, Any]:
        """A clip by its id. Raises UserError where there is none."""
        if not self.is_ready:
            found = [clip for clip in self.first(_FIRST) if clip["clip_id"] == clip_id]
            if found:
                return found[0]
        rows = self.rows_of([clip_id])
        if clip_id not in rows:
            raise UserError(f"there is no clip {clip_id[:80]!r}")
        return self.take([rows[clip_id]])[0]

    def rows_of(self, clip_ids: Sequence[str]) -> dict[str, int]:
        """clip_id -> row number, of those that are there."""
        if all(clip in self._places for clip in clip_ids):
            return {clip: self._places[clip] for clip in clip_ids}
        found = self.ask(f"SELECT clip_id, {ROW} FROM clips WHERE list_contains(?, clip_id)", [list(clip_ids)])
        return dict(zip(found["clip_id"].to_pylist(), found[ROW].to_pylist(), strict=True))

    def say(self, words: Sequence[Word]) -> None:
        """Decide by hand; see `say_words`."""
        self.words = say_words(self.run.root, words)
        self.wait()
        self._register_hand()

    def _register_hand(self) -> None:
        rows = self.rows_of_words()
        verdicts = [self.words[clip].verdict for clip in rows]
        hand = pa.table([pa.array(rows.values(), pa.int32()), pa.array(verdicts, pa.string())], schema=_HAND)
        with self._lock:
            self._connection.register("hand", hand)
            self._views.clear()

    def rows_of_words(self) -> dict[str, int]:
        """clip_id -> row number of the clips that a person said something of."""
        wanted = sorted(self.words)
        if not wanted:
            return {}
        with self._lock:
            sql = f"SELECT clip_id, {ROW} FROM clips WHERE list_contains(?, clip_id)"
            found = self._connection.sql(sql, params=[wanted]).to_arrow_table()
        return dict(zip(found["clip_id"].to_pylist(), found[ROW].to_pylist(), strict=True))


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size
