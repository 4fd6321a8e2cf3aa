"""What a training of a network begins with: `train.init`, and what of it learns (`train.learn`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from clipmill.curate.errors import UserError
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.adapt.branches import is_branch
from clipmill.models.adapt.bringing import Brought, Side, bring
from clipmill.models.adapt.what_learns import freeze, learning_names
from clipmill.models.autoencoder_for import autoencoder_named, autoencoder_of, checkpoint_autoencoder, weights_file
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.by_name import options_of
from clipmill.models.checkpoints import step_files
from clipmill.models.checkpoints.tensors import Named, all_whole, put_all
from clipmill.models.config import ModelConfig
from clipmill.models.generate.loading import Loaded, load
from clipmill.models.network import Network
from clipmill.models.settings.learn import ALL, learn_of
from clipmill.models.tensor_files import tensors_sha256, write_tensors

_START = "network."
_LISTED = 3


@dataclass(frozen=True)
class Start:
    """facts: for the run card. report: of `init.json`, None for a training that goes on. lines: for the reader."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] | None = None
    lines: tuple[str, ...] = ()

    def write(self, out: Path, named: Named, first: bool) -> None:
        """What a folder begins with; every process must call it. named: all parameters of the objective."""
        if self.report is None:
            return
        frozen = all_whole({name: parameter for name, parameter in named if not parameter.requires_grad})
        if not first:
            return
        if frozen:
            write_tensors(out / step_files.BASE, frozen)
        step_files.write_json(out / step_files.INIT, self.report)


def start(config: ModelConfig, network: Network, out: Path, latents_sha256: str) -> Start:
    """Puts the network's weights and freezes what does not learn. A training that goes on finds all of it in `out`.
    Raises UserError where the old weights do not fit, or nothing would learn.
    """
    init = config.train.init
    if init is None:
        return Start()
    if step_files.saved_steps(out):
        return _again(config, network, out)
    old = load(Path(init))
    report = bring(Side(old.network, old.config), Side(network, config), init)
    learning = learning_names(network, learn_of(config.train.learn), report.unlearned)
    _check_frames(config, network, learning)
    freeze(network, learning)
    frozen = {f"{_START}{name}": p for name, p in network.named_parameters() if name not in learning}
    facts: dict[str, Any] = {
        "init": {"checkpoint": init, "step": old.step, "average": old.average},
        "frozen": sum(p.numel() for p in frozen.values()),
        "base_sha256": tensors_sha256(frozen) if frozen else "",
    }
    lines = (*_summary(old, network, report), *_warnings(old, config, latents_sha256), *_learns(config, network))
    return Start(facts, facts["init"] | report.as_dict(), lines)


def _check_frames(config: ModelConfig, network: Network, learning: set[str]) -> None:
    """Raises UserError where steps on single frames would move nothing."""
    data = config.data
    through = getattr(network.get_submodule("backbone").config, "mixer", "") != "alpha_images"
    single = max(data.frames) == 1 if through else bool(data.image_share) or 1 in data.frames
    if single and learning <= temporal_names(network):
        raise UserError(
            f"train.learn={config.train.learn}: single frames teach layers along time nothing: set data.frames to"
            " longer ones, and data.image_share=0"
        )


def _again(config: ModelConfig, network: Network, out: Path) -> Start:
    card = step_files.read_card(out)
    base = step_files.load_base(out, card)
    named = {f"{_START}{name}": parameter.detach() for name, parameter in network.named_parameters()}
    unknown = sorted(base.keys() - named.keys())
    if unknown:
        raise UserError(f"{out / step_files.BASE} has an unknown tensor {unknown[0]!r}: it is of another model")
    put_all({name: named[name] for name in base}, base, str(out / step_files.BASE))
    freeze(network, {name.removeprefix(_START) for name in named.keys() - base.keys()})
    facts = {name: card[name] for name in ("init", "frozen", "base_sha256")}
    return Start(facts, None, _learns(config, network))


