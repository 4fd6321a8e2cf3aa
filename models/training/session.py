"""A training put together: from a curate run and a config to a checkpoint folder, new or resumed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.common.log import Progress, Tell, progress, say, silent
from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.models.autoencoder_for import FILE
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.saving import save_autoencoder, weights_sha256
from clipmill.models.checkpoints import step_files
from clipmill.models.checkpoints.tensors import all_whole, optimiser_tensors, put_all, put_optimiser_tensors
from clipmill.models.conditioning.classes import class_names_of
from clipmill.models.conditioning.observation import check_observed
from clipmill.models.conditioning.reference import reference_encoder_of
from clipmill.models.config import ModelConfig, from_dict
from clipmill.models.network import seeded_network
from clipmill.models.processes import Processes
from clipmill.models.settings.distil import TOLD
from clipmill.models.stop_signals import StopAsked
from clipmill.models.tensor_files import write_tensors
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.data.batch_plan import BatchPlan
from clipmill.models.training.data.buckets import Buckets, make_buckets
from clipmill.models.training.data.encoding import Encoding
from clipmill.models.training.data.latents import LatentCache, cache_key
from clipmill.models.training.data.loader import Facts, Loader, WindowSource, check_shares
from clipmill.models.training.data.one_video import FOLDER, is_here
from clipmill.models.training.data.windows import Windows
from clipmill.models.training.export_autoencoder import export_autoencoder
from clipmill.models.training.fit_pixels import first_windows, fit_to
from clipmill.models.training.loop import Trainer
from clipmill.models.training.objectives.base import Objective
from clipmill.models.training.objectives.diffusion import DiffusionObjective
from clipmill.models.training.objectives.distil import DistilObjective, with_teacher
from clipmill.models.training.run_card import run_card, seen_clips
from clipmill.models.training.starting import Start, latents_for, start, with_latents_of_init
from clipmill.models.training.telemetry import Telemetry

_NOTHING_YET = -1  # the lines of a new training begin with step 0


@dataclass(frozen=True)
class Surroundings:
    """What a training does not depend on. cache: folder of cached latents, None: within the checkpoint. tell: gets
    words, from the first process alone, and progress.
    """

    processes: Processes
    asked: StopAsked
    cache: Path | None = None
    tell: Tell = say

    def progress(self, title: str, total: float, unit: str) -> AbstractContextManager[Progress]:
        """The bar of a stage, shown to whom `tell` tells."""
        return progress(title, total, unit, self.tell)


@dataclass
class Session:
    """All parts of one training."""

    run: Path
    out: Path
    config: ModelConfig
    around: Surroundings
    buckets: Buckets
    plan: BatchPlan
    loader: Loader
    windows: Windows
    source: WindowSource
    objective: Objective
    autoencoder: VideoAutoencoder | None
    telemetry: Telemetry
    trainer: Trainer
    card: dict[str, Any]
    start: Start

    @property
    def processes(self) -> Processes:
        """This process among the others."""
        return self.around.processes

    def batches(self) -> Iterator[VideoBatch]:
        """From where the training stands."""
        return self.loader.batches(self.trainer.progress.step, self.processes, self.config.data.workers)

    def save(self) -> None:
        """A checkpoint of now; every process must call it."""
        trainer, config = self.trainer, self.config
        step = trainer.progress.step
        tensors = {
            step_files.WEIGHTS: all_whole(dict(trainer.named)),
            step_files.OPTIMISER: optimiser_tensors(trainer.all_optimisers(), trainer.named),
        }
        for average in trainer.averages:
            tensors[step_files.average_file(average.std)] = all_whole(average.tensors)
        if self.processes.first:
            state = vars(trainer.progress) | {"clips_sha256": self.card["clips_sha256"]}
            seen = seen_clips(self.buckets, self.plan, step)
            step_files.write_step(self.out, step, tensors, seen, state, config.train.keep)
            if config.trains == "autoencoder":
                averaged = tensors[step_files.average_file(trainer.averages[0].std)]
                videos = first_windows(self.windows, config.train.measured)
                export_autoencoder(self.out / FILE, config, averaged, tensors[step_files.WEIGHTS], step, videos)
        self.processes.barrier()

    def snapshot(self) -> None:
        """Averages of now, for other widths afterwards."""
        for average in self.trainer.averages:
            tensors = all_whole(average.tensors)
            if self.processes.first:
                folder = self.out / "snapshots"
                folder.mkdir(exist_ok=True)
                write_tensors(folder / f"{self.trainer.progress.step:08d}-{average.std:.3f}.safetensors", tensors)

    def restore(self) -> bool:
        """Go on from the last checkpoint that is whole; False where there is none. Raises UserError where the data are
        no longer the same, and where all checkpoints are damaged.
        """
        folder = self._last_whole()
        if folder is None:
            self.telemetry.cut_after(_NOTHING_YET)  # a training that was killed before its first checkpoint
            return False
        state = step_files.read_state(folder)
        if state["clips_sha256"] != self.card["clips_sha256"]:
            raise UserError(
                f"{self.run} no longer holds the clips that {self.out} was trained on: choose another --out, or restore"
                " the run"
            )
        trainer, what = self.trainer, str(folder)
        put_all(dict(trainer.named), step_files.load_tensors(folder / step_files.WEIGHTS), what)
        put_optimiser_tensors(
            trainer.all_optimisers(), trainer.named, step_files.load_tensors(folder / step_files.OPTIMISER)
        )
        for average in trainer.averages:
            put_all(average.tensors, step_files.load_tensors(folder / step_files.average_file(average.std)), what)
        for name in ("step", "seconds", "skipped", "failed"):
            setattr(trainer.progress, name, state[name])
        self.telemetry.cut_after(trainer.progress.step)
        return True

    def _last_whole(self) -> Path | None:
        """Of the newest step that can be read; damaged ones are told, and made again on the way."""
        averages = [step_files.average_file(average.std) for average in self.trainer.averages]
        names = [step_files.WEIGHTS, step_files.OPTIMISER, *averages]
        folders = [step_files.step_folder(self.out, step) for step in step_files.saved_steps(self.out)]
        reason = ""
        for folder in reversed(folders):
            found = step_files.damage(folder, names)
            if found is None:
                return folder
            reason = reason or found
            if self.processes.first:
                self.around.tell(f"{found}; trying the step before")
        if folders:
            raise UserError(f"{reason}; no step before it is whole: copy the checkpoint again, or choose another --out")
        return None


def open_session(run: Path, config: ModelConfig, out: Path, around: Surroundings) -> Session:
    """Everything is checked before anything is written. Raises UserError, one line, and StoppedEarly where a signal
    asked meanwhile.
    """
    check_folder(out)
    manifest, processes, asked = read_exported(RunDir(run)), around.processes, around.asked
    config = with_latents_of_init(with_teacher(config), out)
    autoencoder, objective, config = _objective(config, manifest, out, processes)
    tokens_of = objective.tokens
    buckets = make_buckets(manifest, config.data.where, config.data, tokens_of)
    _check_shapes(config, buckets, objective, autoencoder)
    plan = BatchPlan(buckets.buckets, config.train.seed, config.data.image_share)
    facts = Facts(
        tuple(name for name in config.conditioning.micro.columns if name != TOLD), config.conditioning.classes.column
    )
    facts.check(buckets.table)
    check_shares(buckets.buckets, processes)
    windows = Windows(run, buckets.table, buckets.buckets, config.data, config.train.seed)
    asked.leave_early(processes)
    if autoencoder is not None and config.autoencoder.weights is None:
        fit_to(autoencoder, windows, config.train.measured)
        asked.leave_early(processes)
    sha256 = weights_sha256(autoencoder) if autoencoder is not None else ""
    card = run_card(config, run, buckets, sha256, objective.perceptual_name) | dict(objective.facts)
    _check_out(out, card)
    begun = start(config, objective.network, out, sha256) if isinstance(objective, DiffusionObjective) else Start()
    card |= begun.facts
    telemetry = Telemetry(out / "log.jsonl", processes.device, processes.first)
    trainer = Trainer(objective, config.train, processes, buckets.buckets, telemetry)
    source = _source(windows, autoencoder, config, around.cache or out / "latents", around)
    loader = Loader(source, buckets.table, buckets.buckets, plan, facts, config.data.images_per_clip)
    return Session(
        run,
        out,
        config,
        around,
        buckets,
        plan,
        loader,
        windows,
        source,
        objective,
        autoencoder,
        telemetry,
        trainer,
        card,
        begun,
    )


def _objective(
    config: ModelConfig, manifest: pa.Table, out: Path, processes: Processes
) -> tuple[VideoAutoencoder | None, Objective, ModelConfig]:
    if config.trains == "autoencoder":
        if config.data.cache != "none":
            raise UserError("an autoencoder is trained on pixels: set data.cache=none")
        if config.data.packed:
            raise UserError("an autoencoder takes videos of one shape at a time: set data.packed=false")
        if config.train.init is not None:
            raise UserError(
                "train.init is for diffusion models: an autoencoder goes on from autoencoder.weights, and"
                " autoencoder_loss.decoder_only says what of it learns"
            )
        from clipmill.models.training.objectives.reconstruction import ReconstructionObjective

        return None, ReconstructionObjective(config, processes.device), config
    classes = config.conditioning.classes
    if classes.column and not classes.names:
        named = replace(classes, names=class_names_of(manifest.to_pandas(), classes.column))
        config = replace(config, conditioning=replace(config.conditioning, classes=named))
    config = _with_reference(config)
    autoencoder = latents_for(config, out, processes.device)
    kind = DistilObjective if config.objective == "distil" else DiffusionObjective
    return autoencoder, kind(config, seeded_network(config, autoencoder), autoencoder, processes.device), config


def _with_reference(config: ModelConfig) -> ModelConfig:
    """With the size of the reference picture's embedding, so that a checkpoint knows it. Raises UserError where its
    network, or the pixels, are not to be had.
    """
    chosen = config.conditioning.reference
    encoder = reference_encoder_of(chosen)
    if encoder is None:
        return config
    encoder.check()
    if config.data.cache == "latents":
        raise UserError("a reference picture is taken from the pixels of a window: set data.cache=none")
    named = replace(chosen, dim=encoder.dim)
    return replace(config, conditioning=replace(config.conditioning, reference=named))


def _check_shapes(
    config: ModelConfig, buckets: Buckets, objective: Objective, autoencoder: VideoAutoencoder | None
) -> None:
    """Raises UserError for windows that have no latents, and for given frames or images that have none of their own."""
    frames = config.conditioning.frames
    for bucket in buckets.buckets:
        objective.tokens(bucket.grid)
        if config.data.images_per_clip:
            objective.tokens((1, *bucket.grid[1:]))
        check_observed(frames, bucket.grid)
    if autoencoder is None or autoencoder.first_frame_alone:
        return
    if frames.given == "first" or (frames.given == "masks" and not autoencoder.given_as_latents):
        raise UserError(
            f"a latent of this autoencoder is a block of {autoencoder.time_factor} frames, so single frames cannot be"
            " given: set conditioning.frames.given=none, or autoencoder.options.time_factor=1"
        )


def _source(
    windows: Windows, autoencoder: VideoAutoencoder | None, config: ModelConfig, cache: Path, around: Surroundings
) -> WindowSource:
    asked, processes = around.asked, around.processes
    if config.data.cache == "none" or autoencoder is None:
        asked.leave_early(processes)
        return windows
    key = cache_key(weights_sha256(autoencoder), config.data, config.train.seed, config.conditioning.frames)
    latents = LatentCache(cache / key, windows, around.tell if processes.first else silent)
    with around.progress("encoding", 1, "windows") as bar:
        latents.fill(Encoding(autoencoder, config.conditioning.frames), processes.device, processes, bar.reach, asked)
    asked.leave_early(processes, lambda: f"{latents.progress()} windows are encoded and kept in {cache}")
    return latents


def check_folder(out: Path) -> None:
    """Raises UserError where there is something that is no training."""
    if (out / "card.json").is_file():
        if "merged" in step_files.read_card(out):
            raise UserError(f"{out} was merged and not trained: set train.init={out}, and choose another --out")
        return
    began = {"latents", FOLDER} if is_here(out) else {"latents"}
    if out.exists() and not (out.is_dir() and {p.name for p in out.iterdir()} <= began):
        raise UserError(f"{out} exists and is no checkpoint of `models train`: choose another --out")


def _check_out(out: Path, card: dict[str, Any]) -> None:
    """Raises UserError where the folder holds another training."""
    if not (out / "card.json").is_file():
        return
    # Through the dataclasses: a setting that is newer than the checkpoint has its default there, which keeps what was
    # done before.
    there = step_files.read_card(out)
    before = from_dict(there["config"]).as_dict()
    changed = _changed(_fixed(before), _fixed(card["config"])) or _changed(_taught(there), _taught(card))
    if changed:
        raise UserError(
            f"{out} was trained with another {changed[0]}: go on with the same settings, or choose another --out"
        )


# What may change when a training goes on: how long, how fast, and what is written.
_FREE = {
    "train": {"steps", "minutes", "log_every", "checkpoint_every", "keep", "snapshots", "validate_every",
              "validation_clips", "validation_bins", "preview_every", "preview_clips", "micro_batch",
              "compile", "recompute", "parallel"},
    "data": {"workers", "cache"},
}  # fmt: skip


def _taught(card: dict[str, Any]) -> dict[str, Any]:
    return {"distil": {"teacher": (card.get("teacher") or {}).get("weights_sha256")}}


def _fixed(config: dict[str, Any]) -> dict[str, Any]:
    dropped = {"name", "about", "property", "paper", "sample"}
    kept = {key: value for key, value in config.items() if key not in dropped}
    for section, free in _FREE.items():
        kept[section] = {key: value for key, value in kept[section].items() if key not in free}
    return kept


def _changed(before: Any, now: Any, where: str = "") -> list[str]:
    """Dotted names of what differs, as JSON would store it."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(set(before) | set(now))
        return [
            found
            for name in names
            for found in _changed(before.get(name), now.get(name), f"{where}.{name}".lstrip("."))
        ]
    listed = [list(v) if isinstance(v, tuple) else v for v in (before, now)]
    return [] if _plain(listed[0]) == _plain(listed[1]) else [where]


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _earlier(out: Path) -> list[dict[str, Any]]:
    """What earlier parts of a training ran on, and to which step, oldest first."""
    steps = step_files.saved_steps(out)
    if not steps or not (out / "card.json").is_file():
        return []
    card = step_files.read_card(out)
    part = {key: card.get(key) for key in ("git_revision", "versions")} | {"until_step": steps[-1]}
    return [*card.get("before", []), part]


def kept_before(out: Path) -> dict[str, float]:
    """What the card of a training that goes on says of its latents; empty for a new one."""
    if not step_files.saved_steps(out) or not (out / "card.json").is_file():
        return {}
    return dict(step_files.read_card(out).get("kept") or {})


def start_folder(session: Session) -> None:
    """Write what a new checkpoint folder begins with."""
    if session.processes.first:
        session.out.mkdir(parents=True, exist_ok=True)
        step_files.remove_partial(session.out)
        session.card["before"] = _earlier(session.out)
        step_files.write_json(session.out / "card.json", session.card)
        if session.autoencoder is not None:
            save_autoencoder(session.out / FILE, session.autoencoder)
    session.start.write(session.out, list(session.objective.named_parameters()), session.processes.first)
    session.processes.barrier()
