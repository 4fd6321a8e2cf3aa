"""An annotator with its network loaded, once per worker."""

import functools
from pathlib import Path

from clipmill.curate.config import Config
from clipmill.curate.contract.annotator import Annotator


def ready_annotator(config: Config, name: str, device: str) -> Annotator:
    """The annotator after its setup, once per worker and parameters."""
    return _ready(config.annotator(name), device, tuple(config.files(name).items()))


@functools.lru_cache(maxsize=32)
def _ready(annotator: Annotator, device: str, files: tuple[tuple[str, Path], ...]) -> Annotator:
    annotator.setup(device, dict(files))
    return annotator
