"""Progressive distillation: a student of a trained network, of its guidance or of two of its steps in one."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from clipmill.curate.errors import UserError
from clipmill.curate.weights import sha256
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.checkpoints import step_files
from clipmill.models.conditioning.config import ConditioningConfig, MicroConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.dropout import joined
from clipmill.models.conditioning.micro import number_of, with_number, without_number
from clipmill.models.config import ModelConfig, SampleConfig, from_dict
from clipmill.models.core.denoiser import branches_in_one_call, denoiser
from clipmill.models.core.guidance import Weight, classifier_free
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import noised
from clipmill.models.core.parametrisation import Estimate
from clipmill.models.core.samplers.two_steps import two_steps
from clipmill.models.core.schedules import step_of_time
from clipmill.models.core.timesteps import Uniform
from clipmill.models.generate.loading import load
from clipmill.models.generate.watching import Watching
from clipmill.models.layers.plan import Grid
from clipmill.models.network import Network
from clipmill.models.settings.distil import TOLD
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.diffusion import DiffusionObjective, Noisy

# Samplers without noise of their own, of first order: what the student learns to do in one step.
_STRAIGHT = ("ddim", "flow-euler", "edm-euler")
_CALLS = 2
_SAME = ("schedule", "schedule_options", "shift", "shift_rule", "shift_base_tokens", "parametrisation",
         "parametrisation_options", "variance_steps", "self_conditioning")  # fmt: skip
_NO_GUIDANCE: dict[str, Any] = {
    "guidance": 1.0, "guidance_last": None, "guidance_low": None, "guidance_constant_steps": 0, "rescale": 0.0
}  # fmt: skip


def with_teacher(config: ModelConfig) -> ModelConfig:
    """With all that a student has of its teacher: weights to begin with, how it is sampled, the number that it is told.
    The same config where no teacher is asked for. Raises UserError for a teacher that is none, or of another system.
    """
    chosen = config.distil
    if config.objective != "distil":
        if chosen.teacher is not None:
            raise UserError("distil.teacher is learned of with objective=distil: set that, or leave distil.teacher out")
        return config
    if config.trains != "diffusion":
        raise UserError("objective=distil is for models that sample: an autoencoder has no steps to halve")
    if chosen.teacher is None:
        raise UserError("objective=distil learns of another model: set distil.teacher to its checkpoint")
    teacher = from_dict(step_files.read_card(Path(chosen.teacher))["config"])
    if teacher.trains != "diffusion":
        raise UserError(f"distil.teacher: {chosen.teacher} holds an autoencoder, which has no steps")
    _check_alike(config, teacher)
    weights = _weights(config, teacher)
    steps = _steps(config, teacher) if chosen.stage == "steps" else None
    return replace(
        config,
        distil=replace(chosen, steps=steps, guidance=weights),
        conditioning=_conditioning(config.conditioning, teacher.conditioning, len(weights) > 1),
        sample=_sample(config, teacher.sample, steps, told=len(weights) > 1),
        train=replace(config.train, init=config.train.init or chosen.teacher),
    )


def _check_alike(config: ModelConfig, teacher: ModelConfig) -> None:
    for name in _SAME:
        before, now = (getattr(one.diffusion, name) for one in (teacher, config))
        if before != now:
            raise UserError(
                f"distil.teacher: {config.distil.teacher} was trained with diffusion.{name}={before}, this model has"
                f" {now}: set it to the same"
            )
    for name in ("text", "classes", "micro", "frames", "reference"):
        before, now = (_of_inputs(getattr(one.conditioning, name)) for one in (teacher, config))
        if before != now:
            raise UserError(
                f"distil.teacher: {config.distil.teacher} was trained with another conditioning.{name}: take its config"
            )


def _of_inputs(section: Any) -> dict[str, Any]:
    """What decides the inputs of the network, but for what training fills in."""
    found = {name: value for name, value in asdict(section).items() if name not in ("drop", "names")}
    if isinstance(section, MicroConfig):
        found["columns"] = [name for name in section.columns if name != TOLD]
    return found | ({"dim": 0} if "network" in found else {})


def _weights(config: ModelConfig, teacher: ModelConfig) -> tuple[float, ...]:
    chosen, told = config.distil, TOLD in teacher.conditioning.micro.columns
    if chosen.stage == "steps":
        if chosen.guidance and not told:
            raise UserError("distil.guidance is distilled first, with distil.stage=guidance: leave it out here")
        return chosen.guidance or (teacher.distil.guidance if told else ())
    if told:
        raise UserError(f"distil.teacher: {chosen.teacher} has its guidance within: set distil.stage=steps")
    weights = chosen.guidance or (teacher.sample.guidance,)
    if weights == (1.0,):
        raise UserError(f"distil.teacher: {chosen.teacher} is sampled without guidance: set distil.guidance=4")
    return weights


def _steps(config: ModelConfig, teacher: ModelConfig) -> int:
    chosen, found = config.distil, teacher.sample.steps
    if config.sample.sampler not in _STRAIGHT or config.sample.schedule is not None:
        raise UserError(
            f"two steps become one where they go straight, with the sampler {', '.join(_STRAIGHT)} and no schedule of"
            " its own: set sample.sampler=ddim, and leave sample.schedule out"
        )
    if chosen.steps is None and (found < _CALLS or found % _CALLS):
        raise UserError(
            f"distil.teacher: {chosen.teacher} samples with {found} steps, no even number: set distil.steps"
        )
    return chosen.steps or found // _CALLS


def _conditioning(own: ConditioningConfig, teacher: ConditioningConfig, told: bool) -> ConditioningConfig:
    columns = tuple(name for name in own.micro.columns if name != TOLD)
    micro = replace(own.micro, columns=(*columns, TOLD) if told else columns)
    names = replace(own.classes, names=teacher.classes.names)
    return replace(own, micro=micro, classes=names, reference=replace(own.reference, dim=teacher.reference.dim))


def _sample(config: ModelConfig, teacher: SampleConfig, steps: int | None, told: bool) -> SampleConfig:
    """Guidance as the teacher's, or none where it is within."""
    kept = {name: getattr(teacher, name) for name in _NO_GUIDANCE}
    if told:
        kept |= {"guidance_last": None, "rescale": 0.0}
    elif config.distil.stage == "guidance":
        kept = _NO_GUIDANCE
    return replace(config.sample, steps=steps or teacher.steps, **kept)


