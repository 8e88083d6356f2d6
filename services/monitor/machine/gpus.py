"""NVIDIA's GPUs through NVML, where there are some; the reason where there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from services.monitor.status.snapshot import Gpu

MAX_GPUS = 16


class Gpus:
    """`read` may take long when the driver does: call it in a thread."""

    def __init__(self, load: Callable[[], ModuleType | Any] | None = None) -> None:
        self._nvml, self.reason = _opened(load or _load)

    def read(self) -> Sequence[Gpu]:
        if self._nvml is None:
            return ()
        count = min(self._nvml.nvmlDeviceGetCount(), MAX_GPUS)
        return [self._gpu(index) for index in range(count)]

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()

    def _gpu(self, index: int) -> Gpu:
        nvml: Any = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._told(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = self._told(nvml.nvmlDeviceGetPowerUsage, handle)
        return Gpu(
            index=index,
            name=str(self._told(nvml.nvmlDeviceGetName, handle) or ""),
            utilisation_ratio=_scaled(self._told(nvml.nvmlDeviceGetUtilizationRates, handle), "gpu", 0.01),
            memory_used_bytes=_scaled(memory, "used", 1),
            memory_total_bytes=_scaled(memory, "total", 1),
            temperature_celsius=self._told(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_watts=None if milliwatts is None else milliwatts / 1000,
        )

    def _told(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """None for what this GPU does not tell: a slice of one has no utilisation of its own, for example."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def _scaled(holder: Any, field: str, factor: float) -> float | None:
    value = getattr(holder, field, None)
    return None if value is None else float(value) * factor


def _load() -> Any:
    import pynvml  # type: ignore[import-untyped, unused-ignore]

    return pynvml


def _opened(load: Callable[[], Any]) -> tuple[Any, str]:
    try:
        nvml = load()
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None, "no NVIDIA driver answers on this machine"
    return nvml, ""
