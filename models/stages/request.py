"""What `models sample` was asked for."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Then:
    """A further stage. settings: `sample.key=value`, of its checkpoint."""

    checkpoint: Path
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """captions: by turns; none: the training clips'. numbers: micro-conditioning. first, last: a picture, video or
    folder to begin and to end with. reference: the same, of what is to be shown. frames, size ("HEIGHTxWIDTH", px):
    None for what the model was trained on first. step: of which checkpoint, None: the last. average: relative width of
    the weights' average, 0 for the last weights. extend: frames in all, made window after window; extend_before: more
    frames, made before these. edit: a video, or a folder of them, to be changed; source_caption: what it shows. then:
    further stages, each of the videos of the one before it.
    """

    count: int = 16
    seed: int = 0
    captions: tuple[str, ...] = ()
    label: str | None = None
    numbers: tuple[tuple[str, float], ...] = ()
    first: Path | None = None
    frames: int | None = None
    size: str | None = None
    step: int | None = None
    average: float | None = None
    last: Path | None = None
    extend: int | None = None
    extend_before: int | None = None
    edit: Path | None = None
    source_caption: str | None = None
    then: tuple[Then, ...] = ()
    reference: Path | None = None
