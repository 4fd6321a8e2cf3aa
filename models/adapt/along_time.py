"""Which parameters belong to layers along time, in networks of every kind."""

from torch import nn

from clipmill.models.backbones.dit import DiT
from clipmill.models.layers.temporal import temporal_parameter_names


def temporal_names(network: nn.Module) -> set[str]:
    """Names of the parameters that a video model has and its image model lacks: temporal blocks and convolutions along
    time of a U-Net; of a DiT the blocks and the parts of blocks that stay within their pixel, and learned places in
    time. Attention to pixels
    of several frames at once (full, window, previous) is not among them: its weights are an image model's.
    """
    found = temporal_parameter_names(network)
    for path, module in network.named_modules():
        if isinstance(module, DiT):
            start = f"{path}." if path else ""
            owners = [f"{start}blocks.{k}." for k, plan in enumerate(module.plans) if not plan.mixes_pixels]
            owners.append(f"{start}time_positions.")
            parts = ("time_attention.", "attention.time.")
            owners += [f"{start}blocks.{k}.{part}" for k in range(len(module.plans)) for part in parts]
            found |= {name for name, _ in network.named_parameters() if name.startswith(tuple(owners))}
    return found
