"""What a training is of: a run, or one video. Light: the command line imports it."""

from dataclasses import dataclass
from pathlib import Path

from clipmill.curate.errors import UserError


@dataclass(frozen=True)
class OneVideo:
    """path: of the file. caption: what it shows, "" for nothing."""

    path: Path
    caption: str = ""


Source = Path | OneVideo


def source(run: Path | None, one: Path | None, caption: str | None) -> Source:
    """caption: of `one`. Raises UserError unless there is a run or one video."""
    if run is not None and one is None:
        if caption is not None:
            raise UserError("--caption says what the video of --one shows; a run has captions of its own")
        return run
    if run is not None or one is None:
        raise UserError("training is of a RUN or of --one VIDEO: give one of them")
    return OneVideo(one, caption or "")
