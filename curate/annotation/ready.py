"""What a worker has loaded, so that networks are loaded once and not for every task."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from clipmill.curate.config import Config
from clipmill.curate.contract.annotator import Annotator, Measure

Value = TypeVar("Value")


@dataclass(frozen=True)
class Loaded:
    """An annotator and what its `load` returned."""

    annotator: Annotator
    measure: Measure


class Ready:
    """One for each worker: it goes to the process empty, with the function that the process runs, and stays there from
    task to task.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What `make` returned the first time that it was asked for by this key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def annotator(self, config: Config, name: str, device: str) -> Loaded:
        """The annotator called `name`, loaded once for its settings, device and files. device: cpu or cuda."""
        annotator, files = config.annotators[name], config.files(name)
        key = annotator, device, tuple(files.items())
        return self.once(key, lambda: Loaded(annotator, annotator.load(device, files)))
