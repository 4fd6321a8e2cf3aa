"""One training from its first step, or its last checkpoint, to its end: what is written and what a person sees."""

import shlex
from pathlib import Path
from typing import Any

from clipmill.curate.common.log import Progress
from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import FILE, frozen
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.saving import load_autoencoder
from clipmill.models.checkpoints.conditions import MOST_ROWS, TRAINED_ON, write_trained_on
from clipmill.models.checkpoints.step_files import saved_steps, write_json
from clipmill.models.config import ModelConfig
from clipmill.models.processes import sole, stop
from clipmill.models.settings.source import OneVideo, Source
from clipmill.models.stop_signals import StoppedEarly
from clipmill.models.training.data.one_video import run_of
from clipmill.models.training.data.windows import Window
from clipmill.models.training.deterministic import deterministic
from clipmill.models.training.fit_pixels import first_windows
from clipmill.models.training.kept import WINDOWS, Keeping, keeping_of
from clipmill.models.training.loop import Diverged, Hooks
from clipmill.models.training.preview import preview_of
from clipmill.models.training.session import (
    Session,
    Surroundings,
    check_folder,
    kept_before,
    open_session,
    start_folder,
)
from clipmill.models.training.validation import Validation, validation_of


def train(run: Source, config: ModelConfig, out: Path, around: Surroundings, command: str) -> None:
    """Train a model on clips, or go on with it, and leave the group of processes. command: a line that does the
    same, for the run card. A signal that asks to stop is no failure. Raises UserError, one line.
    """
    try:
        with sole(out, around.processes):
            if isinstance(run, OneVideo):
                check_folder(out)
                run = run_of(run, out, around.processes, around.tell)
            session = open_session(run, config, out, around)
            session.card["command"] = command
            with deterministic(config.train.deterministic):
                run_session(session)
    except StoppedEarly as stopped:
        if around.processes.first:
            around.tell(str(stopped))
    finally:
        stop()


def run_session(session: Session) -> None:
    """Trains, saves, and says how it ended. Raises UserError, one line."""
    first, config = session.processes.first, session.config
    session.card |= {
        "parameters": sum(p.numel() for _, p in session.trainer.named),
        "fps": session.buckets.buckets[0].fps,
    }
    validation, preview = validation_of(session), preview_of(session)
    before = kept_before(session.out)
    kept = None if before else _kept(session, session.autoencoder, validation)
    session.card["kept"] = kept.facts() if kept else before
    start_folder(session)
    resumed = session.restore()
    if first:
        _announce(session, resumed, validation)
        _say_kept(session, kept)
        _write_conditions(session)
    with session.around.progress("training", config.train.steps, "steps") as bar:
        if first:
            bar.advance(session.trainer.progress.step)
        hooks = _hooks(session, bar, validation, preview)
        try:
            reason = session.trainer.run(session.batches(), hooks, session.around.asked)
        except Diverged as error:
            raise UserError(f"{error}. {_last_good(session.out)}") from error
    session.save()
    if first:
        if config.trains == "autoencoder":
            _measure_trained(session, validation)
        _conclude(session, reason)


def _last_good(out: Path) -> str:
    steps = saved_steps(out)
    return f"Kept: step {steps[-1]} in {out}" if steps else f"{out} holds no checkpoint yet"


def _kept(session: Session, autoencoder: VideoAutoencoder | None, validation: Validation | str) -> Keeping | None:
    """What the latents keep of training windows and of those that validation reads; None where there are no latents
    yet, and in other processes than the first.
    """
    if autoencoder is None or not autoencoder.decodes or not session.processes.first:
        return None
    held = validation.videos(WINDOWS) if isinstance(validation, Validation) else []
    return keeping_of(autoencoder, list(first_windows(session.windows, WINDOWS))[:WINDOWS], held)


def _measure_trained(session: Session, validation: Validation | str) -> None:
    """What the autoencoder keeps that was just trained, as it was saved."""
    trained = frozen(load_autoencoder(session.out / FILE), session.processes.device)
    kept = _kept(session, trained, validation)
    _say_kept(session, kept)
    session.card["kept"] = kept.facts() if kept else {}
    write_json(session.out / "card.json", session.card)


