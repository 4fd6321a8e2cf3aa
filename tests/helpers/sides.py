"""Small networks with their configs, and what they predict."""

import torch

from clipmill.models.adapt.bringing import Side
from clipmill.models.config import load
from clipmill.models.network import Network

CHANNELS, FRAMES = 12, 3


def side(preset: str, *settings: str, seed: int = 0) -> Side:
    config = load(preset, settings)
    torch.manual_seed(seed)
    return Side(Network(config, CHANNELS).eval(), config)


def trained(made: Side) -> Side:
    """With every weight moved: nothing of it is as it was initialised."""
    torch.manual_seed(3)
    for parameter in made.network.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return made


def predicted(
    made: Side,
    captions: tuple[str, str] = ("a", "b"),
    grad: bool = False,
    still: bool = False,
    **numbers: float,
) -> torch.Tensor:
    """Of two videos, float [2, FRAMES, CHANNELS, 8, 8]. still: all frames are the first. numbers: that both are
    conditioned on.
    """
    z = torch.randn(2, FRAMES, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))
    z = z[:, :1].expand_as(z) if still else z
    conditioner = made.network.get_submodule("conditioner")
    values = {name: torch.full((2,), value) for name, value in numbers.items()}
    conditions = conditioner.conditions(captions, values, [None, None])
    with torch.set_grad_enabled(grad):
        return made.network(z, torch.tensor([0.3, 0.6]), conditions)