class DistilObjective(DiffusionObjective):
    """As `DiffusionObjective`, but what the network is to say is not what the data were, but what the teacher makes of
    the noisy data: by its guidance, or by two of its steps.
    """

    def __init__(self, config: ModelConfig, network: Network, autoencoder: Autoencoder, device: torch.device) -> None:
        """config: of `with_teacher`. Raises UserError for what cannot be distilled."""
        super().__init__(config, network, autoencoder, device)
        chosen = config.distil
        assert chosen.teacher is not None
        if config.data.packed:
            raise UserError("a student's steps are of videos of one shape: set data.packed=false")
        loaded = load(Path(chosen.teacher))
        # In a tuple: its weights are no part of this module's.
        self._teacher = (loaded.network.to(device).eval().requires_grad_(False),)
        self._asked = Watching(self._teacher[0])  # its prediction, also where it says variances beside it
        weights = step_files.step_folder(loaded.root, loaded.step) / step_files.WEIGHTS
        named = {"checkpoint": chosen.teacher, "step": loaded.step, "average": loaded.average}
        self._facts = {"teacher": named | {"weights_sha256": sha256(weights)}}
        if chosen.steps is not None:
            self._check_ends(config.diffusion.parametrisation)
            self.diffusion.levels = Uniform(chosen.steps)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Of the teacher."""
        return self._facts

    def conditions(
        self,
        batch: VideoBatch,
        z: torch.Tensor,
        noise: SampleNoise,
        drop: bool = True,
        seen: torch.Tensor | None = None,
    ) -> tuple[Conditions, torch.Tensor | None]:
        """Nothing is dropped where guidance is distilled: afterwards no branch is without conditions."""
        chosen = self.config.distil
        made, frame_weights = super().conditions(batch, z, noise, drop and chosen.stage == "steps", seen)
        if len(chosen.guidance) < _CALLS:
            return made, frame_weights
        least, most = chosen.guidance
        told = least + (most - least) * noise.uniform("guidance")
        return with_number(self.config.conditioning.micro, made, TOLD, told), frame_weights

    @torch.no_grad()
    def aimed(self, part: Noisy) -> Noisy:
        """With the teacher's estimate in the place of data and noise: together they make the same noisy video."""
        z = noised(part.z, part.eps, part.level)
        estimate = self._guided(z, part) if self.config.distil.stage == "guidance" else self._stepped(z, part)
        return part._replace(z=estimate.x0, eps=estimate.eps)

    def flops(self, grid: Grid) -> int:
        latents, tokens = self.autoencoder.latent_grid(grid), self.network.conditioner.token_count
        return super().flops(grid) + _CALLS * self._teacher[0].flops(latents, tokens)

    def _guided(self, z: torch.Tensor, part: Noisy) -> Estimate:
        teacher, micro = self._asked, self.config.conditioning.micro
        weight: Weight = self.config.distil.guidance[0]
        conditions = part.conditions
        if TOLD in micro.columns:
            weight = number_of(micro, conditions, TOLD)[:, None, None, None, None]
            conditions = without_number(micro, conditions, TOLD)
        both = joined(conditions, teacher.conditioner.unconditional(conditions))
        branches = branches_in_one_call(teacher, self.diffusion.parametrisation, both, 2)
        return classifier_free(branches, weight)(z, part.level)

    def _stepped(self, z: torch.Tensor, part: Noisy) -> Estimate:
        """The level is one of the student's stations; the teacher stops halfway to the next."""
        steps = self.config.distil.steps
        assert steps is not None
        schedule = self.diffusion.schedule((z.shape[1], z.shape[3], z.shape[4]))
        step = step_of_time(schedule.time_of(part.level), steps)
        middle, then = (schedule.level((step + share) / steps) for share in (0.5, 0.0))
        denoise = denoiser(self._asked, self.diffusion.parametrisation, part.conditions)
        return two_steps(denoise, z, part.level, middle, then)

    def _check_ends(self, parametrisation: str) -> None:
        first, last = (self.diffusion.schedule((1, 1, 1)).level(torch.tensor(time)) for time in (0.0, 1.0))
        if float(first.sigma) > 0:
            raise UserError(
                "steps are halved down to clean data, where this schedule does not end: take a teacher of another, such"
                " as diffusion.schedule=cosine without bounds"
            )
        if float(last.alpha) == 0 and parametrisation == "eps":
            raise UserError("of pure noise a model of eps says nothing: distil one of diffusion.parametrisation=v or x")
