"""The clips that an export has put into shards, as rows of the manifest and as files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipmill.curate.common.files import beside, is_bare
from clipmill.curate.common.log import Tell, progress, say
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.export.stream_copy import copy_suffix
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported

if TYPE_CHECKING:
    import pandas as pd


def exported_clips(run: RunDir) -> "pd.DataFrame":
    """Kept clips that lie in shards: the manifest's rows in the order of the shards, `captions` a list per row, and
    `suffix` (".mp4" or ".mkv") of their files. Raises UserError where there are none: the shards come first.
    """
    table = read_exported(run).to_pandas()
    rows = table[table["shard"].notna() & table["keep"].fillna(False).astype(bool)]
    if rows.empty:
        raise UserError(
            f"the shards of {run.root} hold none of the kept clips: `curate export {run.root}` writes them again"
        )
    for column in ("clip_id", "split"):  # they become names of files
        if wrong := [name for name in rows[column] if not is_bare(name)]:
            raise UserError(f"{run.root}: the manifest holds a {column} that is no name of a file: {wrong[0]!r}")
    rows = rows.assign(suffix=rows["export_codec"].map(copy_suffix))
    return rows.sort_values(["shard", "offset"], ignore_index=True)


def write_clips(run: RunDir, rows: "pd.DataFrame", names: list[str], folder: Path, tell: Tell = say) -> None:
    """The bytes of each clip to `folder / name`, checked against their sha256; files that are there already are whole
    and stay.

    Raises UserError where a shard does not hold what the manifest says, OSError where the folder cannot be written.
    """
    with progress("unpacking", len(rows), "clips", tell) as bar:
        for name, data in _missing(run, rows, names, folder):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside(path) as temporary:
                temporary.write_bytes(data)
            bar.advance()


def _missing(run: RunDir, rows: "pd.DataFrame", names: list[str], folder: Path) -> Iterator[tuple[str, bytes]]:
    from clipmill.curate.dataset import ClipDataset

    clips = ClipDataset(run.root, table=rows, verify=True)
    for index, name in enumerate(names):
        if (folder / name).is_file():
            continue
        try:
            yield name, clips.read(index)
        except DecodeError as error:
            raise UserError(str(error)) from error


def best_caption(captions: Any) -> str:
    """The usable text with the highest `sample_weight` (a missing weight counts as 1), the first of equals; "" where
    there is none.

    captions: list of schema.CAPTION, or null. Line breaks become spaces. A weight of 0 means never, as it does in
    training.
    """
    given = (
        captions if captions is not None and not isinstance(captions, float) else []
    )  # pandas has None or NaN for a missing list
    usable = [c for c in given if (c["text"] or "").strip() and c["status"] in ("ok", None) and _weight(c) > 0]
    return " ".join(max(usable, key=_weight)["text"].split()) if usable else ""


def _weight(caption: Mapping[str, Any]) -> float:
    return 1.0 if caption["sample_weight"] is None else float(caption["sample_weight"])
