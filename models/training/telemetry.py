"""What a training says of itself: a line of JSON every few steps, TensorBoard where it is installed."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from clipmill.curate.common.files import parse_json, write_text

# Dense bf16 peak, floating point operations per second, as the vendor states it (H100 and H200 alone: SXM). The first
# entry that a GPU's name holds.
_PEAK_FLOPS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H200 NVL": 836e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "B200": 2250e12,
    "L40S": 362e12,
    "4090": 165e12,
}


class Telemetry:
    """Sums over the steps since the last line. Only time inside `training()` counts: checkpoints, validation and
    previews do not.
    """

    def __init__(self, path: Path, device: torch.device, write: bool) -> None:
        self._path, self._device, self._write = path, device, write
        self._board: Any = None
        self._reset()

    def _reset(self) -> None:
        self._seconds = self._waited_s = self._flops = 0.0
        self._clips = self._tokens = self._steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for data."""
        start = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - start
        self._seconds += time.perf_counter() - start

    @contextmanager
    def training(self) -> Iterator[None]:
        """Around a step."""
        start = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - start

    def count(self, clips: int, tokens: int, flops: float) -> None:
        """What a step has done, over all processes; flops without anything recomputed."""
        self._steps, self._clips = self._steps + 1, self._clips + clips
        self._tokens, self._flops = self._tokens + tokens, self._flops + flops

    def figures(self, world: int) -> dict[str, Any]:
        """Since the last line, which this starts anew."""
        seconds = max(self._seconds, 1e-9)
        peak = peak_flops(self._device)
        found = {
            "clips_per_s": self._clips / seconds,
            "tokens_per_s": self._tokens / seconds,
            "model_tflop_per_s": self._flops / seconds / 1e12,
            "mfu": None if peak is None else self._flops / seconds / peak / world,
            "data_wait_share": self._waited_s / seconds,
            "step_s": seconds / max(self._steps, 1),
            "peak_gib": torch.cuda.max_memory_allocated(self._device) / 2**30 if self._device.type == "cuda" else None,
        }
        self._reset()
        return found

    def event(self, row: Mapping[str, Any]) -> None:
        """One line; NaN and infinity as null."""
        if not self._write:
            return
        if self._board is None:
            self._board = _board(self._path.parent)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: _finite(value) for key, value in row.items()}) + "\n")
        if self._board and "step" in row:
            for key, value in row.items():
                if isinstance(value, int | float) and not isinstance(value, bool) and key != "step":
                    self._board.add_scalar(key, value, row["step"])

    def cut_after(self, step: int) -> None:
        """Forget lines of steps that a resumed training does again."""
        if not (self._write and self._path.is_file()):
            return
        kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        write_text(self._path, "".join(f"{line}\n" for line in kept), synced=True)


def peak_flops(device: torch.device) -> float | None:
    """Dense bf16 operations per second of the GPU; None where unknown."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in _PEAK_FLOPS.items() if known in name), None)


def _step_of(line: str) -> float:
    try:
        return float(parse_json(line).get("step", 0))
    except ValueError:
        return float("inf")  # the line that a kill cut short


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value - value != 0 else value


def _board(folder: Path) -> Any:
    """Made with the first line, when the folder is there; False where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder / "tensorboard"))
