"""clipmill: data curation and evaluation for video diffusion.

`clipmill.curate` turns videos into clips, scores, decisions and shards. `clipmill.models` trains a reference model on
them. `clipmill.evaluate` says with FVD and KVD how far one set of videos is from another.
"""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

__all__ = ["__version__", "curate", "evaluate", "models"]

try:
    __version__ = version("clipmill")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

# Threads that wait must sleep, not spin: beside busy processes, spinning threads train nine times slower.
# The libraries read these when they load, so this stands before every other import. A user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch (GNU and Intel OpenMP)
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # NumPy and SciPy: 2^4 turns of waiting instead of 2^26

# In a checkout the three packages lie beside this folder, in an installation within it.
_HERE = Path(__file__).resolve().parent
if not (_HERE / "curate").is_dir():
    __path__ = [*__path__, str(_HERE.parent)]


def __getattr__(name: str) -> ModuleType:
    """The three packages without an import of their own: `import clipmill; clipmill.curate.run(...)`."""
    if name not in ("curate", "evaluate", "models"):
        raise AttributeError(f"module 'clipmill' has no attribute {name!r}")
    return import_module(f"clipmill.{name}")
