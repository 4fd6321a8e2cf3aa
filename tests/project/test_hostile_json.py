"""JSON of a stranger's run or checkpoint: a key that is missing or of another kind is one line."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import invoke, made_once
from helpers.whole_chain import make_chain

from clipmill.curate.common.shapes import described
from clipmill.curate.errors import UserError
from clipmill.curate.policy import decisions
from clipmill.curate.report.load import load_run
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of, read_run_json
from clipmill.models.checkpoints.step_files import read_card, read_state

pytestmark = pytest.mark.slow


GONE = object()
WRONG = (GONE, "x", 10**12, [1], {"a": 1}, None)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: see `make_chain`."""
    return made_once(tmp_path_factory, "chain", make_chain)


def changes(path: Path) -> Iterator[str]:
    """The file with every key in turn gone or wrong; as it was in the end."""
    before = path.read_text()
    whole = json.loads(before)
    for name in whole:
        for value in WRONG:
            changed = {k: v for k, v in whole.items() if k != name} | ({} if value is GONE else {name: value})
            path.write_text(json.dumps(changed))
            yield f"{name}: {'gone' if value is GONE else value}"
    path.write_text(before)


def told(said: str, call: Any, *arguments: Any) -> None:
    """The call works, or says in one line why not."""
    lines: list[str] = []
    try:
        call(*arguments)
    except UserError as error:
        lines = str(error).splitlines()
    assert len(lines) <= 1, said


@pytest.fixture
def run(chain: Path, tmp_path: Path) -> Path:
    return shutil.copytree(chain / "run", tmp_path / "run")


def policy_and_inputs(run: Path) -> str:
    facts = read_run_json(RunDir(run))
    return facts["policy"] + "".join(facts["inputs"])


def test_run_json(run: Path):
    for said in changes(run / "run.json"):
        told(said, config_of, RunDir(run))
        told(said, load_run, run)
        told(said, policy_and_inputs, run)


def test_what_decided(run: Path):
    for said in changes(run / "decisions" / "default.json"):
        told(said, decisions.load, run, "default")
        told(said, load_run, run)
    for name in ("../run", "/etc/passwd", ".."):
        with pytest.raises(UserError, match="no decisions of policy"):
            decisions.load(run, name)


def test_cards_and_states(chain: Path, tmp_path: Path):
    checkpoint = shutil.copytree(chain / "ckpt", tmp_path / "ckpt")
    step = checkpoint / "steps" / "00000002"
    for said in (*changes(checkpoint / "card.json"), *changes(step / "state.json")):
        told(said, read_card, checkpoint)
        told(said, read_state, step)
        done = invoke("models", "info", checkpoint)
        assert done.returncode in (0, 2), said
        assert "Traceback" not in done.stderr, said


@pytest.mark.parametrize("text", ["[]", "1", "null", '{"state": 1}', '{"shards": 5}', '{"reasons": []}', "{}"])
def test_an_export_of_which_the_record_is_none_is_made_again(text: str, run: Path):
    (run / "shards" / "export.json").write_text(text)
    done = invoke("curate", "export", run)
    assert done.returncode == 0, done.stderr
    assert set(json.loads((run / "shards" / "export.json").read_text())) == {"state", "shards", "failed", "reasons"}


def test_a_missing_key_is_told_where_it_is_used():
    made = described({"a": {"b": 1}}, {"a": {"b": int}}, "x.json")
    assert made["a"]["b"] == 1
    for lacks in (lambda: made["c"], lambda: made["a"]["c"]):
        with pytest.raises(UserError, match=r"x\.json"):
            lacks()
