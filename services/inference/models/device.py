"""Where a model runs and how much of the machine it may take: read from the container's limits, never the host's."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from services.inference.models.container import available_memory
from services.inference.models.cuda import Cuda, described, found, obstacle


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    name: str
    reason: str

    @property
    def type(self) -> str:
        return self.name.split(":")[0]


def choose_device(asked: str, cuda: Cuda | None = None) -> Device:
    """The GPU if it can be used, else the CPU with the reason; what was asked for by name is never replaced."""
    if asked != "auto" and _named(asked).type != "cuda":
        return Device(name=asked, reason="set")
    cuda = cuda or found()
    problem = obstacle(cuda)
    if asked == "auto" and problem:
        return Device(name="cpu", reason=problem)
    if problem:
        raise ValueError(f"device {asked} cannot be used: {problem}; or set STRONGROOM_INFERENCE_DEVICE=cpu")
    if asked == "auto":
        return Device(name="cuda", reason=f"a GPU is there: {torch.cuda.get_device_name(0)}, {described(cuda)}")
    return Device(name=asked, reason=f"set; {described(cuda)}")


def _named(asked: str) -> torch.device:
    try:
        return torch.device(asked)
    except RuntimeError:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, not {asked!r}") from None


def choose_dtype(asked: str, device: Device) -> torch.dtype:
    """fp32 on CPU, where batch mates change nothing only in fp32; bf16 on a GPU."""
    if asked == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    found = getattr(torch, asked, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, not {asked!r}")
    return found


def free_memory(device: torch.device) -> int:
    """Bytes free where `device` keeps its tensors: a GPU's own memory, else what the container has left."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()


def platform(device: Device) -> str:
    """What the last bits of a sum depend on: torch's version, the instructions that its kernels use or the GPU."""
    kind = torch.cuda.get_device_name(device.name) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} {kind}"
