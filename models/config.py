"""What a preset or a TOML file says, as typed data. An unknown key is an error that names the closest one.

base = "dit"              # start from another preset or file
about = "..."             # one line for `models list`
property = "..."          # what a test proves about it
[data] [autoencoder] [conditioning.text] [backbone] [diffusion] [train] [sample]   # the sections below
[nano]                    # what differs in the size that a CPU builds in a moment: `--config NAME-nano`
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from clipmill.curate.common import settings
from clipmill.curate.common.old_conditions import to_sql
from clipmill.curate.common.settings import build, parse_override, read_preset, table_of
from clipmill.curate.errors import UserError, closest
from clipmill.models.conditioning.config import ConditioningConfig
from clipmill.models.settings.distil import DistilConfig
from clipmill.models.settings.training import DataConfig, TrainConfig
from clipmill.models.settings.zero_shot import FreeUConfig, ZeroShotConfig, changed

FOLDER = "clipmill.models.presets"
NANO = "-nano"
# Of every system at that size: a few windows are as good as many where two steps are trained.
_NANO = {"train": {"measured": 8}}
# A card may be anybody's.
_MOST, _MOST_FPS = 1_000_000, 1e6
# Of a setting that is younger than samples that lie about: see `SampleConfig.deciding`.
_LATER = {"later": True}
_SHORT = {"levels": "level_options"}


@dataclass(frozen=True)
class AutoencoderConfig:
    """kind: pixels, frame, causal or volume. weights: a file or a checkpoint of `models train` on an autoencoder
    preset; none: as initialised, which only `pixels` can be used as. options: of that kind, see its config class.
    Ignored where weights say them, but for `every` of volume.
    """

    kind: str = "pixels"
    weights: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BackboneConfig:
    """kind: dit or unet. options: fields of `DiTConfig` or `UNetConfig`, attention plans by name
    (`clipmill.models.backbones.by_name`).
    """

    kind: str = "dit"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DiffusionConfig:
    """The four orthogonal choices and their options, by the names of `clipmill.models.core.by_name`.

    schedule: cosine, linear, sqrt-linear, karras or flow. schedule_options: of that schedule (`schedule_named`). shift:
    multiplies sigma / alpha, over 0, 1 for none. shift_rule: fixed, by `shift` alone; tokens, also by sqrt(positions of
    a video's latents / shift_base_tokens); linear, also by Open-Sora 2's rule (`clipmill.models.core.shift`).
    shift_base_tokens: positions at which the rule `tokens` changes nothing. parametrisation: what the network predicts,
    eps, x, v, flow or edm. parametrisation_options: of that (`parametrisation_named`). weight: of the loss, by noise
    level, eps, x, v, flow or edm for the plain squared error of that, or min-snr, truncated-snr, p2 or sigmoid.
    weight_options: of that weight (`loss_weight_named`). levels: how noise levels are drawn in training, uniform,
    logit-normal, mode or log-normal. level_options: of that distribution (`level_sampler_named`). max_weight: bound on
    what one squared error of the network's output counts. stratified: noise levels spread evenly over a batch.
    variance_steps: steps of the chain whose variance the network learns beside its prediction (1000 in Improved DDPM
    and Latte), which the sampler `ancestral` then uses; 0 for none. self_conditioning: share of training samples that
    are shown the network's own estimate, over 0; each step of sampling is then shown that of the step before (Chen et
    al. 2022, arXiv 2208.04202).

    frame_noise: own, each frame of a video has its own noise; same, all have one, in training as in sampling, so that
    models within frames make the same of the same (Make-A-Video's last one).
    """

    schedule: str = "cosine"
    schedule_options: Mapping[str, Any] = field(default_factory=dict)
    shift: float = 1.0
    shift_rule: Literal["fixed", "tokens", "linear"] = "fixed"
    shift_base_tokens: int = 256
    parametrisation: str = "v"
    parametrisation_options: Mapping[str, Any] = field(default_factory=dict)
    weight: str = "v"
    weight_options: Mapping[str, Any] = field(default_factory=dict)
    levels: str = "uniform"
    level_options: Mapping[str, Any] = field(default_factory=dict)
    max_weight: float = 400.0
    stratified: bool = True
    variance_steps: int = 0
    self_conditioning: float = 0.0
    frame_noise: Literal["own", "same"] = "own"

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        if not (self.variance_steps == 0 or 2 <= self.variance_steps <= _MOST):
            raise ValueError(f"variance_steps is 0 for none, or 2 to {_MOST:,}")
        if not 0 <= self.self_conditioning <= 1:
            raise ValueError("self_conditioning is a share from 0 to 1")


@dataclass(frozen=True)
class SampleConfig:
    """sampler: ddim, ancestral, edm-euler, edm-heun, flow-euler or flow-heun. steps: of it. schedule: its own timing,
    where it differs from training's (Karras for EDM). schedule_options: of that schedule. guidance: weight of
    classifier-free guidance, 1 for none; guidance_last: weight at the last frame, linear over frames from `guidance` at
    the first. guidance_low: guidance oscillates, `guidance` and this by turns from step to step (Imagen Video);
    guidance_constant_steps: steps at `guidance` before that begins. motion_guidance: weight of motion-free guidance,
    for models of conditioning.motion_drop, 1 for none (GenTron: up to 1.3). rescale: see `classifier_free`.
    dynamic_threshold: quantile of |pixel| that what is predicted is clipped to and divided by (Imagen), 0 for none;
    only for models of pixels, such as 0.995. known: how frames that are given come in; trained, as the model was
    trained to take them; replacement, put into the noisy video at its level of noise, which models trained without
    given frames take too; guidance, the same and the gradient of the error at them (Video Diffusion Models, equation
    7). reconstruction: weight of that gradient. context: latent frames that a window of --extend is shown of the one
    before; none for as many as were trained, or half a window. inversion: passes over each step of --edit's inversion,
    each a call of the network; 0 to begin at noise instead, where the model keeps the video's structure. free_u,
    zero_shot: changes of the network, sections of their own. gamma: variance of what `ancestral` adds, 0 for that of
    the posterior, 1 for that of the forward chain; others do not read it, nor do models that learn it
    (diffusion.variance_steps). batch: videos made at once, at least 1. fps: of the files; none for the training clips'.

    given_noise: sigma / alpha of the noise on what is given, in place of conditioning.frames.sampling_noise, 0 for
    none; the model is told it. prior: a checkpoint that makes an embedding of each caption, for models of
    conditioning.reference, where no --reference is given (`make-a-video-prior`). joined: latent frames of the windows
    in which the network sees a longer video at every step, each half over the one before, their predictions joined by
    their mean; 0 for none (MultiDiffusion; Lumiere's super-resolution).
    """

    sampler: str = "ddim"
    steps: int = 50
    schedule: str | None = None
    schedule_options: Mapping[str, Any] = field(default_factory=dict)
    guidance: float = 1.0
    guidance_last: float | None = None
    guidance_low: float | None = field(default=None, metadata=_LATER)
    guidance_constant_steps: int = field(default=0, metadata=_LATER)
    motion_guidance: float = field(default=1.0, metadata=_LATER)
    rescale: float = 0.0
    dynamic_threshold: float = field(default=0.0, metadata=_LATER)
    known: Literal["trained", "replacement", "guidance"] = field(default="trained", metadata=_LATER)
    reconstruction: float = field(default=2.0, metadata=_LATER)
    given_noise: float | None = field(default=None, metadata=_LATER)
    prior: str | None = field(default=None, metadata=_LATER)
    joined: int = field(default=0, metadata=_LATER)
    context: int | None = field(default=None, metadata=_LATER)
    inversion: int = field(default=1, metadata=_LATER)
    free_u: FreeUConfig = field(default_factory=FreeUConfig)
    zero_shot: ZeroShotConfig = field(default_factory=ZeroShotConfig)
    gamma: float = 0.0
    batch: int = 8
    fps: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        counts = (self.steps, self.batch, self.inversion + 1, 1 if self.context is None else self.context)
        weights = (self.guidance, self.guidance_last, self.guidance_low, self.motion_guidance, self.reconstruction)
        problems = (
            (min(counts) < 1, "steps, batch and context are at least 1, inversion at least 0"),
            (max(counts) > _MOST, f"steps, batch, inversion and context are at most {_MOST:,}"),
            (
                any(weight is not None and not abs(weight) <= _MOST for weight in weights),
                "guidance, guidance_last, guidance_low, motion_guidance and reconstruction are finite numbers, at most"
                f" {_MOST:,}",
            ),
            (
                self.motion_guidance != 1 and self.rescale > 0,
                "rescale is for guidance by conditions alone: set motion_guidance=1, or rescale=0",
            ),
            (self.reconstruction < 0, "reconstruction is at least 0"),
            (self.joined and not 2 <= self.joined <= _MOST, f"joined is 2 to {_MOST:,} latent frames, or 0 for none"),
            (not 0 <= (self.given_noise or 0.0) <= _MOST, f"given_noise is 0 to {_MOST:,}, or none"),
            (
                self.guidance_low is not None and self.guidance_last is not None,
                "guidance_low changes guidance from step to step, guidance_last from frame to frame: give one of them",
            ),
            (not 0 <= self.guidance_constant_steps <= _MOST, f"guidance_constant_steps is 0 to {_MOST:,}"),
            (
                self.guidance_low is None and self.guidance_constant_steps > 0,
                "guidance_constant_steps come before guidance oscillates: set sample.guidance_low, or leave them out",
            ),
            (not 0 <= self.dynamic_threshold <= 1, "dynamic_threshold is a quantile from 0, for none, to 1"),
            (
                self.fps is not None and not 0 < self.fps <= _MOST_FPS,
                f"fps is a finite number over 0, at most {_MOST_FPS:g}, or none",
            ),
        )
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)

    def deciding(self) -> dict[str, Any]:
        """What decides the videos, plain values. Settings that came later are left out where they change nothing, so
        that what names and compares samples stays as it was.
        """
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        groups = {name: changed(found.pop(name)) for name in ("free_u", "zero_shot")}
        neutral = {f.name for f in fields(self) if f.metadata == _LATER and found.get(f.name) == f.default}
        found |= {name: group for name, group in groups.items() if group}
        return {name: value for name, value in found.items() if name not in {"batch", "prior", *neutral}}


@dataclass(frozen=True)
class ModelConfig:
    """A whole system. name: of the preset or file. trains: diffusion, or autoencoder (see `autoencoder_loss`).
    objective: what diffusion learns of; data, or distil, another network (see `distil`).
    """

    name: str
    about: str
    property: str
    paper: str
    trains: Literal["diffusion", "autoencoder"]
    data: DataConfig
    autoencoder: AutoencoderConfig
    conditioning: ConditioningConfig
    backbone: BackboneConfig
    diffusion: DiffusionConfig
    train: TrainConfig
    sample: SampleConfig
    autoencoder_loss: Mapping[str, Any]
    objective: Literal["data", "distil"] = "data"
    distil: DistilConfig = field(default_factory=DistilConfig)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an equal config."""
        return asdict(self)


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "autoencoder": AutoencoderConfig,
    "conditioning": ConditioningConfig,
    "backbone": BackboneConfig,
    "diffusion": DiffusionConfig,
    "train": TrainConfig,
    "sample": SampleConfig,
    "distil": DistilConfig,
}


def preset_names() -> list[str]:
    """The presets that ship with clipmill."""
    return settings.preset_names(FOLDER)


def load(name: str, overrides: Iterable[str] = ()) -> ModelConfig:
    """A preset, a preset's small size (`dit-nano`) or a TOML file, then each `key=value` over it. Raises UserError, one
    line.
    """
    tree = _tree(name)
    for text in overrides:
        tree = merged(tree, _in_sql(parse_override(text)))
    return from_dict(tree | {"name": name})


def from_dict(tree: Mapping[str, Any]) -> ModelConfig:
    """What `ModelConfig.as_dict` said, of older versions too. Raises UserError for an unknown key or a wrong value."""
    tree = _in_sql(tree)
    known = [*SECTIONS, "name", "about", "property", "paper", "trains", "objective", "autoencoder_loss"]
    for key in tree:
        if key not in known:
            raise UserError(f"unknown setting {key!r}{closest(key, known)}")
    if tree.get("trains", "diffusion") not in ("diffusion", "autoencoder"):
        raise UserError(f"trains is diffusion or autoencoder, not {tree['trains']!r}")
    if tree.get("objective", "data") not in ("data", "distil"):
        raise UserError(f"objective is data or distil, not {tree['objective']!r}")
    made: dict[str, Any] = {key: str(tree.get(key, "")) for key in ("name", "about", "property", "paper")}
    made |= {key: section(kind, tree.get(key, {}), key) for key, kind in SECTIONS.items()}
    return ModelConfig(
        **made,
        trains=tree.get("trains", "diffusion"),
        objective=tree.get("objective", "data"),
        autoencoder_loss=table_of(tree.get("autoencoder_loss", {}), "autoencoder_loss"),
    )


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key, anything else is replaced. Options belong to what they are options of: where `kind`
    changes, `options` goes, and where `schedule` changes, `schedule_options`, likewise for all such pairs.
    """
    changed = [key for key in over if key in base and base[key] != over[key]]
    orphans = {
        options
        for key in changed
        for options in (f"{key}_options", _SHORT.get(key, ""), "options" if key == "kind" else "")
    }
    out = {key: value for key, value in base.items() if key not in orphans}
    for key, value in over.items():
        both_tables = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both_tables else value
    return out


def _tree(name: str) -> dict[str, Any]:
    small = name.endswith(NANO) and not name.endswith(".toml")
    tree = _in_sql(read_preset(FOLDER, name.removesuffix(NANO) if small else name))
    nano = tree.pop("nano", {})
    base = tree.pop("base", None)
    if base is not None:
        inherited = _read_whole(base)
        nano = merged(inherited.pop("nano", {}), nano)
        tree = merged(inherited, tree)
    return merged(tree, merged(_NANO, nano)) if small else tree


def _read_whole(name: str) -> dict[str, Any]:
    """With its [nano] table still in it."""
    tree = _in_sql(read_preset(FOLDER, name))
    base = tree.pop("base", None)
    return tree if base is None else merged(_read_whole(base), tree)


_OLD = {"query": "where", "validation_query": "validation_where"}


def _in_sql(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Presets and checkpoints of before have `data.query`, for pandas: the same as `data.where`, in SQL. Raises
    UserError where it is no plain condition.
    """
    out = dict(tree)
    if isinstance(out.get("nano"), Mapping):
        out["nano"] = _in_sql(out["nano"])
    data = out.get("data")
    if isinstance(data, Mapping) and not _OLD.keys().isdisjoint(data):
        for old in (key for key in _OLD if key in data and _OLD[key] in data):
            raise UserError(f"data.{old} is called data.{_OLD[old]} now: give one of them")
        out["data"] = {_OLD.get(key, key): _new(key, value) if key in _OLD else value for key, value in data.items()}
    return out


def _new(key: str, condition: Any) -> Any:
    try:
        return to_sql(condition) if isinstance(condition, str) and condition else condition
    except UserError as error:
        raise UserError(f"data.{key}, now data.{_OLD[key]}: {error}") from error


def section(kind: type, values: Any, where: str) -> Any:
    """A dataclass, with dataclasses inside, from plain tables."""
    import dataclasses
    import typing

    hints = typing.get_type_hints(kind)
    made = table_of(values, where)
    for f in dataclasses.fields(kind):
        if f.name in made and dataclasses.is_dataclass(hints[f.name]) and isinstance(made[f.name], Mapping):
            made[f.name] = section(hints[f.name], made[f.name], f"{where}.{f.name}")  # type: ignore[arg-type]
    return build(kind, made, where)
