"""What every part of `gpu.py` measures with: a budget of time, cases that fail alone, times with their spread, and what
the machine is.
"""

import gc
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import torch

from clipmill.models.training.telemetry import peak_flops

PEAK_SOURCE = "the vendor's data sheet, dense bf16 without sparsity"
_QUERY = "clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit,temperature.gpu,pstate"


class Skipped(Exception):
    """A case that cannot be measured here; its words say why."""


@dataclass
class Bench:
    """device: cuda or cpu. size: full, small (a CPU runs it in minutes) or tiny (in seconds). deadline: of
    `time.monotonic`. tell: gets the name of a case and its result as soon as there is one.
    """

    device: torch.device
    size: str
    deadline: float
    tell: Callable[[str, dict], None]
    pools: str | None = None

    @property
    def full(self) -> bool:
        return self.size == "full"

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def repeats(self) -> int:
        """Timed calls of each round; rounds are three."""
        return {"full": 4, "small": 2, "tiny": 1}[self.size]

    @property
    def rounds(self) -> int:
        return 1 if self.size == "tiny" else 3

    def pick(self, full, small, tiny=None):
        """What belongs to the size."""
        return {"full": full, "small": small, "tiny": small if tiny is None else tiny}[self.size]

    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def case(self, name: str, needs_s: float, measure: Callable[[], dict]) -> dict | None:
        """Measure one case and tell it; one that fails, or has too little time left, tells why. needs_s: on a GPU, full
        size. None where there is no result.
        """
        began = time.monotonic()
        if self.full and self.left_s() < needs_s:
            self.tell(name, {"skipped": f"{self.left_s():.0f} s were left of this part, {needs_s:.0f} are needed"})
            return None
        try:
            found = measure()
        except Skipped as reason:
            self.tell(name, {"skipped": str(reason)})
            return None
        except Exception as error:
            self.tell(name, {"failed": one_line(error)})
            return None
        finally:
            self.free()
        self.tell(name, found | {"seconds": round(time.monotonic() - began, 1)})
        return found

    def free(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def autocast(self, enabled: bool = True):
        """bf16 over float32 weights."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


def timed(calls: dict[str, Callable[[], object]], bench: Bench, warm_up: int = 3) -> dict[str, dict]:
    """Each call after warm-up, in rounds by turns: name -> {"ms": median, "ms_min", "ms_max", "repeats"}. On a GPU by
    its own events, elsewhere by the clock.
    """
    for call in calls.values():
        for _ in range(warm_up if bench.full else 1):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(bench.rounds):
        for name, call in calls.items():
            times[name] += _durations_ms(call, bench.repeats, bench.cuda)
    return {name: _spread(values) for name, values in times.items()}


def _durations_ms(call: Callable[[], object], repeats: int, cuda: bool) -> list[float]:
    if not cuda:
        found = []
        for _ in range(repeats):
            began = time.perf_counter()
            call()
            found.append(1000 * (time.perf_counter() - began))
        return found
    torch.cuda.synchronize()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in pairwise(marks)]


def _spread(values: list[float]) -> dict:
    return {"ms": statistics.median(values), "ms_min": min(values), "ms_max": max(values), "repeats": len(values)}


@contextmanager
def peak_memory(bench: Bench, into: dict):
    """into["peak_gib"]: the most that tensors took meanwhile; None on a CPU."""
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    yield
    into["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30 if bench.cuda else None


def fitting(batch: int, measure: Callable[[int], dict]) -> dict:
    """measure(batch), with half of it for as long as memory does not suffice."""
    while True:
        try:
            return measure(batch) | {"batch": batch}
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
        gc.collect()
        torch.cuda.empty_cache()


def graph_breaks() -> int:
    """How often tracing has left a graph in this process: every one is a seam that nothing is fused across."""
    utils = sys.modules.get("torch._dynamo.utils")
    return 0 if utils is None else sum(utils.counters["graph_break"].values())


def matmul_flops(bench: Bench) -> float:
    """What a large product of bf16 matrices reaches, operations per second."""
    side = bench.pick(8192, 512, 256)
    left, right = (torch.randn(side, side, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / (timed({"product": lambda: left @ right}, bench)["product"]["ms"] / 1000)


def peaks(bench: Bench) -> dict:
    """Both peaks: of the table by the GPU's name, and measured. `peak_flops` is what MFU divides by."""
    stated = peak_flops(bench.device)
    measured = matmul_flops(bench)
    return {
        "stated_tflops": None if stated is None else stated / 1e12,
        "stated_by": PEAK_SOURCE if stated else None,
        "measured_tflops": measured / 1e12,
        "peak_flops": stated or measured,
        "peak_is": "stated" if stated else "measured by a bf16 product of matrices",
    }


def machine(bench: Bench) -> dict:
    """What was measured on, and when."""
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": bench.device.type,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if not bench.cuda:
        return found
    facts = torch.cuda.get_device_properties(0)
    return found | {
        "gpu": facts.name,
        "gpu_gib": facts.total_memory / 2**30,
        "capability": f"{facts.major}.{facts.minor}",
        "multiprocessors": facts.multi_processor_count,
        "driver": smi("driver_version").get("driver_version"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "clocks": clocks(),
    }


def clocks() -> dict:
    """Clocks, power and temperature now, as the driver's tool tells them; {} without it."""
    return smi(_QUERY)


def smi(fields: str) -> dict:
    if shutil.which("nvidia-smi") is None:
        return {}
    asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "--id=0"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30)
    values = [value.strip() for value in done.stdout.strip().split(",")]
    names = fields.split(",")
    return dict(zip(names, values, strict=True)) if done.returncode == 0 and len(values) == len(names) else {}
