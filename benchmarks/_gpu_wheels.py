"""What `gpu.py` needs beside torch and numpy, and how a machine without a network gets it: a folder of wheels."""

import subprocess
import sys
import zipfile
from pathlib import Path

MOST_MIB = 60
_PYTHON = "3.12"
_PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17)), "manylinux2014_x86_64")

# What must be there -> name: (version, MiB). Without a group its cases are skipped, and their reason says so.
# torchvision is that of torch 2.11. Left out: Arrow, pandas, DuckDB, PyAV and OpenCV, 190 MiB, which only decoding and
# tables need (that is why the experiment takes its clips from a file), and transformers: open_clip has the same class.
NEEDED = {
    "every part": {"platformdirs": ("4.14.8", 0.1), "safetensors": ("0.8.0", 0.5)},
    "features: RAFT, CLIP": {"torchvision": ("0.26.0", 7.2), "pillow": ("13.0.0", 6.9)},
    "features: CLIP": {
        "open_clip_torch": ("3.3.0", 1.5),
        "timm": ("1.0.31", 2.7),
        "ftfy": ("6.3.1", 0.1),
        "wcwidth": ("0.9.4", 0.8),
        "regex": ("2026.11.19", 0.8),
        "huggingface_hub": ("2.4.0", 0.9),
        "pyyaml": ("6.0.4", 0.9),
        "tqdm": ("4.70.1", 0.1),
        "packaging": ("26.4", 0.2),
        "click": ("8.5.1", 0.2),
        "httpx2": ("2.16.2", 0.1),
        "httpcore2": ("2.16.2", 0.1),
        "truststore": ("0.10.4", 0.1),
        "h11": ("0.16.0", 0.1),
        "anyio": ("4.16.0", 0.2),
        "idna": ("3.20", 0.1),
        "certifi": ("2026.10.19.post1", 0.2),
    },
    "training: diffusers' Latte": {
        "diffusers": ("0.42.1", 6.1),
        "importlib_metadata": ("10.2.0", 0.1),
        "zipp": ("4.1.2", 0.1),
        "requests": ("2.34.2", 0.1),
        "urllib3": ("2.8.0", 0.2),
        "charset_normalizer": ("3.5.3", 0.3),
    },
}


def collect(folder: Path) -> None:
    """Fetch all of them with pip, from wherever it is set up to take packages. Raises SystemExit where it cannot, and
    where they have become too large.
    """
    where = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    names = [f"{name}=={version}" for group in NEEDED.values() for name, (version, _) in group.items()]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version"]
    done = subprocess.run([*pip, _PYTHON, "--implementation", "cp", *where, "--dest", str(folder), *names])
    if done.returncode:
        raise SystemExit("pip could not fetch all wheels: see its words above")
    if _size_mib(folder) > MOST_MIB:
        raise SystemExit(f"the wheels in {folder} take {_size_mib(folder):.1f} MiB, over {MOST_MIB}")


def listing(folder: Path | None) -> str:
    """Markdown. folder: of collected wheels, whose sizes count then."""
    lines = ["| wheel | version | MiB | needed by |", "|---|---|---|---|"]
    for what, group in NEEDED.items():
        lines += [f"| {name} | {version} | {mib} | {what} |" for name, (version, mib) in group.items()]
    total = sum(mib for group in NEEDED.values() for _, mib in group.values())
    found = total if folder is None else _size_mib(folder)
    return "\n".join([*lines, "", f"{found:.1f} MiB in all, beside torch and numpy; at most {MOST_MIB}."])


def unpack(folder: Path, target: Path) -> str:
    """All wheels of a folder, laid out for `sys.path`; nothing is installed. Raises SystemExit where there is none."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise SystemExit(f"{folder} holds no wheels: `gpu.py wheels --collect {folder}` fetches them")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    return str(target)


def _size_mib(folder: Path) -> float:
    return sum(wheel.stat().st_size for wheel in folder.glob("*.whl")) / 2**20
