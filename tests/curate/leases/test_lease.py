"""Leases: who holds one is named, who is dead loses it, on this machine at once and elsewhere by its silence."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipmill.curate.errors import UserError
from clipmill.curate.leases import lease as module
from clipmill.curate.leases.lease import held, leases

HOLD = "import sys, pathlib; from clipmill.curate.leases.lease import held\n"
HOLD += "with held(pathlib.Path(sys.argv[1]), '3-of-8'): print('held', flush=True); sys.stdin.read()\n"


def elsewhere(root: Path, silent_s: float, name: str = "3-of-8") -> Path:
    """The lease of a process on another machine, which gave its last sign so long ago."""
    path = root / ".leases" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"host": "node7", "process": 4711, "boot": "another one"}))
    os.utime(path, (time.time() - silent_s,) * 2)
    return path


def test_a_holder_is_named_and_its_death_frees_the_lease_at_once(tmp_path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=rf"part 3/8 .* is held by process {holder.pid} on"),
            held(tmp_path, "3-of-8"),
        ):
            pass
        with held(tmp_path, "4-of-8"):
            assert [(found.name, found.alive) for found in leases(tmp_path)] == [("3-of-8", True), ("4-of-8", True)]
        holder.kill()
        holder.wait()
    said: list[str] = []
    with held(tmp_path, "3-of-8", said.append) as lease:
        lease.check()
    assert len(said) == 1
    assert f"part 3/8: process {holder.pid} on" in said[0]
    assert "taken over" in said[0]
    assert leases(tmp_path) == []


def test_one_of_another_machine_is_judged_by_its_silence(tmp_path):
    path = elsewhere(tmp_path, silent_s=module.STALE_S - 30)
    with pytest.raises(UserError, match=r"process 4711 on node7, which gave a sign 1[12]"), held(tmp_path, "3-of-8"):
        pass
    assert "node7" in path.read_text()
    elsewhere(tmp_path, silent_s=module.STALE_S + 30)
    said: list[str] = []
    with held(tmp_path, "3-of-8", said.append):
        assert "node7" not in path.read_text()
    assert "part 3/8: process 4711 on node7 is dead or lost (18" in said[0]


def test_signs_are_given_as_long_as_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    with held(tmp_path, "3-of-8"):
        path = tmp_path / ".leases" / "3-of-8"
        os.utime(path, (0, 0))
        until = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert leases(tmp_path)[0].silent_s < 60


def test_whoever_lost_his_lease_learns_it_and_leaves_the_others_alone(tmp_path):
    with held(tmp_path, "3-of-8") as lease:
        path = elsewhere(tmp_path, silent_s=0)  # written into the same file: still ours
        lease.check()
        path.unlink()
        elsewhere(tmp_path, silent_s=0)
        with pytest.raises(UserError, match="part 3/8: taken over"):
            lease.check()
    assert "node7" in path.read_text()


def test_a_lease_with_nonsense_in_it_counts_by_its_age(tmp_path):
    path = elsewhere(tmp_path, silent_s=0)
    path.write_text("[")
    with pytest.raises(UserError, match="an unknown machine"), held(tmp_path, "3-of-8"):
        pass
    os.utime(path, (0, 0))
    with held(tmp_path, "3-of-8"):
        pass
