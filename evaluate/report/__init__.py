"""The page behind a number: one HTML file that leads from scores to samples, checkpoint, run and source videos.

Everything is read from what the commands left: the file of scores names its sets, samples name their checkpoint, the
checkpoint's card names its run. Nothing here knows a model. What is missing is left out, and said.

May import: score_rows, curate's common and errors.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from clipmill.curate.common.files import write_text
from clipmill.curate.common.package_files import read_file
from clipmill.curate.errors import UserError
from clipmill.evaluate.report.lineage import as_typed, read_story
from clipmill.evaluate.score_rows import ScoreRow, measured_once
from clipmill.evaluate.set_warnings import distinct


def write_report(scores: Path, out: Path) -> Path:
    """Write the page and return its path. Raises UserError where `scores` is no file of scores or holds none, or `out`
    is no place.
    """
    import jinja2

    source = read_file(__name__, "page.html.j2")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        source
    )
    story = read_story(scores)
    html = template.render(
        story=story,
        scores=measured_once(story.rows),
        as_typed=as_typed,
        relative=lambda path: _address(path, out.resolve().parent),
        number=lambda value: "infinite" if math.isinf(value) else f"{value:.5g}",
        warnings=_warnings,
    )
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"--out is the page to write, such as page.html, in a folder that is there; not {out}")
    write_text(out, html)
    return out


def _warnings(rows: Sequence[ScoreRow]) -> list[str]:
    """Each line once; where the scores are of several pairs of sets, with the names of those that it is about."""
    reals, fakes = ({getattr(row, role) for row in rows} for role in ("real", "fake"))

    def about(row: ScoreRow) -> str:
        named = [f"FAKE {row.fake}"] * (len(fakes) > 1) + [f"REAL {row.real}"] * (len(reals) > 1)
        return f"{', '.join(named)}: " if named else ""

    return distinct([about(row) + line for row in rows for line in row.warnings])


def _address(path: Path, folder: Path) -> str:
    """Of a file, for a page in the folder. Whatever the file is called, it is a relative path and no scheme."""
    return f"./{quote(os.path.relpath(path, folder))}"
