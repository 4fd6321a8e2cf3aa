"""The Python API of `clipmill.curate`; its names are imported from there.

Everything here calls `driver.operations`, as the commands do: the same work, the same files, the same words. A mistake
of the caller's is a UserError, one line. Workers are spawned processes: a script calls `run`, `annotate` and `export`
below `if __name__ == "__main__":`, as for any use of multiprocessing.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from clipmill.curate.common.log import Tell, silent
from clipmill.curate.common.settings import Settings, setting_texts
from clipmill.curate.config import Config, load
from clipmill.curate.driver import operations
from clipmill.curate.driver.run_facts import outcome_counts
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of, read_manifest, read_run_json, read_videos

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

    from clipmill.curate.driver.calibrate import Subset
    from clipmill.curate.export.record import Exported

Place = str | os.PathLike[str]
"""A file or folder."""


class RunKeywords(TypedDict, total=False):
    """How work is done, never what: the options of `run`, `Run.annotate`, `Run.export` and `Run.calibrate`.

    workers: processes; 0, the default, for one per core. device: auto, cpu or cuda, for the networks. timeout_s: in
    which a video has to get on, else it is given up; default: 300 s and 1 s more per MB. retry_errors: do again what
    ended as an error row. lazy: networks and captions only for clips that no filter has dropped by then. engine:
    "local"; "inline" has no workers and protects this process from nothing (to debug, or in a script without the `if
    __name__ == "__main__":` that workers need). drop_missing: of `run`; videos of earlier calls that are not among
    these leave the run, where they would stay. tell: a function of one line of text that gets words and progress, None
    for silence; default: the terminal, as for a command.
    """

    workers: int
    device: str
    timeout_s: float | None
    retry_errors: bool
    lazy: bool
    engine: str
    drop_missing: bool
    tell: Tell | None


def load_config(preset: str = "default", settings: Settings = ()) -> Config:
    """The resolved configuration of a preset: what `run` would do.

    Args:
        preset: A preset's name (`curate presets` lists them) or a `.toml` file.
        settings: Changes, as a mapping (`{"motion.fps": 4, "policy.motion.min": 0.02}`) or as `key=value` texts.

    Returns:
        The frozen settings: sections as dataclasses, `annotators` in the order in which they run, `policy`.

    Raises:
        UserError: An unknown preset or setting (the closest one is named), a value of the wrong type.

    Example:
        >>> from clipmill import curate
        >>> curate.load_config(settings={"scenes.detector": "cascade"}).scenes.detector
        'cascade'
    """
    return load(preset, setting_texts(settings))


def run(
    videos: Place | Sequence[Place],
    out: Place,
    preset: str = "default",
    settings: Settings = (),
    *,
    export: bool = True,
    **options: Unpack[RunKeywords],
) -> "Run":
    """Turn videos into clips, scores, decisions, shards and a report, as `curate run` does. Safe to interrupt: the same
    call goes on where it stopped.

    Args:
        videos: A folder or file of source videos, or several.
        out: The run directory; one that is there is brought up to date.
        preset: A preset's name or a `.toml` file.
        settings: Changes, as a mapping (`{"policy.motion.min": 0.02}`) or as `key=value` texts.
        export: Write the kept clips to shards, too.
        **options: How, not what; see `RunKeywords`.

    Returns:
        The finished run.

    Raises:
        UserError: An unknown setting, nothing to read, weights that are not here, a full disk; what is done stays done.

    Example:
        >>> from clipmill import curate
        >>> run = curate.run("videos", "run", settings={"policy.motion.min": 0.02}, tell=None)
        >>> run.counts["clips"] == run.counts["kept"] + run.counts["dropped"] + run.counts["error_clips"]
        True
    """
    places, sets = _places(videos), setting_texts(settings)
    line = ["run", *map(str, places), "--out", str(out), "--preset", preset, *_flags(sets)]
    request = operations.Request(_command(line if export else [*line, "--no-export"]))
    operations.run(places, Path(out), load(preset, sets), _options(options), export, request)
    return Run(out)


class Run:
    """A run directory, opened: its clips as tables, and what can be done with them. It is a path, too: functions that
    take the run's folder take it.

    Args:
        path: The run directory that `run` or `curate run` made.

    Raises:
        UserError: The folder is no finished run.

    Example:
        >>> from clipmill.curate import Run
        >>> run = Run("run")
        >>> run.pandas(columns=["clip_id", "motion", "keep"]).shape[1]
        3
        >>> run.filter(settings={"motion.min": 0.05})["clips"] == run.counts["clips"]
        True
    """

    def __init__(self, path: Place) -> None:
        self.path = Path(path)
        self._dir = RunDir(self.path)
        read_run_json(self._dir)

    def __fspath__(self) -> str:
        """The folder, for `open`, `Path` and whatever takes paths."""
        return str(self.path)

    def __repr__(self) -> str:
        """Folder, policy and what it keeps."""
        counts = self.counts
        return f"Run({str(self.path)!r}): {counts['kept']} of {counts['clips']} clips kept by {self.policy}"

    @property
    def facts(self) -> dict[str, Any]:
        """run.json: command, configuration, versions, counts, columns and their documentation."""
        return read_run_json(self._dir)

    @property
    def counts(self) -> dict[str, int]:
        """files, ok, partial, error, duplicate (of files); clips, kept, dropped, error_clips, not_run."""
        return dict(self.facts["counts"])

    @property
    def policy(self) -> str:
        """Name of the policy that decides now."""
        return str(self.facts["policy"])

    @property
    def config(self) -> Config:
        """The configuration that made the run."""
        return config_of(self._dir)

    def arrow(self, where: str | None = None, columns: Sequence[str] | None = None) -> "pa.Table":
        """The clips, one row each, dropped ones included.

        Args:
            where: An SQL condition on the columns, such as `"keep and motion > 0.1"`; None for all clips.
            columns: The columns to keep; None for all (`run.facts["column_docs"]` explains them).

        Raises:
            UserError: A column that the run does not have, a condition that does not work.
        """
        found = read_manifest(self._dir, columns, where)
        return found if columns is None else _selected(found, columns)

    def pandas(self, where: str | None = None, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """`arrow` as a data frame.

        Args:
            where: An SQL condition on the columns; None for all clips.
            columns: The columns to keep; None for all.
        """
        frame: pd.DataFrame = self.arrow(where, columns).to_pandas()
        return frame

    def duckdb(self) -> "duckdb.DuckDBPyRelation":
        """The clips as a DuckDB relation, to filter, join and count by SQL; it sees the table alone, no file, no
        network.

        Example:
            >>> from clipmill.curate import Run
            >>> Run("run").duckdb().filter("keep").aggregate("count(*)").fetchall()[0][0] > 0
            True
        """
        from clipmill.curate.common.sql import connect

        return connect({"clips": self.arrow()}).table("clips")

    def videos(self) -> "pa.Table":
        """The input files, one row each, unreadable ones and copies included."""
        return read_videos(self._dir)

    def annotate(self, names: str | Sequence[str], settings: Settings = (), **options: Unpack[RunKeywords]) -> "Run":
        """Add or refresh annotators, from the stored pictures where they are enough. The policy stays.

        Args:
            names: Names of annotators, for example `["phash", "borders"]`.
            settings: Changes of the run's configuration.
            **options: See `RunKeywords`.

        Raises:
            UserError: An unknown annotator, weights that are not here, a source video that is gone and is needed.
        """
        texts, sets = [names] if isinstance(names, str) else list(names), setting_texts(settings)
        command = _command(["annotate", str(self.path), "--only", ",".join(texts), *_flags(sets)])
        operations.annotate(self.path, texts, sets, _options(options), operations.Request(command))
        return self

    def filter(self, preset: str | None = None, settings: Settings = (), name: str | None = None) -> dict[str, int]:
        """Decide again with other thresholds, from the tables alone: takes a second and no video.

        Args:
            preset: Take the policy of a preset or a `.toml` file; None: the run's own.
            settings: Changes, for example `{"motion.min": 0.02, "sharpness.drop_lowest": "10%"}`.
            name: Of the decisions, `decisions/NAME.parquet`; None: the policy's own.

        Returns:
            How many clips there are, and how many kept, dropped, with errors and not run.

        Raises:
            UserError: A column that nothing makes, an unknown rule.
        """
        return outcome_counts(operations.filter_(self.path, preset, setting_texts(settings), name))

    def export(
        self,
        settings: Settings = (),
        *,
        format: str = "",
        out: Place | None = None,
        **options: Unpack[RunKeywords],
    ) -> "Exported":
        """Write the kept clips as WebDataset shards, each verified by decoding.

        Args:
            settings: Of the export, for example `{"short_side_px": 256, "fps": 24}`; the run keeps to them.
            format: Another layout of the same clips as well: "hf" or "folder".
            out: Where that goes; None: inside the run.
            **options: See `RunKeywords`.

        Returns:
            Numbers of shards, clips and failed clips, and why those failed.

        Raises:
            UserError: A source video that is gone, a full disk, no clip that could be written.
        """
        place = None if out is None else Path(out)
        return operations.export(self.path, setting_texts(settings), _options(options), format, place)

    def calibrate(
        self,
        axis: str,
        drops: Sequence[float] = (0.125, 0.25, 0.5),
        *,
        side: str = "auto",
        base: str = "none",
        **options: Unpack[RunKeywords],
    ) -> "list[Subset]":
        """Subsets that differ in one threshold, ready to train on, as in the ablations of the SVD paper.

        Args:
            axis: The column, such as "motion".
            drops: Shares of the clips to drop, each between 0 and 1.
            side: Which end is dropped: auto (that of the run's policy), lowest or highest.
            base: Filters for all subsets: a preset, a `.toml` file, "run" (its own policy) or "none".
            **options: See `RunKeywords`.

        Returns:
            The folders, the whole set first, with threshold, clips and seconds.

        Raises:
            UserError: A column that is no number or has no score.
        """
        return operations.calibrate(self.path, axis, drops, side, base, _options(options))

    def report(self) -> Path:
        """Write `report.html` again; its path."""
        return operations.report(self.path)


def _places(videos: Place | Sequence[Place]) -> list[Path]:
    return [Path(videos)] if isinstance(videos, str | os.PathLike) else [Path(place) for place in videos]


def _options(given: RunKeywords) -> RunOptions:
    tell = given.get("tell")
    return RunOptions(**({**given, "tell": silent} if "tell" in given and tell is None else given))  # type: ignore[arg-type]


def _flags(sets: Sequence[str]) -> list[str]:
    return [word for text in sets for word in ("--set", text)]


def _command(words: Sequence[str]) -> str:
    """The command that does the same, for run.json."""
    return shlex.join(["curate", *words])


def _selected(table: "pa.Table", columns: Sequence[str]) -> "pa.Table":
    absent = [name for name in columns if name not in table.column_names]
    if absent:
        raise UserError(f"the run has no column {absent[0]!r}: `Run.facts['columns']` lists them")
    return table.select(list(columns))
