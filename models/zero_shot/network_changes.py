"""All that `sample.free_u` and `sample.zero_shot` change of a network while it samples."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from clipmill.models.backbones.by_name import plan_named
from clipmill.models.config import SampleConfig
from clipmill.models.zero_shot.attending import InClips, attending, check_attention
from clipmill.models.zero_shot.free_u import check_free_u, with_free_u
from clipmill.models.zero_shot.windows import InWindows


@contextmanager
def changed_network(network: nn.Module, config: SampleConfig, frames: int) -> Iterator[None]:
    """While it lasts, the network's backbone is changed so, for videos of so many latent frames; with the neutral
    settings, and for single frames, it is as it was. FreeU acts within layers, attention between frames, clips around
    both, windows around all.
    """
    chosen, backbone = config.zero_shot, network.get_submodule("backbone") if _asked(config) else None
    with ExitStack() as stack:
        if backbone is not None:
            stack.enter_context(with_free_u(backbone, config.free_u))
        if backbone is not None and chosen.attention != "trained" and frames > 1:
            if chosen.clip:
                stack.callback(setattr, network, "backbone", backbone)
                network.backbone = InClips(backbone, chosen.clip)
            else:
                stack.enter_context(attending(backbone, plan_named(chosen.attention)))
        if backbone is not None and 0 < config.joined < frames:
            stack.callback(setattr, network, "backbone", backbone)
            network.backbone = InWindows(network.get_submodule("backbone"), config.joined)
        yield


def check_changes(network: nn.Module, config: SampleConfig) -> None:
    """Raises UserError where this network has nothing that could be changed so."""
    if _asked(config):
        check_free_u(network.get_submodule("backbone"), config.free_u)
    if config.zero_shot.attention != "trained":
        check_attention(network.get_submodule("backbone"))


def _asked(config: SampleConfig) -> bool:
    return config.zero_shot.attention != "trained" or bool(
        config.free_u.backbone or config.free_u.skips or config.joined
    )