def with_latents_of_init(config: ModelConfig, out: Path) -> ModelConfig:
    """With the autoencoder of `train.init` where the config names no weights and asks for the same kind: latents of
    another one would mean nothing to the old weights. Raises UserError where the checkpoint is none, and where there is
    none and only a part of the weights would learn.
    """
    chosen, init, learn = config.autoencoder, config.train.init, config.train.learn
    if init is None and learn != ALL:
        raise UserError(f"train.learn={learn} freezes weights that nothing has trained: set train.init to a checkpoint")
    if init is None or chosen.weights is not None:
        return config
    if (out / "card.json").is_file():  # what is there was begun with it; the old checkpoint may be gone
        before = step_files.read_card(out)["config"].get("autoencoder", {}).get("weights")
        return replace(config, autoencoder=replace(chosen, weights=before))
    if step_files.read_card(Path(init))["config"].get("trains") == "autoencoder":
        raise UserError(f"train.init: {init} holds an autoencoder: set autoencoder.weights={init} instead")
    theirs = checkpoint_autoencoder(Path(init))
    same = theirs.kind == chosen.kind
    if same and theirs.kind == "pixels":  # they are measured, not trained: the config says which
        same = options_of(theirs) == options_of(autoencoder_named(chosen.kind, chosen.options))
    return replace(config, autoencoder=replace(chosen, weights=init)) if same else config


def latents_for(config: ModelConfig, out: Path, device: torch.device) -> VideoAutoencoder:
    """The frozen autoencoder that the config names; for a training that goes on, that of `out` where the file named is
    no longer there. Raises UserError as `autoencoder_of` does.
    """
    path = weights_file(config.autoencoder)
    if path is not None and not path.exists() and step_files.saved_steps(out):
        return checkpoint_autoencoder(out).to(device)
    return autoencoder_of(config.autoencoder, device)


def _summary(old: Loaded, network: Network, report: Brought) -> list[str]:
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters() if not is_branch(name)}
    new = [name for name in report.new if not is_branch(name)]
    branches = f"; {len(report.new) - len(new)} tensors of branches" if len(new) < len(report.new) else ""
    came = sum(sizes[name] for name in report.came)
    partly = f" ({len(report.partly)} of them in part)" if report.partly else ""
    return [
        f"  from {old.root}, step {old.step}: {len(report.came)} of {len(sizes)} tensors came{partly}, {came:,} of"
        f" {sum(sizes.values()):,} weights; new: {_few(new)}; of the old, missing: {_few(report.missing)}{branches}"
    ]


def _few(names: list[str]) -> str:
    """How many, and in which parts of the network."""
    parts = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in names))
    shown = f" ({', '.join(parts[:_LISTED])}{', ...' if len(parts) > _LISTED else ''})" if parts else ""
    return f"{len(names)}{shown}"


def _learns(config: ModelConfig, network: Network) -> tuple[str, ...]:
    if config.train.learn == "all":
        return ()
    every = list(network.parameters())
    moved = sum(p.numel() for p in every if p.requires_grad)
    return (f"  learns ({config.train.learn}): {moved:,} of {sum(p.numel() for p in every):,} weights; the rest stays",)


def _warnings(old: Loaded, config: ModelConfig, latents_sha256: str) -> list[str]:
    """Of what the old weights are not used to."""
    found, before, now = [], old.config.diffusion, config.diffusion
    if before.parametrisation != now.parametrisation:
        found.append(
            f"warning: {old.root} was trained to predict {before.parametrisation}, this model predicts"
            f" {now.parametrisation}: set diffusion.parametrisation={before.parametrisation} to go on from what it"
            " knows"
        )
    elif dict(before.parametrisation_options) != dict(now.parametrisation_options):
        told = ", ".join(f"{name}={value}" for name, value in before.parametrisation_options.items()) or "no options"
        found.append(f"warning: {old.root} was trained with other diffusion.parametrisation_options: {told}")
    if str(old.card.get("autoencoder_sha256", "")) != latents_sha256:
        found.append(
            f"warning: these latents are not those that {old.root} was trained on: set autoencoder.weights={old.root}"
        )
    return found
