"""What goes into a worker: one video and what to make of it. Light, because the driver builds these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clipmill.curate.common.content import State
from clipmill.curate.config import Config

BASE = "base"


@dataclass(frozen=True)
class VideoTask:
    """One unit of work. stale: which tables to make, `base` or names of annotators. sidecar: text columns of
    `videos`. state: of the file when it had this sha256; None: not known. keeps_rows: a failure leaves the rows that
    are there, whatever made them, as they are. scratch: folder for temporary files, "" for one of the worker's own.
    """

    path: str
    uri: str
    relpath: str
    video_id: str
    sha256: str
    size_bytes: int
    run: str
    config: Config
    stale: tuple[str, ...]
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    state: State | None = None
    keeps_rows: bool = False
    scratch: str = ""

    @property
    def annotators(self) -> tuple[str, ...]:
        """Names of the annotators to run beside the decoding: all of those where the clips themselves are stale."""
        names = self.config.decoding
        return names if BASE in self.stale else tuple(n for n in names if n in self.stale)

    @property
    def reads_video(self) -> bool:
        """Whether the video itself is needed, not only what is stored of it."""
        return BASE in self.stale or any(self.config.annotators[name].needs_video for name in self.annotators)

    def identity(self) -> dict[str, Any]:
        """The columns of `videos` known before the file is opened."""
        names = ("video_id", "uri", "relpath", "sha256", "size_bytes")
        return {name: getattr(self, name) for name in names} | dict(self.sidecar)
