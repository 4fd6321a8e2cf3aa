"""The forward pass of TransNetV2 rearranged: the same weights and sums, faster on CPUs, for windows of any length.

The four dilated branches of a block share their input, so their spatial convolutions are one 2-D convolution over all
frames (channels last); the temporal ones are matrix products on shifted views, written in place; batch normalisation is
folded into the weights.

The network compares every frame with the 50 before and after it, by features and by colour. The published windows lack
part of these frames, which lowers probabilities; here colours are compared with the real neighbours, which costs next
to nothing, and features beyond the convolved frames are repeated from the outermost. A frame that has its 50 neighbours
either way inside the convolved frames gets what the package's own forward pass gives, to 1e-5 in probability.
"""

from typing import Any

_DILATIONS = (1, 2, 4, 8)
LOOKUP_FRAMES = 50
"""Frames before and after that the network compares each frame with."""


class _Block:
    """One dilated block with its weights rearranged: `spatial` [8f, c, 3, 3], `temporal` 4 x 3 x [2f, f], `bias`
    [4f].
    """

    def __init__(self, torch: Any, block: Any) -> None:
        branches = [getattr(block, f"Conv3D_{d}").layers for d in _DILATIONS]
        scale = block.bn.weight / torch.sqrt(block.bn.running_var + block.bn.eps)
        self.spatial = torch.cat([first.weight[:, :, 0] for first, _ in branches]).contiguous(
            memory_format=torch.channels_last
        )
        self.bias = block.bn.bias - block.bn.running_mean * scale
        self.temporal = []
        for (_, second), factor in zip(branches, scale.chunk(len(_DILATIONS)), strict=True):
            weight = second.weight[:, :, :, 0, 0] * factor[:, None, None]
            self.temporal.append([weight[:, :, k].t().contiguous() for k in range(3)])


class ArrangedNetwork:
    """The package's network, called on uint8 [n + 100, 27, 48, 3]: logits [n] of its single-frame head.

    The outer 50 frames at either end are compared by colour alone.
    """

    def __init__(self, network: Any) -> None:
        import torch

        self._torch, self._network = torch, network
        with torch.inference_mode():
            self._stacks = [[_Block(torch, block) for block in stack.DDCNN] for stack in network.SDDCNN]

    def __call__(self, frames: Any) -> Any:
        torch, network = self._torch, self._network
        inner = frames[LOOKUP_FRAMES : len(frames) - LOOKUP_FRAMES]
        x = inner.permute(0, 3, 1, 2).float().div_(255.0).contiguous(memory_format=torch.channels_last)
        means = []
        for first, second in self._stacks:
            shortcut = self._dilated(x, first).relu_()
            x = torch.nn.functional.avg_pool2d(self._dilated(shortcut, second).relu_().add_(shortcut), 2)
            means.append(x.mean(dim=(2, 3)))
        similar = self._by_features(torch.cat(means, 1))
        coloured = self._by_colour(frames)
        flat = x.permute(0, 2, 3, 1).reshape(len(inner), -1)
        return network.cls_layer1(network.fc1(torch.cat([coloured, similar, flat], 1)).relu_())[:, 0]

    def _by_features(self, means: Any) -> Any:
        """Similarity to the neighbours by projected features, float32 [n, 128]; the outermost features are repeated."""
        layer = self._network.frame_sim_layer
        unit = self._torch.nn.functional.normalize(layer.projection(means), p=2, dim=1)
        around = self._torch.cat([unit[:1].expand(LOOKUP_FRAMES, -1), unit, unit[-1:].expand(LOOKUP_FRAMES, -1)])
        return layer.fc(self._band(unit, around)).relu_()

    def _by_colour(self, frames: Any) -> Any:
        """Similarity to the neighbours by colour histogram, float32 [n, 128]."""
        layer = self._network.color_hist_layer
        unit = layer.compute_color_histograms(frames[None])[0]
        return layer.fc(self._band(unit[LOOKUP_FRAMES : len(unit) - LOOKUP_FRAMES], unit)).relu_()

    def _band(self, inner: Any, around: Any) -> Any:
        """Products of each row with its 101 neighbours: inner [n, d], around [n + 100, d] -> [n, 101]."""
        n = len(inner)
        steps = self._torch.arange(2 * LOOKUP_FRAMES + 1, device=inner.device)
        return (inner @ around.t()).gather(1, self._torch.arange(n, device=inner.device)[:, None] + steps[None])

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
