"""The Python API of `clipmill.models`; its names are imported from there.

Both functions do what the commands of the same name do, and may be called under torchrun as well.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from clipmill.curate.common.log import Tell, say, silent
from clipmill.curate.common.settings import Settings, setting_texts
from clipmill.curate.errors import UserError

if TYPE_CHECKING:
    from clipmill.models.stages.request import Then

Place = str | os.PathLike[str]
"""A file or folder."""


class TrainKeywords(TypedDict, total=False):
    """The options of `train`: how, not what.

    device: auto, cpu or cuda. cache: folder of cached latents; None: within the checkpoint. tell: a function of one
    line of text that gets words and progress, None for silence; default: the terminal. one: a video file, all of it one
    clip, in place of the run, which is None then; caption: what it shows.
    """

    device: str
    one: Place | None
    caption: str | None
    cache: Place | None
    tell: Tell | None


class SampleKeywords(TypedDict, total=False):
    """The options of `sample`.

    seed: video k of a seed is always the same. captions: by turns; none: the training clips'. label: class. numbers:
    micro-conditioning, name -> value. first, last: a picture, video or folder to begin and to end with. reference: the
    same, of what is to be shown. extend: go on, window after window, to so many frames; extend_before: make so many
    more, that lead to its beginning. edit: a video or folder to be changed so that it shows the captions;
    source_caption: what it shows. then: checkpoints of further stages, each of the videos of the one before;
    then_settings: changes of each, in this order. frames, size ("HEIGHTxWIDTH", px): default as trained. step: of which
    checkpoint; None: the last. average: relative width of the weights' average, 0 for the last weights. device: auto,
    cpu or cuda. tell: as of `train`.
    """

    seed: int
    captions: Sequence[str]
    label: str | None
    numbers: Mapping[str, float]
    first: Place | None
    last: Place | None
    extend: int | None
    extend_before: int | None
    reference: Place | None
    edit: Place | None
    source_caption: str | None
    then: Place | Sequence[Place]
    then_settings: Settings | Sequence[Settings]
    frames: int | None
    size: str | None
    step: int | None
    average: float | None
    device: str
    tell: Tell | None


def train(
    run: Place | None, out: Place, config: str, settings: Settings = (), **options: Unpack[TrainKeywords]
) -> Path:
    """Train a model on the exported clips of a run, or go on with it, as `models train` does.

    SIGTERM, SIGUSR1 and Ctrl-C (interrupting the kernel of a notebook) finish the step, save and return; the same call
    goes on.

    Args:
        run: A curate run with exported clips: a `Run`, or its folder. None with the option `one`.
        out: The checkpoint folder; one that is there goes on.
        config: A preset (`models list`), its small size `NAME-nano`, or a `.toml` file.
        settings: Changes, for example `{"train.steps": 700, "data.batch": 16}`, or `key=value` texts.
        **options: See `TrainKeywords`.

    Returns:
        The checkpoint folder, for `sample`.

    Raises:
        UserError: No exported clips, an unknown setting, a folder that holds another training, no GPU.

    Example:
        >>> from clipmill import models
        >>> settings = {"train.steps": 2, "data.cache": "none", "data.workers": 0}
        >>> models.train("run", "checkpoint", "demo-nano", settings, device="cpu", tell=None).name
        'checkpoint'
    """
    from clipmill.models.stop_signals import StopAsked

    sets = setting_texts(settings)
    told = {"--one": options.get("one"), "--caption": options.get("caption")}
    named = [word for flag, value in told.items() if value is not None for word in (flag, os.fspath(value))]
    given = [] if run is None else [os.fspath(run)]
    words = ["models", "train", *given, *named, "--config", config, "--out", os.fspath(out)]
    command = shlex.join([*words, *(word for text in sets for word in ("--set", text))])
    cache = options.get("cache")
    with StopAsked() as asked:
        from clipmill.models.config import load
        from clipmill.models.processes import start
        from clipmill.models.settings.source import source
        from clipmill.models.training.run import train as train_on
        from clipmill.models.training.session import Surroundings

        resolved, place = load(config, sets), None if cache is None else Path(cache)
        processes, tell = start(options.get("device", "auto")), _tell(options.get("tell", say))
        clips = source(_path(run), _path(options.get("one")), options.get("caption"))
        train_on(clips, resolved, Path(out), Surroundings(processes, asked, place, tell), command)
    return Path(out)


def sample(
    checkpoint: Place, out: Place, n: int = 16, settings: Settings = (), **options: Unpack[SampleKeywords]
) -> Path:
    """Make videos, a contact sheet and a manifest that `evaluate` reads, as `models sample` does. Videos that are there
    already stay.

    Args:
        checkpoint: A folder that `train` wrote.
        out: Where the videos go.
        n: How many videos there shall be.
        settings: Changes, for example `{"sample.steps": 25, "sample.guidance": 4}`, or `key=value` texts.
        **options: See `SampleKeywords`.

    Returns:
        The folder of the videos, for `evaluate.score`.

    Raises:
        UserError: No checkpoint, conditions that the model was not trained on, a folder with other samples.

    Example:
        >>> from clipmill import models
        >>> few = {"sample.steps": 2}
        >>> folder = models.sample("checkpoint", "samples", n=2, settings=few, frames=8, device="cpu", tell=None)
        >>> sorted(path.name for path in folder.glob("*.mp4"))
        ['000000.mp4', '000001.mp4']
    """
    from clipmill.models.stages.command import sample as sample_into
    from clipmill.models.stages.request import Request

    request = Request(
        count=n,
        seed=options.get("seed", 0),
        captions=tuple(options.get("captions", ())),
        label=options.get("label"),
        numbers=tuple((name, float(value)) for name, value in options.get("numbers", {}).items()),
        first=_path(options.get("first")),
        frames=options.get("frames"),
        size=options.get("size"),
        step=options.get("step"),
        average=options.get("average"),
        last=_path(options.get("last")),
        extend=options.get("extend"),
        extend_before=options.get("extend_before"),
        edit=_path(options.get("edit")),
        source_caption=options.get("source_caption"),
        then=_stages(options.get("then", ()), options.get("then_settings", ())),
        reference=_path(options.get("reference")),
    )
    tell, device = _tell(options.get("tell", say)), options.get("device", "auto")
    sample_into(Path(checkpoint), Path(out), request, setting_texts(settings), device, tell)
    return Path(out)


def _stages(checkpoints: Place | Sequence[Place], settings: Settings | Sequence[Settings]) -> "tuple[Then, ...]":
    """One checkpoint, or the settings of one, may come without a list around it."""
    from clipmill.models.stages.request import Then

    places = [checkpoints] if isinstance(checkpoints, str | os.PathLike) else list(checkpoints)
    sets = [settings] if isinstance(settings, Mapping) else list(settings)
    if len(sets) > len(places):
        raise UserError(f"then_settings are for {len(sets)} stages, and then has {len(places)}")
    own = [*map(setting_texts, sets), *([] for _ in places[len(sets) :])]
    return tuple(Then(Path(path), tuple(texts)) for path, texts in zip(places, own, strict=True))


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place)


def _tell(given: Tell | None) -> Tell:
    return silent if given is None else given
