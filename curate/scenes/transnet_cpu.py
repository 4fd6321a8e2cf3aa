"""The forward pass of TransNetV2 arranged for CPUs: the same weights and the same sums, fewer and larger operations.

The four dilated branches of a block share their input, so their spatial convolutions are one 2-D convolution over all
frames (channels last); the temporal ones are matrix products on shifted views, written in place; batch normalisation is
folded into the weights. Agrees with the package's forward pass to 1e-5 in probability.
"""

from typing import Any

_DILATIONS = (1, 2, 4, 8)


class _Block:
    """One dilated block with its weights rearranged: `spatial` [8f, c, 3, 3], `temporal` 4 x 3 x [2f, f], `bias` [4f]."""

    def __init__(self, torch: Any, block: Any) -> None:
        branches = [getattr(block, f"Conv3D_{d}").layers for d in _DILATIONS]
        scale = block.bn.weight / torch.sqrt(block.bn.running_var + block.bn.eps)
        self.spatial = torch.cat([first.weight[:, :, 0] for first, _ in branches]).contiguous(memory_format=torch.channels_last)
        self.bias = block.bn.bias - block.bn.running_mean * scale
        self.temporal = []
        for (_, second), factor in zip(branches, scale.chunk(len(_DILATIONS)), strict=True):
            weight = second.weight[:, :, :, 0, 0] * factor[:, None, None]
            self.temporal.append([weight[:, :, k].t().contiguous() for k in range(3)])


class ArrangedNetwork:
    """Calls like the package's network on uint8 [1, n, 27, 48, 3]: logits [1, n, 1] of the single-frame head."""

    def __init__(self, network: Any) -> None:
        import torch

        self._torch, self._network = torch, network
        with torch.inference_mode():
            self._stacks = [[_Block(torch, block) for block in stack.DDCNN] for stack in network.SDDCNN]

    def __call__(self, frames: Any) -> tuple[Any, None]:
        torch, network = self._torch, self._network
        n = frames.shape[1]
        x = frames[0].permute(0, 3, 1, 2).float().div_(255.0).contiguous(memory_format=torch.channels_last)
        features = []
        for first, second in self._stacks:
            shortcut = self._dilated(x, first).relu_()
            x = torch.nn.functional.avg_pool2d(self._dilated(shortcut, second).relu_().add_(shortcut), 2)
            features.append(x.permute(1, 0, 2, 3)[None])
        flat = x.permute(0, 2, 3, 1).reshape(1, n, -1)
        flat = torch.cat([network.color_hist_layer(frames), network.frame_sim_layer(features), flat], 2)
        return network.cls_layer1(network.fc1(flat).relu_()), None

    def _dilated(self, x: Any, block: _Block) -> Any:
        """Four branches of spatial, then temporal convolution; x [n, c, h, w] -> [n, 4f, h, w], channels last."""
        torch = self._torch
        spatial = torch.nn.functional.conv2d(x, block.spatial, padding=1)
        n, channels, height, width = spatial.shape
        cells, each = height * width, channels // len(_DILATIONS)
        rows = spatial.permute(0, 2, 3, 1).reshape(n * cells, channels)
        out = block.bias.expand(n * cells, channels // 2).contiguous()
        for i, dilation in enumerate(_DILATIONS):
            source, target = rows[:, i * each : (i + 1) * each], out[:, i * each // 2 : (i + 1) * each // 2]
            for shift, weight in zip((-dilation, 0, dilation), block.temporal[i], strict=True):
                low, high = max(0, -shift) * cells, (n - max(0, shift)) * cells
                if high > low:
                    target[low:high].addmm_(source[low + shift * cells : high + shift * cells], weight)
        return out.reshape(n, height, width, -1).permute(0, 3, 1, 2)

