"""A finished export in the layouts that other tools read: the clips are taken out of the shards byte for byte, nothing
is encoded again.

May import: export, report, tables, policy, contract, settings, dataset, common, errors.
"""

from pathlib import Path

from clipmill.curate.common.log import Tell, say
from clipmill.curate.errors import UserError
from clipmill.curate.formats.publish import Written
from clipmill.curate.tables.run_dir import RunDir

FORMATS = ("hf", "folder")


def check_format(name: str, out: Path | None) -> None:
    """Before any work. Raises UserError for a format that there is none of, and for --out without a format."""
    if name and name not in FORMATS:
        raise UserError(f"there is no format {name!r}; there are: {', '.join(FORMATS)}")
    if out is not None and not name:
        raise UserError(
            f"--out is where --format writes: add --format {' or '.join(FORMATS)}; shards always lie in the run"
        )


def write_format(run: RunDir, name: str, out: Path | None = None, tell: Tell = say) -> Written:
    """The exported clips of a run as `hf` (a folder for the `datasets` package) or `folder` (videos.txt beside
    prompts.txt).

    out: the folder to make, RUN/export-<name> where None. It appears whole or not at all; where it is up to date it
    stays, where it is an older export of this command it is replaced. Raises UserError, one line: no shards yet, `out`
    is something else, the disk is full.
    """
    check_format(name, None)
    target = out or run.root / f"export-{name}"
    if name == "hf":
        from clipmill.curate.formats.hugging_face import write_hugging_face

        return write_hugging_face(run, target, tell)
    from clipmill.curate.formats.prompt_lists import write_prompt_lists

    return write_prompt_lists(run, target, tell)
