"""One command at a time: who holds a folder is named, and a holder that was killed holds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipmill.curate.common.lock import alone, alone_in_new
from clipmill.curate.errors import UserError

HOLD = "import sys, pathlib; from clipmill.curate.common.lock import alone\nwith alone(pathlib.Path(sys.argv[1])):\n"
HOLD += "    print('held', flush=True); sys.stdin.read()\n"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="this system does not tell who holds a lock")
def test_the_process_that_holds_a_folder_is_named_and_its_death_frees_it(tmp_path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=rf"is at work on {tmp_path}, process {holder.pid} \(.*python"),
            alone(tmp_path),
        ):
            pass
        holder.kill()
        holder.wait()
        with alone(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_made_for_nothing_is_gone_again(tmp_path):
    with pytest.raises(UserError), alone_in_new(tmp_path / "a" / "b"):
        raise UserError("no")
    assert list(tmp_path.iterdir()) == []
    with alone_in_new(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert (tmp_path / "a" / "b" / "file").exists()


def test_what_is_no_folder_is_left_to_the_command(tmp_path):
    (tmp_path / "file").touch()
    with alone_in_new(tmp_path / "file"):
        pass
