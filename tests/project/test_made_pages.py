"""docs/settings.md and docs/columns.md say what the code says, docs/systems.md what the pages of systems say."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", ["settings", "columns", "systems"])
def test_the_page_is_current(page):
    made = runpy.run_path(str(DOCS / "make_pages.py"))[f"{page}_page"]()
    assert (DOCS / f"{page}.md").read_text(encoding="utf-8") == made, "run: python docs/make_pages.py"


def test_every_setting_has_words():
    page = runpy.run_path(str(DOCS / "make_pages.py"))["settings_page"]()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    bare = [row for row in rows if row.endswith("|  |")]
    assert not bare, "say in the docstring of the class `name: what it is.` of:\n" + "\n".join(bare)