def _say_kept(session: Session, found: Keeping | None) -> None:
    """In the log, and to the reader."""
    if found is not None:
        shares = {f"kept_{name}": share for name, share in found.facts().items()}
        session.telemetry.event({"step": session.trainer.progress.step} | shares)
        for line in found.lines():
            session.around.tell(line)


def _hooks(session: Session, bar: Progress, validation: Validation | str, preview: Any) -> Hooks:
    shown = {"step": session.trainer.progress.step}

    def log(figures: dict[str, Any]) -> None:
        done = session.trainer.progress
        row = {"step": done.step, "seconds": done.seconds, "skipped": done.skipped, "failed_clips": len(done.failed)}
        session.telemetry.event(row | figures)
        if session.processes.first:
            bar.advance(
                done.step - shown["step"],
                f"loss {figures.get('loss', float('nan')):.4f}, {figures['clips_per_s']:.1f} clips/s",
            )
            shown["step"] = done.step

    def validate() -> None:
        if isinstance(validation, Validation):
            session.telemetry.event({"step": session.trainer.progress.step} | validation.measure())

    return Hooks(log, session.save, session.snapshot, validate, preview)


def _announce(session: Session, resumed: bool, validation: Validation | str) -> None:
    config, buckets, tell = session.config, session.buckets, session.around.tell
    clips = sum(len(bucket.rows) for bucket in buckets.buckets if not bucket.images)
    left = "".join(f", {count} {reason}" for reason, count in buckets.left_out.items())
    session.around.tell(
        f"{config.name}: {session.card['parameters']:,} parameters on {session.processes.device}; {clips} clips{left}"
    )
    for line in session.start.lines:
        tell(line)
    for bucket in buckets.buckets:
        tell(f"  {bucket}: {len(bucket.rows)} clips, batch {bucket.batch}")
    if isinstance(validation, str):
        tell(f"  no validation: {validation}")
    if resumed:
        tell(f"  going on from step {session.trainer.progress.step}")


def _write_conditions(session: Session) -> None:
    """What the first clips are conditioned on, for samples without prompts of their own. Captions as the first epoch
    chooses them.
    """
    path = session.out / TRAINED_ON
    if path.exists():
        return
    facts, table = session.loader.facts, session.buckets.table
    rows = [(bucket, row) for bucket in session.buckets.buckets for row in bucket.rows if not bucket.images][:MOST_ROWS]
    windows = [Window(row, None, None, "", 0, "", bucket.fps) for bucket, row in rows]
    captions = [session.windows.caption(row, 0) for _, row in rows]
    numbers: dict[str, list[float]] = {name: [] for name in facts.columns}
    for (bucket, _), window in zip(rows, windows, strict=True):
        for name, value in facts.numbers(table, [window], bucket).items():
            numbers[name].append(float(value[0]))
    write_trained_on(path, captions, facts.labels(table, windows), numbers)


def _conclude(session: Session, reason: str | None) -> None:
    done, tell = session.trainer.progress, session.around.tell
    for clip_id, why in done.failed.items():
        tell(f"  clip {clip_id} does not decode: {why}")
    notes = [f"{done.skipped} steps skipped (gradient not finite)"] if done.skipped else []
    notes += [f"{len(done.failed)} clips did not decode and were replaced"] if done.failed else []
    ended = (
        f"stopped at step {done.step} of {session.config.train.steps} ({reason}); the same command goes on"
        if reason
        else f"step {done.step}"
    )
    tell(f"{'; '.join([ended, *notes])}. Checkpoint: {session.out}. Next: {_next(session)}")


def _next(session: Session) -> str:
    """The command that this training was for."""
    run, out = (shlex.quote(str(path)) for path in (session.run, session.out))
    if session.config.trains == "autoencoder":
        return f"models train {run} --config dit --set autoencoder.weights={out} --out model"
    if session.config.conditioning.frames.needs_pixels:
        return f"models sample OTHER --then {out} --out samples"
    first = " --first PICTURE" if session.config.conditioning.frames.given == "first" else ""
    return f"models sample {out}{first} --n 16 --out samples"
