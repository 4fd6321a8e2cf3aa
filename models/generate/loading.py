"""A checkpoint as a system that samples."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clipmill.curate.common.settings import parse_override, table_of
from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import checkpoint_autoencoder
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.checkpoints.ema import post_hoc_shares
from clipmill.models.checkpoints.step_files import (
    BASE,
    WEIGHTS,
    average_file,
    load_base,
    load_tensors,
    read_card,
    saved_steps,
    step_folder,
)
from clipmill.models.checkpoints.tensors import put_all
from clipmill.models.config import ModelConfig, from_dict, merged
from clipmill.models.generate.prior import check_prior
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion, Network, seeded_network
from clipmill.models.network_size import shapes_of

_WIDTH = re.compile(r"0\.\d+")


@dataclass(frozen=True)
class Loaded:
    """A checkpoint read from the disk. step: of its weights; average: relative width of the weights' average, 0 for the
    last weights. prior: what makes embeddings for it, where one was asked for.
    """

    root: Path
    config: ModelConfig
    card: dict[str, Any]
    step: int
    average: float
    network: Network
    autoencoder: Autoencoder
    prior: "Loaded | None" = None

    @property
    def reads_text(self) -> bool:
        """Whether captions have a part in what it makes."""
        return self.network.conditioner.text_encoder is not None or (self.prior is not None and self.prior.reads_text)

    def generator(self, device: torch.device) -> Generator:
        """On the device, in bf16 where that is a GPU."""
        self.network.to(device).eval()
        self.network.conditioner.encoders_to(device)
        if isinstance(self.autoencoder, torch.nn.Module):
            self.autoencoder.to(device).eval()
        prior, bf16 = None if self.prior is None else self.prior.generator(device), device.type == "cuda"
        diffusion = Diffusion(self.config)
        return Generator(self.network, self.autoencoder, diffusion, self.config.sample, device, bf16, prior)


def load(root: Path, step: int | None = None, average: float | None = None, overrides: tuple[str, ...] = ()) -> Loaded:
    """step: of a saved checkpoint, the last where None. average: relative width, the config's first where None; one
    that was not kept is put together from snapshots. overrides: `sample.key=value` only. Raises UserError, one line,
    for anything that is not there or broken.
    """
    card = read_card(root)
    steps = saved_steps(root)
    if not steps:
        raise UserError(f"{root} holds no complete checkpoint yet: let `models train` run to its first one")
    chosen = steps[-1] if step is None else step
    if chosen not in steps:
        raise UserError(f"{root} has no step {chosen}; it has {', '.join(map(str, steps))}")
    config = _config(card, overrides)
    if config.trains != "diffusion":
        raise UserError(f"{root} holds an autoencoder: it reconstructs, it does not sample")
    config = _with_given_noise(root, config)
    autoencoder = checkpoint_autoencoder(root)
    base = load_base(root, card)
    shapes = shapes_of(step_folder(root, chosen) / WEIGHTS) + (shapes_of(root / BASE) if base else [])
    network = seeded_network(config, autoencoder, shapes)
    width = config.train.ema_std[0] if average is None else average
    targets = {f"network.{name}": parameter.detach() for name, parameter in network.named_parameters()}
    put_all(targets, base | _weights(root, chosen, width), str(step_folder(root, chosen)))
    return Loaded(root, config, card, chosen, width, network, autoencoder, _prior(config))


def _prior(config: ModelConfig) -> Loaded | None:
    if config.sample.prior is None:
        return None
    named = table_of(read_card(Path(config.sample.prior)).get("config"), "card.json: config")
    if from_dict(named).sample.prior is not None:
        raise UserError(f"sample.prior: {config.sample.prior} has a prior of its own, and makes no embeddings")
    found = load(Path(config.sample.prior))
    check_prior(config.sample.prior, found.autoencoder, config.conditioning.reference)
    return found


def _config(card: dict[str, Any], overrides: tuple[str, ...]) -> ModelConfig:
    tree = table_of(card.get("config"), "card.json: config")
    asked = False
    for text in overrides:
        change = parse_override(text)
        if set(change) != {"sample"}:
            raise UserError(f"a checkpoint's settings are fixed but for sample.*; got --set {text}")
        asked = asked or "prior" in table_of(change["sample"], "sample")
        tree = merged(tree, change)
    config = from_dict(tree)
    if config.sample.prior is not None and not asked:
        # A stranger's card must not say what else of this machine is read.
        raise UserError(
            f"card.json names another checkpoint, {config.sample.prior}, as its prior; it is read where you ask for it:"
            f" --set sample.prior={config.sample.prior}"
        )
    return config


def _with_given_noise(root: Path, config: ModelConfig) -> ModelConfig:
    chosen, frames = config.sample.given_noise, config.conditioning.frames
    if chosen is None:
        return config
    if not frames.perturbed:
        raise UserError(
            f"{root} was not trained with noise on what it is given (conditioning.frames.perturbation): leave"
            " sample.given_noise out"
        )
    told = replace(config.conditioning, frames=replace(frames, sampling_noise=chosen))
    return replace(config, conditioning=told)


def _weights(root: Path, step: int, width: float) -> dict[str, torch.Tensor]:
    folder = step_folder(root, step)
    if width == 0:
        return load_tensors(folder / WEIGHTS)
    kept = folder / average_file(width)
    if kept.is_file():
        return load_tensors(kept)
    return _post_hoc(root, step, width)


def _post_hoc(root: Path, step: int, width: float) -> dict[str, torch.Tensor]:
    """The average of another width, from snapshots up to `step`."""
    found = []
    for path in sorted((root / "snapshots").glob("*-*.safetensors")):
        taken, _, std = path.stem.partition("-")
        if not (taken.isdecimal() and _WIDTH.fullmatch(std)):  # no snapshot
            continue
        if int(taken) <= step:
            found.append((path, int(taken), float(std)))
    if len(found) < 2:
        raise UserError(
            f"no average of width {width:g} was kept in {root}, and no snapshots to make it from: train with"
            " train.snapshots"
        )
    shares = post_hoc_shares([(taken, std) for _, taken, std in found], step, width)
    total: dict[str, torch.Tensor] = {}
    for (path, _, _), share in zip(found, shares.tolist(), strict=True):
        for name, tensor in load_tensors(path).items():
            total[name] = total.get(name, torch.zeros_like(tensor)) + share * tensor
    return total
