"""The report: one HTML file that shows what a run kept, what it dropped and why, and what another threshold would do.

`load` reads the run directory, `decide` mirrors the policy's tri-state rule, `overview` and `card` count, `explore`
picks and packs the clips for the page's sliders and galleries, `thumbs` re-encodes their pictures, `template.html.j2`,
`style.css`, `charts.js` and `app.js` draw. The file asks for nothing from outside itself and its bytes depend on the
run directory alone.

May import: tables, policy, inputs, contract, config, common, errors. It decodes no video.
"""

from pathlib import Path

REPORT_NAME = "report.html"


def write_report(run_dir: Path) -> Path:
    """Write RUN/report.html from the tables of the run directory and return its path.

    Every table may be absent or empty. Raises UserError where the folder is no run, or a table of it cannot be read.
    """
    from clipmill.curate.common.files import write_text
    from clipmill.curate.report.load import load_run
    from clipmill.curate.report.render import render

    html = render(load_run(run_dir))
    target = run_dir / REPORT_NAME
    write_text(target, html)
    return target
