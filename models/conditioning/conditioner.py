"""From captions, labels, numbers and frames to what a network is given."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.conditioning import given_frames
from clipmill.models.conditioning.classes import NO_CLASS, ClassEmbedding, class_numbers
from clipmill.models.conditioning.config import ConditioningConfig, Part
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.dropout import Hidden, batch_of, hidden, joined, mask_of, without_motion
from clipmill.models.conditioning.micro import MicroEmbedding, micro_numbers
from clipmill.models.conditioning.reference import ReferenceEncoder, reference_encoder_of
from clipmill.models.conditioning.text.by_name import text_encoder_of
from clipmill.models.conditioning.text.encoder import TextEncoder
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel

__all__ = ["Conditioner", "joined"]


class Conditioner(nn.Module):
    """The learned parts of conditioning, and the frozen encoders of text and of a reference picture, which are no part
    of the state.

    A condition that is absent, one that is unknown and one that was dropped give the same input of the network.
    vector_dim, token_dim, frame_channels: what the network must have places for. token_count: of a sample, 0 for none.
    """

    def __init__(self, config: ConditioningConfig, latent_channels: int) -> None:
        """Raises UserError for a text encoder whose weights are missing, and for classes without names."""
        super().__init__()
        if config.classes.column and not config.classes.names:
            raise UserError(
                f"the classes of the column {config.classes.column!r} are not known: set conditioning.classes.names"
            )
        self.config, self.latent_channels = config, latent_channels
        # In a tuple: what is no module of this one.
        self._outside = (text_encoder_of(config.text), reference_encoder_of(config.reference))
        names, self.number_count = config.classes.names, len(config.micro.columns) + config.frames.perturbed
        self.classes = ClassEmbedding(len(names), config.classes.dim) if names else None
        self.micro = MicroEmbedding(self.number_count, config.micro.dim) if self.number_count else None
        self.vector_dim = (config.classes.dim if names else 0) + self.number_count * config.micro.dim
        self.reference_dim = 0 if self.reference_encoder is None else self.reference_encoder.dim
        shown = self.reference_dim if config.reference.in_tokens else 0
        self.vector_dim += self.reference_dim - shown
        self.token_dim = shown if self.text_encoder is None else self.text_encoder.dim
        self.token_count = int(shown > 0) if self.text_encoder is None else self.text_encoder.tokens
        self.frame_channels = given_frames.frame_channels(config.frames, latent_channels)

    @property
    def text_encoder(self) -> TextEncoder | None:
        """None for a model without text."""
        return self._outside[0]

    @property
    def reference_encoder(self) -> ReferenceEncoder | None:
        """None for a model without a reference picture."""
        return self._outside[1]

    def encoders_to(self, device: torch.device) -> None:
        """Where the frozen encoders compute, the CPU until told; what they make comes back on the CPU. `to` moves the
        learned parts alone.
        """
        for encoder in self._outside:
            if encoder is not None:
                encoder.to(device)

    def conditions(
        self,
        captions: Sequence[str],
        numbers: Mapping[str, torch.Tensor],
        labels: Sequence[str | None],
        independent: torch.Tensor | None = None,
    ) -> Conditions:
        """On the CPU, for B samples. captions: "" for none; unread by a model without text. numbers: column -> float32
        [B], NaN for unknown. labels: None for none. independent: bool [B, T]. Raises UserError for a number or a label
        that the model has no place for.
        """
        tokens, mask = (None, None) if self.text_encoder is None else self.text_encoder.encode(captions)
        if self.classes is None and any(label is not None for label in labels):
            raise UserError("this model is not conditioned on classes: leave the label out")
        classes = None if self.classes is None else class_numbers(labels, self.config.classes.names)
        values, known = micro_numbers(self.config.micro, numbers, len(captions))
        if self.config.frames.perturbed:
            values, known = (torch.cat([part, part.new_zeros(len(part), 1)], dim=1) for part in (values, known))
        reference = torch.zeros(len(captions), self.reference_dim) if self.reference_dim else None
        made = Conditions(tokens, mask, classes, reference=reference, independent=independent)
        return replace(made, micro=values, micro_known=known) if self.number_count else made

    def with_reference(self, conditions: Conditions, pictures: torch.Tensor) -> Conditions:
        """With the embedding of a picture each, uint8 [B, 3, H, W] of any size, or of one for all samples. Raises
        UserError for a model without a place for it, and where its network is not to be had.
        """
        if self.reference_encoder is None:
            raise UserError("this model is not conditioned on a reference picture: leave it out")
        found, (size, device) = self.reference_encoder.encode(pictures), self._like(conditions)
        return replace(conditions, reference=found.expand(max(size, len(found)), -1).to(device))

    def with_given_frames(
        self, conditions: Conditions, latents: torch.Tensor, noise: SampleNoise
    ) -> tuple[Conditions, torch.Tensor | None]:
        """For training: with those frames of the latents float [B, T, C, h, w] that the config gives, and
        `frame_weights` of the result. latents: of the video, or, where `needs_pixels` says so, of what is given of it.

        Frames that conditions.independent names are images of their own: shown no other frame, and given only where
        what is given was made of each by itself.
        """
        config = self.config.frames
        if config.given == "none":
            return conditions, None
        mask = given_frames.given_frames(config, latents.shape[1], noise)
        if conditions.independent is not None and not config.needs_pixels:
            mask &= ~conditions.independent.to(mask.device)
        made = self._with_frames(conditions, latents, mask, given_frames.training_level(config, noise), noise)
        return made, self.frame_weights(made)

    def with_known_frames(
        self,
        conditions: Conditions,
        known: torch.Tensor,
        frames: int,
        noise: SampleNoise,
        places: Sequence[int] | None = None,
    ) -> Conditions:
        """For sampling videos of `frames` latent frames: known float [B, n, C, h, w], latents of the frames at `places`
        (0 ... n - 1; -1 is the last frame), with the config's sampling_noise. Raises UserError for places that the
        model was not trained for.
        """
        chosen = [place % frames for place in (places if places is not None else range(known.shape[1]))]
        config = self.config.frames
        if config.given == "none":
            raise UserError("this model does not continue frames: it has no place for them")
        if config.needs_pixels:
            raise UserError(f"this model is given a whole video (conditioning.frames.given={config.given}), not frames")
        if config.given == "first" and chosen != [0]:
            raise UserError("this model continues the first frame: give that one alone")
        if len(set(chosen)) != known.shape[1] or len(chosen) != known.shape[1] or len(chosen) >= frames:
            raise UserError(
                f"{known.shape[1]} frames at {len(set(chosen))} places of a video of {frames}: one each, and one left"
                " to make"
            )
        latents = known.new_zeros(len(known), frames, *known.shape[2:])
        latents[:, chosen] = known
        mask = torch.zeros(len(known), frames, dtype=torch.bool)
        mask[:, chosen] = True
        return self._with_frames(conditions, latents, mask, given_frames.sampling_level(config, len(known)), noise)

    def with_observed(self, conditions: Conditions, seen: torch.Tensor, noise: SampleNoise) -> Conditions:
        """For sampling: seen float [B, t, C, h, w], standardised latents of what is given of each video
        (`clipmill.models.conditioning.observation`), with the config's sampling_noise. Raises UserError where the model
        is given no whole video.
        """
        config = self.config.frames
        if not config.needs_pixels:
            raise UserError("this model is given no whole video: it was trained with neither given=low nor structure")
        mask = given_frames.given_frames(config, seen.shape[1], noise)
        return self._with_frames(conditions, seen, mask, given_frames.sampling_level(config, len(seen)), noise)

    def frame_weights(self, conditions: Conditions) -> torch.Tensor | None:
        """float32 [B, T] for `sample_losses`, 0 for frames that are given and not predicted; None where all frames are
        predicted. After `dropped` it takes in that frames which a sample has lost are to be predicted again.
        """
        if self.config.frames.predicted or self.config.frames.layout == "repeat" or conditions.frames is None:
            return None
        return 1.0 - given_frames.given_of(self.config.frames, conditions.frames).float()

    def seen(self, z: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """What a network sees in the place of its noisy input float [B, T, C, h, w], and how a sampled video is
        finished: itself, or with given frames in place where they are not predicted.
        """
        if self.frame_weights(conditions) is None or conditions.frames is None:
            return z
        return given_frames.in_place(z, self.config.frames, conditions.frames)

    def dropped(self, conditions: Conditions, noise: SampleNoise) -> Conditions:
        """For training: each condition of a sample left out with its own probability, and all of them with
        `drop_all`.
        """
        config, none = self.config, torch.zeros(len(noise.sample_indices), dtype=torch.bool)

        def chosen(name: str, share: float) -> torch.Tensor:
            return noise.uniform(f"drop {name}") < share if share else none

        everything = chosen("all", config.drop_all)

        def flags(name: str, share: float) -> torch.Tensor:
            return everything | chosen(name, share)

        numbers = [flags(f"number {column}", config.micro.drop) for column in config.micro.columns]
        frames = flags("frames", config.frames.drop)
        text, classes = flags("text", config.text.drop), flags("classes", config.classes.drop)
        reference = flags("reference", config.reference.drop)
        return hidden(conditions, Hidden(text, classes, self._number_flags(numbers, frames), frames, reference))

    def still(self, conditions: Conditions, frames: int, noise: SampleNoise | None = None) -> Conditions:
        """For training, with `noise`: the samples that motion_drop takes are frames without motion. For guidance: all
        are, of which some condition has to tell the number.
        """
        size, device = self._like(conditions)
        flags = torch.ones(size, dtype=torch.bool)
        if noise is not None:
            flags = noise.uniform("drop motion") < self.config.motion_drop
        return without_motion(conditions, flags.to(device), frames) if bool(flags.any()) else conditions

    def unconditional(self, conditions: Conditions) -> Conditions:
        """For classifier-free guidance: without what `guidance_drops` names. Raises UserError where that is nothing the
        model has.
        """
        drops, size = self._guidance_drops(), batch_of(conditions)
        if size is None:
            return conditions

        def flags(part: Part) -> torch.Tensor:
            return torch.full((size,), part in drops)

        numbers = [flags("micro")] * len(self.config.micro.columns)
        counted = self._number_flags(numbers, flags("frames"))
        text, classes, frames, reference = (flags(part) for part in ("text", "classes", "frames", "reference"))
        return hidden(conditions, Hidden(text, classes, counted, frames, reference))

    def forward(self, conditions: Conditions) -> Conditioning:
        """Raises UserError for a condition that the model has no place for, and for no condition at all where it has
        some: `conditions` makes even empty ones so that they tell the number of samples.
        """
        self._check(conditions)
        tokens, mask = self._tokens(conditions)
        return Conditioning(self._vector(conditions), tokens, mask, conditions.frames, conditions.independent)

    def _with_frames(
        self, conditions: Conditions, latents: torch.Tensor, mask: torch.Tensor, level: NoiseLevel, noise: SampleNoise
    ) -> Conditions:
        config = self.config.frames
        seen = given_frames.perturbed(latents, mask, level, noise)
        made = replace(conditions, frames=given_frames.as_channels(config, seen, mask, conditions.independent))
        if not config.perturbed or made.micro is None or made.micro_known is None:
            return made
        micro, known = made.micro.clone(), made.micro_known.clone()
        known[:, -1] = mask.any(dim=1).to(known.device)
        micro[:, -1] = level.coordinate("time").to(micro) * known[:, -1]
        return replace(made, micro=micro, micro_known=known)

    def _number_flags(self, numbers: list[torch.Tensor], frames: torch.Tensor) -> torch.Tensor | None:
        """bool [B, M]: the level of noise on given frames goes with them."""
        columns = [*numbers, frames] if self.config.frames.perturbed else numbers
        return torch.stack(columns, dim=1) if columns else None

    def _guidance_drops(self) -> tuple[Part, ...]:
        there = self.config.parts
        of_all: tuple[Part, ...] = ("text", "classes", "reference")
        usual: tuple[Part, ...] = of_all if set(of_all) & set(there) else ("frames",)
        drops = tuple(part for part in self.config.guidance_drops or usual if part in there)
        if not drops:
            raise UserError(
                "guidance has no condition to leave out: set sample.guidance=1, or conditioning.guidance_drops"
            )
        return drops

    def _tokens(self, conditions: Conditions) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if self.config.reference.in_tokens:
            picture = self._picture(conditions).unsqueeze(1)
            return picture, picture.any(dim=2)
        if self.text_encoder is None:
            return None, None
        if conditions.tokens is None:
            size, device = self._like(conditions)
            shape = (size, self.text_encoder.tokens)
            return torch.zeros(*shape, self.token_dim, device=device), torch.zeros(
                shape, dtype=torch.bool, device=device
            )
        mask = mask_of(conditions)
        assert mask is not None
        return conditions.tokens.masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def _vector(self, conditions: Conditions) -> torch.Tensor | None:
        parts, (size, device) = [], self._like(conditions)
        if self.classes is not None:
            none = torch.full((size,), NO_CLASS, dtype=torch.int64, device=device)
            parts.append(self.classes(none if conditions.classes is None else conditions.classes))
        if self.micro is not None:
            values, known = conditions.micro, conditions.micro_known
            if values is None:
                values = known = torch.zeros(size, self.number_count, device=device)
            parts.append(self.micro(values, torch.ones_like(values) if known is None else known))
        if self.reference_dim and not self.config.reference.in_tokens:
            parts.append(self._picture(conditions))
        return torch.cat(parts, dim=1) if parts else None

    def _picture(self, conditions: Conditions) -> torch.Tensor:
        """float [B, D], zeros for a sample without one."""
        size, device = self._like(conditions)
        none = torch.zeros(size, self.reference_dim, device=device)
        return none if conditions.reference is None else conditions.reference

    def _like(self, conditions: Conditions) -> tuple[int, torch.device]:
        """Number of samples and device; of no meaning where the model has only frames for a condition, or none."""
        tensors = (getattr(conditions, field.name) for field in fields(conditions))
        return next(
            ((len(tensor), tensor.device) for tensor in tensors if tensor is not None), (0, torch.device("cpu"))
        )

    def _check(self, conditions: Conditions) -> None:
        places = {
            "tokens": self.text_encoder is not None,
            "classes": self.classes is not None,
            "micro": self.number_count,
            "frames": self.frame_channels,
            "reference": self.reference_dim,
        }
        for name, place in places.items():
            if getattr(conditions, name) is not None and not place:
                raise UserError(f"this model has no place for the condition {name!r}: leave it out")
        if (self.token_dim or self.vector_dim) and batch_of(conditions) is None:
            raise UserError(
                "no condition tells the number of samples: make them with Conditioner.conditions, even empty ones"
            )
