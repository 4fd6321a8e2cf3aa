"""`curate doctor`: healthy on this environment, and right about broken ones."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from clipmill.curate import doctor
from clipmill.curate.doctor import Check, Probe

WORKING = {"av": "18", "libav": "libavcodec 62", "x264": True, "codecs": {c: ["works", ""] for c in doctor.CODECS}}
TORCH = {"torch": ["ok", "2.6"], "torchvision": ["ok", "0.21"], "open_clip": ["ok", "3"], "gpus": []}


@pytest.fixture(scope="module")
def checks():
    """The real thing, once: child processes included."""
    return {check.name: check for check in doctor.diagnose()}


@pytest.mark.slow
def test_this_environment_is_healthy(checks):
    assert [c for c in checks.values() if c.status == "fail"] == []
    assert checks["OpenCV"].detail == "opencv-python-headless"
    assert checks["TransNetV2 weights"].status == checks["rapidocr model"].status == "ok"


@pytest.mark.slow
def test_codecs_were_really_decoded(checks):
    """The wheels of PyAV decode every codec that the issue names, AV1 in software included."""
    assert checks["decoding"].detail == "h264, hevc, vp9, av1, mpeg4, mpeg2video, prores"
    assert checks["encoding"].detail == "libx264"


@pytest.mark.slow
def test_render_is_aligned_and_sums_up(checks):
    console = Console(width=100, file=io.StringIO(), record=True)
    # Without those that only a busy machine makes worth a look.
    sound = [check for check in checks.values() if check.status == "ok"]
    console.print(doctor.render([*sound, Check("x [bold]", "warn", "odd [markup] text", "do [this]")]))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[-1].endswith("to look at: x [bold]")
    assert any(line.endswith("odd [markup] text") for line in lines)
    starts = [
        line.index(checks[n].detail[:12])
        for n in ("python", "OpenCV", "encoding")
        for line in lines
        if line[6:].startswith(n)
    ]
    assert len(starts) == 3
    assert len(set(starts)) == 1


def test_verdict():
    ok, warn, fail = Check("a", "ok", ""), Check("b", "warn", ""), Check("c", "fail", "")
    assert doctor.verdict([ok]) == "everything works"
    assert doctor.verdict([ok, warn]) == "works; to look at: b"
    assert doctor.verdict([fail, warn]) == "to mend: c; to look at: b"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import time; time.sleep(60)", "no answer in 1.5 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with signal 11"),
        (
            "raise OSError('libtorch_cuda.so: cannot open shared object file')",
            "OSError: libtorch_cuda.so: cannot open shared object file",
        ),
        ("print('no json')", "exit code 0"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ],
)
def test_a_library_that_hangs_or_crashes_is_a_line(code, problem):
    found = doctor.run_probe(code, 1.5 if "sleep" in code else 60)
    assert found.problem == problem
    check = doctor.check_optional("torchcodec", True, found)
    assert (check.status, problem in check.detail) == ("warn", True)
    assert doctor.check_required("onnxruntime", found).status == ("warn" if found.passing else "fail")


def test_probes_ignore_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert doctor.run_probe(doctor.import_code("decimal")).problem == ""


@pytest.mark.parametrize(
    ("names", "status", "fix"),
    [
        (["opencv-python-headless", "numpy"], "ok", ""),
        (["opencv_python"], "ok", ""),
        (
            ["OpenCV-Python", "opencv_python_headless"],
            "fail",
            (
                "pip uninstall -y opencv-python opencv-python-headless; pip install --force-reinstall"
                " opencv-python-headless"
            ),
        ),
        (
            ["opencv-contrib-python", "opencv-python-headless", "opencv-python"],
            "fail",
            "pip uninstall -y opencv-contrib-python",
        ),
        ([], "fail", "pip install"),
    ],
)
def test_opencv_may_come_from_one_distribution_only(names, status, fix):
    check = doctor.check_opencv(doctor.normalised(names))
    assert check.status == status
    assert check.fix.startswith(fix)


def test_a_whole_diagnosis():
    answers = {"codecs": WORKING, "open_clip": TORCH}

    def probe(code):
        return Probe(facts=next((f for key, f in answers.items() if key in code), {"version": "1"}))

    found = {c.name: c for c in doctor.diagnose([*doctor.installed(), "torchcodec"], probe)}
    assert found["torchcodec"].detail.startswith("1, selectable")
    assert found["GPU"].detail.startswith("none")


def test_codecs_that_do_not_work():
    codecs = WORKING["codecs"] | {
        "av1": ["broken", "no hardware"],
        "vp9": ["missing", ""],
        "hevc": ["listed", "no libx265"],
    }
    _, decoding, encoding = doctor.check_av(Probe(WORKING | {"codecs": codecs}))
    assert decoding.status == "warn"
    assert decoding.detail == "h264, mpeg4, mpeg2video, prores; hevc (not tried); vp9 (no decoder); av1 (does not work)"
    assert encoding.status == "ok"
    codecs = WORKING["codecs"] | {"h264": ["missing", ""]}
    assert [c.status for c in doctor.check_av(Probe(WORKING | {"codecs": codecs, "x264": False}))] == [
        "ok",
        "fail",
        "fail",
    ]
    assert doctor.check_av(Probe(problem="ImportError"))[0].status == "fail"


def test_torch_and_what_hangs_on_it():
    broken = TORCH | {
        "torchvision": ["broken", "RuntimeError: operator torchvision::nms does not exist"],
        "gpus": ["H200, 139 GiB"],
    }
    found = {c.name: c for c in doctor.check_torch(Probe(json.loads(json.dumps(broken))))}
    assert [found[n].status for n in ("torch", "torchvision", "open_clip", "GPU")] == ["ok", "fail", "ok", "ok"]
    assert "nms" in found["torchvision"].detail
    assert found["GPU"].detail == "H200, 139 GiB"
    assert doctor.check_torch(Probe(problem="crashed with signal 4"))[0].status == "fail"


def test_space_and_python(tmp_path):
    assert [doctor.space("d", "/", n << 20).status for n in (100, 1000, 20_000)] == ["fail", "warn", "ok"]
    assert len(doctor.check_space({"a": tmp_path, "b": tmp_path / ".."})) == 1
    assert doctor.check_shm(tmp_path / "none").status == "ok"
    assert doctor.check_python((3, 9, 1), "x").status == "fail"
    assert doctor.check_python((3, 14, 0), "x").status == "ok"


def test_weights_that_are_missing(monkeypatch, tmp_path):
    for variable, place in (
        ("EASYOCR_MODULE_PATH", tmp_path),
        ("CLIPMILL_WEIGHTS", tmp_path / "none"),
        ("HOME", tmp_path / "home"),
    ):
        monkeypatch.setenv(variable, str(place))
    monkeypatch.delenv("MODULE_PATH", raising=False)
    before = {c.name: c for c in doctor.check_weights()}
    assert before["published weights"].status == "ok"
    assert "craft" not in before["published weights"].detail
    Path(tmp_path, "model").mkdir()
    Path(tmp_path, "model/craft_mlt_25k.pth").write_bytes(b"x")
    assert "craft" in doctor.check_weights()[-1].detail
    monkeypatch.setattr(doctor, "module_folder", lambda name: tmp_path)
    assert doctor.check_weights()[0].status == "fail"


@pytest.mark.parametrize(
    "code",
    ["import time; time.sleep(60)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise MemoryError"],
)
def test_a_busy_machine_is_no_reason_to_install_anything(code):
    probe = doctor.run_probe(code, timeout_s=1.5)
    assert probe.problem
    checks = [
        *doctor.check_av(probe),
        *doctor.check_torch(probe),
        doctor.check_required("onnxruntime", probe),
        doctor.check_optional("decord", True, probe),
    ]
    assert {c.status for c in checks} == {"warn"}
    assert not any("pip" in c.fix for c in checks)
    assert all("again when the machine is less busy" in c.fix for c in checks)
