"""The page names places as people type them, and not whose machine they are on."""

import shutil
from pathlib import Path

import pytest
from helpers.commands import evaluate, made_once
from helpers.whole_chain import make_chain

from clipmill.evaluate.report.lineage import _typed_here, as_typed


def test_a_page_names_no_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    chain = made_once(tmp_path_factory, "chain", make_chain)
    monkeypatch.setenv("HOME", str(chain.parent))
    shutil.copy(chain / "scores.parquet", tmp_path)
    evaluate("report", tmp_path / "scores.parquet", "--out", "page.html", cwd=tmp_path)
    text = (tmp_path / "page.html").read_text()
    assert str(chain) not in text
    assert "<dd>~/chain/run</dd>" in text
    assert "<dd>~/chain/ckpt</dd>" in text
    evaluate("report", "scores.parquet", "--out", tmp_path / "beside.html", cwd=chain)
    assert "<dd>run</dd>" in (tmp_path / "beside.html").read_text()


def test_a_shell_finds_what_a_command_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/who")
    assert _typed_here("models sample /home/who/ckpt --out '/home/who/my samples'") == (
        "models sample ~/ckpt --out ~/'my samples'"
    )
    assert _typed_here("a /home/whoelse/b '~/x'") == "a /home/whoelse/b '~/x'"
    monkeypatch.setenv("HOME", "/")
    assert as_typed(Path("/data/run")) == "/data/run"
