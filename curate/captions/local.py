"""What the caption annotators that run a network on this machine have in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clipmill.curate.captions import CaptionAnnotator


@dataclass(frozen=True)
class LocalCaptions(CaptionAnnotator):
    """network: name of weights (`curate weights list`), or a folder."""

    gpu: ClassVar[float] = 1.0

    network: str = ""

    @property
    def model(self) -> str:
        """The name of the weights, or the folder's."""
        return Path(self.network).name

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.network,)
