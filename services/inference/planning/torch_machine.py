"""This machine as a plan sees it: the memory that is left, and how fast it reads and multiplies, measured just now."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from services.inference.models.container import available_cores
from services.inference.models.device import choose_device, free_memory
from services.inference.planning.fitting import Machine

_READ_BYTES = 512 << 20  # far more than any cache holds
_SIZE = {"cpu": 1024, "cuda": 8192}  # of a square matrix
_RATES = {"cuda": {"fp32": torch.float32, "bf16": torch.bfloat16}}
_RATES["cpu"] = _RATES["cuda"] | {"int8": torch.int8}
_SECONDS = 0.4  # for each figure; the best pass counts


def this_machine() -> Machine:
    device = torch.device(choose_device("auto").name)
    torch.set_num_threads(available_cores())
    kind = device.type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else f"this CPU, {torch.get_num_threads()} threads"
    count = torch.cuda.device_count() if kind == "cuda" else 1
    return Machine(
        name=name,
        kind=kind,
        memory=free_memory(device),
        count=count,
        together=count,
        bandwidth=_bandwidth(device),
        rates={name: _rate(device, dtype) for name, dtype in _RATES[kind].items()},
        source="measured now, beside whatever else runs",
    )


def _bandwidth(device: torch.device) -> float:
    numbers = torch.ones(_READ_BYTES // 4, dtype=torch.float32, device=device)
    return numbers.nbytes / _best(numbers.sum, device)


def _rate(device: torch.device, dtype: torch.dtype) -> float:
    size = _SIZE[device.type]
    square = torch.ones(size, size, dtype=dtype, device=device)
    multiply = torch._int_mm if dtype is torch.int8 else torch.mm
    return 2 * size**3 / _best(lambda: multiply(square, square), device)


def _best(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest pass."""
    best, ends = float("inf"), time.monotonic() + _SECONDS
    while True:
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
        if time.monotonic() > ends:
            return best
