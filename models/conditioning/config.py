"""What a model is conditioned on, as plain values."""

from dataclasses import dataclass, field
from typing import Literal

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.text.config import TextConfig, check_shares

Part = Literal["text", "classes", "micro", "frames"]


@dataclass(frozen=True)
class ClassConfig:
    """column: of the manifest, with the label; "" for none. names: of the classes, in the order of their numbers;
    training fills them in (`classes.class_names_of`). dim: channels of the embedding.
    """

    column: str = ""
    names: tuple[str, ...] = ()
    dim: int = 256
    drop: float = 0.1

    def __post_init__(self) -> None:
        check_shares("classes", drop=self.drop)
        check_width("classes.dim", self.dim)
        if len(set(self.names)) < len(self.names):
            raise UserError("conditioning.classes.names lists a class twice: name each once")


@dataclass(frozen=True)
class MicroConfig:
    """columns: numbers of the manifest; `fps` and `aspect` (width / height) are those of the training window. dim:
    channels for each, even.
    drop: share of samples that train without it, for each number on its own. fps_offset: added to fps; -1 as Stable
    Video Diffusion's code has it.
    """

    columns: tuple[str, ...] = ()
    dim: int = 256
    drop: float = 0.1
    fps_offset: float = 0.0

    def __post_init__(self) -> None:
        check_shares("micro", drop=self.drop)
        check_width("micro.dim", self.dim)
        if self.dim % 2:
            raise UserError(f"conditioning.micro.dim is even (sines and cosines), not {self.dim}")
        if len(set(self.columns)) < len(self.columns):
            raise UserError("conditioning.micro.columns lists a column twice: name each once")


@dataclass(frozen=True)
class FramesConfig:
    """given: first, the first frame of every clip; masks, a kind of task drawn per sample: with the probability
    `prediction` 1 to `context_frames` first frames (each number as often), `interpolation` the first and the last,
    `random` each frame with probability 1/2, nothing for the rest (MCVD, 2205.09853; LVDM, 2211.13221; Video LDM,
    2304.08818). One frame always stays to be made.

    layout: mask, latents and a mask channel; repeat, the first frame beside every frame, no mask (Stable Video
    Diffusion, 2311.15127).
    predicted: True, given frames are noised and predicted like all others; False, the network sees them in place of the
    noise and they have no part in the loss (LVDM).

    perturbation: noise on given frames, whose level the model is told; log-normal, sigma = exp(N(noise_mean,
    noise_std²)) is added (Stable Video Diffusion); uniform, they are diffused to a time of the cosine schedule drawn
    from [0, max_time) (LVDM up to a quarter of its schedule, where sigma / alpha is that of 0.48 here). sampling_noise:
    sigma / alpha of it when sampling, 0 for none.
    """

    given: Literal["none", "first", "masks"] = "none"
    drop: float = 0.1
    layout: Literal["mask", "repeat"] = "mask"
    predicted: bool = True
    prediction: float = 0.5
    interpolation: float = 0.25
    random: float = 0.0
    context_frames: int = 1
    perturbation: Literal["none", "log-normal", "uniform"] = "none"
    noise_mean: float = -3.0
    noise_std: float = 0.5
    max_time: float = 0.48
    sampling_noise: float = 0.02

    def __post_init__(self) -> None:
        check_shares(
            "frames", drop=self.drop, prediction=self.prediction, interpolation=self.interpolation, random=self.random
        )
        check_shares("frames", max_time=self.max_time)
        if self.prediction + self.interpolation + self.random > 1 + 1e-9:
            raise UserError("conditioning.frames: prediction, interpolation and random together are at most 1")
        if self.layout == "repeat" and self.given == "masks":
            raise UserError(
                "conditioning.frames: the layout 'repeat' has room for the first frame alone: set given to 'first'"
            )
        if self.context_frames < 1 or self.noise_std < 0 or self.sampling_noise < 0:
            raise UserError(
                "conditioning.frames takes context_frames of at least 1, noise_std and sampling_noise of at least 0"
            )

    @property
    def perturbed(self) -> bool:
        """Whether the model is told a noise level of given frames."""
        return self.given != "none" and self.perturbation != "none"


@dataclass(frozen=True)
class ConditioningConfig:
    """text: captions, fields of `TextConfig`. classes: labels, fields of `ClassConfig`. micro: numbers such as fps,
    fields of `MicroConfig`. frames: given frames, fields of `FramesConfig`. drop_all: share of samples that train
    without any condition, beside the single drops. guidance_drops: what the unconditional branch of guidance leaves
    out; empty for text and classes, or the given frames of a model that has neither.
    """

    text: TextConfig = field(default_factory=TextConfig)
    classes: ClassConfig = field(default_factory=ClassConfig)
    micro: MicroConfig = field(default_factory=MicroConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    drop_all: float = 0.0
    guidance_drops: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        check_shares("conditioning", drop_all=self.drop_all)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the model is conditioned on."""
        there: dict[Part, bool] = {
            "text": self.text.encoder != "none",
            "classes": bool(self.classes.column or self.classes.names),
            "micro": bool(self.micro.columns),
            "frames": self.frames.given != "none",
        }
        return tuple(part for part, is_there in there.items() if is_there)


def check_width(name: str, width: int) -> None:
    """Raises UserError for an embedding without channels."""
    if width < 1:
        raise UserError(f"conditioning.{name} is at least 1, not {width}")
