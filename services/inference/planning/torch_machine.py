"""This machine as a plan sees it: the memory that is left, and how fast it reads and multiplies, measured just now."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from services.inference.engine.torch_cpu import has_bfloat16, most
from services.inference.engine.torch_packed import packed, products
from services.inference.engine.torch_rows import coded
from services.inference.models.container import available_cores
from services.inference.models.device import choose_device, free_memory
from services.inference.planning.fitting import Machine

_READ_BYTES = 512 << 20  # far more than any cache holds
_SIZE = {"cpu": 1024, "cuda": 8192}  # of a square matrix
_RATES = {"fp32": torch.float32, "bf16": torch.bfloat16}
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
        rates=_cpu_rates() if kind == "cpu" else {name: _rate(device, dtype) for name, dtype in _RATES.items()},
        source="measured now, beside whatever else runs",
    )


def _bandwidth(device: torch.device) -> float:
    numbers = torch.ones(_READ_BYTES // 4, dtype=torch.float32, device=device)
    return numbers.nbytes / _best(numbers.sum, device)


def _cpu_rates() -> dict[str, float]:
    """Of what it has. Bytes as the engine multiplies them: torch's own product of them may be hundreds of times slower
    (0.8 instead of 70 GFLOP/s without VNNI)."""
    cpu, size = torch.device("cpu"), _SIZE["cpu"]
    rates = {"fp32": _rate(cpu, torch.float32)}
    if has_bfloat16():
        rates["bf16"] = _rate(cpu, torch.bfloat16)
    if most():
        weight, rows = packed(torch.ones(size, size, dtype=torch.int8)), coded(torch.ones(size, size))
        scales = torch.ones(size)
        rates["int8"] = 2 * size**3 / _best(lambda: products(rows, weight, scales), cpu)
    return rates


def _rate(device: torch.device, dtype: torch.dtype) -> float:
    size = _SIZE[device.type]
    square = torch.ones(size, size, dtype=dtype, device=device)
    return 2 * size**3 / _best(lambda: torch.mm(square, square), device)


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
