"""What the commands of `models` do."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipmill.curate.common.console import command_line
from clipmill.curate.common.log import say
from clipmill.curate.errors import UserError
from clipmill.models.config import load, preset_names
from clipmill.models.settings.source import Source

if TYPE_CHECKING:
    from clipmill.models.stages.request import Then


def train(
    run: Source,
    name: str,
    out: Path,
    overrides: Sequence[str],
    device: str = "auto",
    cache: Path | None = None,
) -> None:
    """Raises UserError, one line, for everything that a user can mend."""
    from clipmill.models.stop_signals import StopAsked

    # First of all: imports alone take seconds, and what comes before the first step may take hours.
    with StopAsked() as asked:
        config = load(name, overrides)
        from clipmill.models.processes import start
        from clipmill.models.training.run import train as train_on
        from clipmill.models.training.session import Surroundings

        train_on(run, config, out, Surroundings(start(device), asked, cache), command_line("models"))


def caption_list(given: Sequence[str], file: Path | None) -> tuple[str, ...]:
    """Captions of the command line and of a file, one per line, in this order. Raises UserError for a file that has
    none.
    """
    if file is None:
        return tuple(given)
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read captions from {file}: {error}") from error
    if not lines:
        raise UserError(f"{file} holds no caption")
    return (*given, *lines)


def number_list(given: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """("motion=0.2",) -> (("motion", 0.2),). Raises UserError for anything else."""
    found = []
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found.append((name.strip(), float(value)))
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise UserError(f"--number takes NAME=VALUE, for example motion=0.2; got {text!r}")
    return tuple(found)


def stage_list(checkpoints: Sequence[Path], settings: Sequence[str]) -> "tuple[Then, ...]":
    """Of --then and --then-set, "1:sample.steps=25" for the first of them. Raises UserError for a setting of none."""
    from clipmill.models.stages.request import Then

    own: list[list[str]] = [[] for _ in checkpoints]
    for text in settings:
        number, colon, setting = text.partition(":")
        if not colon or not number.isdecimal() or not 1 <= int(number) <= len(own):
            raise UserError(
                f"--then-set takes K:KEY=VALUE, K the number of a --then (there are {len(own)}), for example"
                f" 1:sample.steps=25; got {text!r}"
            )
        own[int(number) - 1].append(setting)
    return tuple(Then(path, tuple(texts)) for path, texts in zip(checkpoints, own, strict=True))


def list_presets() -> None:
    """Every preset with its line, its property and its size."""
    for name in preset_names():
        config = load(name)
        say(f"{name:<14} {config.about}")
        if config.paper:
            say(f"{'':<14} source: {config.paper}")
        if config.property:
            say(f"{'':<14} tested: {config.property}")
    say(
        "\nNAME-nano is the same system in a size that a CPU builds in a moment. Settings: --set section.key=value, or"
        " a .toml file."
    )


def info(checkpoint: Path, clips: bool, whole_config: bool) -> None:
    """The card, and which clips the last checkpoint has seen."""
    from clipmill.models.checkpoints.step_files import read_card, read_state, saved_steps, step_folder

    card = read_card(checkpoint)
    steps = saved_steps(checkpoint)
    state = read_state(step_folder(checkpoint, steps[-1])) if steps else {}
    if clips:
        _say_clips(step_folder(checkpoint, steps[-1]) / "clips.parquet" if steps else None, checkpoint)
        return
    if whole_config:
        say(json.dumps(card["config"], indent=1))
        return
    for line in _card_lines(card, steps, state):
        say(line)


def _card_lines(card: Mapping[str, Any], steps: Sequence[int], state: Mapping[str, Any]) -> Iterator[str]:
    from clipmill.evaluate.report.kept_words import kept_words

    config, versions = card["config"], card["versions"]
    frozen = f"{config['autoencoder']['kind']} {card['autoencoder_sha256'][:12]}"
    saved = ", ".join(map(str, steps)) or "none yet"
    yield f"preset          {config['name']}: {config['about']}"
    still = f", {card['frozen']:,} frozen ({config['train']['learn']})" if card.get("frozen") else ""
    yield f"parameters      {card.get('parameters', 0):,} trained{still}; autoencoder {frozen}"
    if begun := card.get("init"):
        yield f"begun with      {begun['checkpoint']}, step {begun['step']:,}"
    if merged := card.get("merged"):
        yield f"merged          {' and '.join([merged['checkpoint'], *merged['loras']])}"
    if kept := kept_words(card.get("kept") or {}):
        yield f"latents keep    {kept}"
    yield f"steps           {steps[-1] if steps else 0:,} of {config['train']['steps']:,}; saved: {saved}"
    if state:
        failed = len(state["failed"])
        yield (
            f"training time   {state['seconds'] / 60:.1f} min; {state['skipped']} steps skipped; {failed} clips did not"
            " decode"
        )
    yield f"data            {card['run']}, manifest {card['manifest_sha256'][:12]}, {len(card['shards'])} shards"
    for bucket in card["buckets"]:
        yield "                {}: {} clips, batch {}".format(
            *(bucket.get(name) for name in ("shape", "clips", "batch"))
        )
    for reason, count in card["left_out"].items():
        yield f"                left out: {count} {reason}"
    made_by = f"clipmill {versions['clipmill']}, revision {card['git_revision']}, torch {versions['torch']}"
    yield f"code            {made_by}, {versions['gpu'] or 'CPU'}"
    yield "clips it has seen: models info CKPT --clips; the whole config: --config"


def _say_clips(path: Path | None, checkpoint: Path) -> None:
    import pyarrow.parquet as pq

    if path is None or not path.is_file():
        raise UserError(f"{checkpoint} holds no complete checkpoint yet")
    table = pq.read_table(path).to_pandas()
    seen = table[table["times_drawn"] > 0]
    say(
        f"{len(seen)} of {len(table)} clips of {seen['video_id'].nunique()} videos drawn"
        f" {int(table['times_drawn'].sum()):,} times"
    )
    for row in seen.sort_values("times_drawn", ascending=False).itertuples():
        say(f"{row.clip_id}  {row.times_drawn:>6}  video {row.video_id}  {row.bucket}")
    say(f"as a table: pd.read_parquet({str(path)!r})")
