"""Whether this torch can compute on this machine's GPU: the CUDA it was built for against the one the driver speaks."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

Version = tuple[int, int]

# The oldest driver branch for all of a major version of CUDA; within it a driver also runs what was built for a newer
# minor one. From NVIDIA's "CUDA Compatibility", its table of minor version compatibility.
_OLDEST_DRIVER = {11: "450", 12: "525", 13: "580"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cuda:
    built: Version | None  # what torch was built for; None: it is no build for CUDA
    driver: Version | None  # the newest that the driver speaks; None: no driver answers
    usable: bool  # torch finds a device


def found() -> Cuda:
    return Cuda(built=_parsed(torch.version.cuda), driver=_driver(), usable=torch.cuda.is_available())


def obstacle(cuda: Cuda) -> str:
    """What keeps torch from the GPU and what to change; empty when nothing does."""
    if cuda.built is None:  # a build for ROCm calls its devices "cuda", too, and then finds them itself
        return "" if cuda.usable else f"this torch is built without CUDA: {_build_for(cuda.driver)}"
    if cuda.driver is None:
        return (
            "no NVIDIA driver answers (libcuda.so.1): install it on the host, and start the container with the GPU "
            "(docker run --gpus all, or compose's profile gpu)"
        )
    if cuda.built[0] > cuda.driver[0]:
        branch = _OLDEST_DRIVER.get(cuda.built[0])
        newer = f"of branch {branch} or newer" if branch else f"for CUDA {cuda.built[0]} or newer"
        return (
            f"torch is built for CUDA {_shown(cuda.built)} and the driver speaks {_shown(cuda.driver)} at most: "
            f"install a driver {newer} on the host, or {_build_for(cuda.driver)}"
        )
    if not cuda.usable:
        return (
            f"torch (CUDA {_shown(cuda.built)}) and the driver (CUDA {_shown(cuda.driver)}) fit, and yet torch finds "
            "no GPU: see that nvidia-smi lists one inside the container and that CUDA_VISIBLE_DEVICES hides none"
        )
    return ""


def capability(device: str) -> Version | None:
    """Compute capability of a GPU; None: it is no NVIDIA GPU, whose numbers those are."""
    return torch.cuda.get_device_capability(device) if device.startswith("cuda") and torch.version.cuda else None


def described(cuda: Cuda) -> str:
    """The two versions, for the log."""
    if cuda.built is None or cuda.driver is None:
        return "no CUDA"
    older = " by minor version compatibility" if cuda.driver < cuda.built else ""
    return f"CUDA {_shown(cuda.built)} on a driver for {_shown(cuda.driver)}{older}"


def _build_for(driver: Version | None) -> str:
    version = f"CUDA {driver[0]}.x" if driver else "CUDA"
    return f"take a torch built for {version} (deploy/Dockerfile.cuda, TORCH_BUILD)"


def _driver() -> Version | None:
    """Asked of libcuda itself: it is what torch will load, a compatibility package included, and it needs no GPU."""
    version = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10  # 12020 is 12.2


def _parsed(version: str | None) -> Version | None:
    major, _, minor = (version or "").partition(".")
    return (int(major), int(minor.partition(".")[0])) if major and minor else None


def _shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
