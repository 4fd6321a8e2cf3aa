"""What a model is conditioned on, as plain values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.text.config import TextConfig, check_shares

Part = Literal["text", "classes", "micro", "frames", "reference"]
# Its kernel has six times as many numbers, and so far is a video continued behind its borders.
_MOST_BLUR_PX = 100.0


@dataclass(frozen=True)
class ClassConfig:
    """column: of the manifest, with the label; "" for none. names: of the classes, in the order of their numbers;
    training fills them in (`classes.class_names_of`). dim: channels of the embedding. drop: share of samples that train
    without it.
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
    """What is given of the video itself.

    given: first, the first frame of every clip; masks, a kind of task drawn per sample, by the shares below, nothing
    for the rest (MCVD, 2205.09853; LVDM, 2211.13221; Video LDM, 2304.08818), and one frame always stays to be made;
    low, the whole video at `space` times fewer px per side and `time` times fewer frames, brought back to its size
    (Imagen Video, 2210.02303); structure, the whole video of its structure (Gen-1, 2302.03011).
    drop: share of samples that train without it.
    prediction: share of masks with 1 to `context_frames` first frames, each number as often. backward: share with 1 to
    `context_frames` last frames. interpolation: share with the first and the last frame. every: share with the frames
    0, `every_nth`, 2 `every_nth` ... and the last. past_future: share with 1 to `context_frames` first and 1 to
    `context_frames` last frames, each of the two blocks dropped with probability 1/2, so that continuation, its
    reverse, interpolation and generation are trained alike (MCVD). random: share with each frame by a coin.
    context_frames: at least 1, of latents. every_nth: at least 2, of latents.

    space: low has so many times fewer px in height and in width, means of squares; bilinear on the way back. time: low
    has every so many-th frame from the first, each shown until the next. structure: edges, the size of Sobel's gradient
    of the brightness; blur, Gaussian, of `blur_px`; depth, of a network. blur_px: standard deviation, over 0.
    depth_model: folder, or name on the Hugging Face hub, of a network of transformers that estimates depth.

    layout: mask, latents and a mask channel; nearest, the same, and beside a frame that is not given stands the nearest
    one that is, the earlier of two, so that copying it need not be learned; repeat, the first frame beside every frame,
    no mask (Stable Video Diffusion, 2311.15127).
    predicted: True, given frames are noised and predicted like all others; False, the network sees them in place of the
    noise and they have no part in the loss (LVDM).

    perturbation: noise on what is given, whose level the model is told; log-normal, sigma = exp(N(noise_mean,
    noise_std²)) is added (Stable Video Diffusion); uniform, it is diffused to a time of the cosine schedule drawn
    from [0, max_time) (LVDM up to a quarter of its schedule, where sigma / alpha is that of 0.48 here). sampling_noise:
    sigma / alpha of it when sampling, 0 for none. noise_mean, noise_std: of log-normal. max_time: of uniform, 0 to 1.
    """

    given: Literal["none", "first", "masks", "low", "structure"] = "none"
    drop: float = 0.1
    layout: Literal["mask", "nearest", "repeat"] = "mask"
    predicted: bool = True
    prediction: float = 0.5
    backward: float = 0.0
    interpolation: float = 0.25
    every: float = 0.0
    past_future: float = 0.0
    random: float = 0.0
    context_frames: int = 1
    every_nth: int = 4
    space: int = 2
    time: int = 1
    structure: Literal["edges", "blur", "depth"] = "edges"
    blur_px: float = 4.0
    depth_model: str = "depth-anything/Depth-Anything-V2-Small-hf"
    perturbation: Literal["none", "log-normal", "uniform"] = "none"
    noise_mean: float = -3.0
    noise_std: float = 0.5
    max_time: float = 0.48
    sampling_noise: float = 0.02

    def __post_init__(self) -> None:
        check_shares("frames", drop=self.drop, max_time=self.max_time, **self.tasks)
        if sum(self.tasks.values()) > 1 + 1e-9:
            raise UserError(f"conditioning.frames: {_listed(self.tasks)} together are at most 1")
        self._check_numbers()
        self._check_layout()

    @property
    def tasks(self) -> dict[str, float]:
        """Name -> share of samples, in the order in which they are drawn."""
        names = ("prediction", "interpolation", "random", "backward", "every", "past_future")
        return {name: getattr(self, name) for name in names}

    @property
    def needs_pixels(self) -> bool:
        """Whether what is given is a video of its own, made from the pixels, and not some of the latents."""
        return self.given in ("low", "structure")

    @property
    def made_by(self) -> tuple[str | int | float, ...]:
        """All that decides what is given where `needs_pixels`."""
        by: dict[str, tuple[str | int | float, ...]] = {"blur": (self.blur_px,), "depth": (self.depth_model,)}
        if self.given == "low":
            return ("low", self.space, self.time)
        return ("structure", self.structure, *by.get(self.structure, ()))

    @property
    def perturbed(self) -> bool:
        """Whether the model is told a noise level of what is given."""
        return self.given != "none" and self.perturbation != "none"

    def _check_numbers(self) -> None:
        at_least = {"context_frames": 1, "every_nth": 2, "space": 1, "time": 1, "noise_std": 0, "sampling_noise": 0}
        for name, least in at_least.items():
            if not getattr(self, name) >= least:
                raise UserError(f"conditioning.frames.{name} is at least {least}, not {getattr(self, name)}")
        if not 0 < self.blur_px <= _MOST_BLUR_PX:
            raise UserError(f"conditioning.frames.blur_px is over 0 and at most {_MOST_BLUR_PX}, not {self.blur_px}")
        if self.given == "low" and self.space == self.time == 1:
            raise UserError("conditioning.frames: low with space=1 and time=1 is the video itself: set one over 1")

    def _check_layout(self) -> None:
        if self.layout == "repeat" and self.given == "masks":
            raise UserError(
                "conditioning.frames: the layout 'repeat' has room for the first frame alone: set given to 'first'"
            )
        if self.needs_pixels and (self.layout != "mask" or not self.predicted):
            raise UserError(
                f"conditioning.frames: {self.given} shows the whole video beside that to make: set layout=mask and"
                " predicted=true"
            )


@dataclass(frozen=True)
class ReferenceConfig:
    """A picture of what the video shows, by its embedding.

    encoder: clip, the length-1 vector of CLIP times the root of its size; thumbnail, the picture at 4 x 4 px, which
    needs no weights and knows colours and where they are. network: of clip, name of weights of open_clip (`curate
    weights list`), or a folder that holds them with open_clip_config.json. dim: numbers of an embedding; training fills
    it in. drop: share of samples that train without it. frame: which one of the window is the picture in training,
    middle (Gen-1, 2302.03011) or first (Stable Video Diffusion, 2311.15127); with first, a first frame that is given
    when sampling is the picture too. place: where the network reads it, vector, beside the numbers, or tokens, as the
    one token of its cross-attention, in the place of text (Stable Video Diffusion).
    """

    encoder: Literal["none", "clip", "thumbnail"] = "none"
    network: str = "clip-vit-l-14"
    dim: int = 0
    drop: float = 0.1
    frame: Literal["middle", "first"] = "middle"
    place: Literal["vector", "tokens"] = "vector"

    def __post_init__(self) -> None:
        check_shares("reference", drop=self.drop)
        if self.dim < 0:
            raise UserError(f"conditioning.reference.dim is at least 1, or 0 for the network's own, not {self.dim}")

    @property
    def in_tokens(self) -> bool:
        """Whether it stands where text would."""
        return self.encoder != "none" and self.place == "tokens"


@dataclass(frozen=True)
class ConditioningConfig:
    """text: captions, fields of `TextConfig`. classes: labels, fields of `ClassConfig`. micro: numbers such as fps,
    fields of `MicroConfig`. frames: what is given of the video, fields of `FramesConfig`. reference: a picture, fields
    of `ReferenceConfig`. drop_all: share of samples that train without any condition, beside the single drops.
    motion_drop: share of samples whose frames are images of their own, to no frame's knowledge of another (GenTron's
    motion-free training; see sample.motion_guidance).
    guidance_drops: what the unconditional branch of guidance leaves out; empty for text, classes and reference, or what
    is given of the video for a model that has none of them.
    """

    text: TextConfig = field(default_factory=TextConfig)
    classes: ClassConfig = field(default_factory=ClassConfig)
    micro: MicroConfig = field(default_factory=MicroConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    drop_all: float = 0.0
    guidance_drops: tuple[Part, ...] = ()
    motion_drop: float = 0.0

    def __post_init__(self) -> None:
        check_shares("conditioning", drop_all=self.drop_all, motion_drop=self.motion_drop)
        if self.motion_drop and self.frames.given in ("first", "masks"):
            raise UserError(
                "conditioning.motion_drop makes frames images of their own, which are shown no given frame: set"
                " conditioning.frames.given=none, or motion_drop=0"
            )
        if self.reference.in_tokens and self.text.encoder != "none":
            raise UserError(
                "conditioning.reference.place=tokens puts the picture where text would be: set"
                " conditioning.text.encoder=none, or place=vector"
            )

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the model is conditioned on."""
        there: dict[Part, bool] = {
            "text": self.text.encoder != "none",
            "classes": bool(self.classes.column or self.classes.names),
            "micro": bool(self.micro.columns),
            "frames": self.frames.given != "none",
            "reference": self.reference.encoder != "none",
        }
        return tuple(part for part, is_there in there.items() if is_there)


def check_width(name: str, width: int) -> None:
    """Raises UserError for an embedding without channels."""
    if width < 1:
        raise UserError(f"conditioning.{name} is at least 1, not {width}")


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}"
