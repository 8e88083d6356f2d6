"""The machine's limits are the container's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from services.inference.engine.torch_attention import choose_attention
from services.inference.models.container import available_cores, available_memory
from services.inference.models.device import Device, choose_device, choose_dtype


def test_cores_are_bounded_by_the_quota(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert available_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_half_a_core_is_still_one_thread(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cores(tmp_path) == 1


def test_memory_is_what_the_container_has_left(tmp_path: Path) -> None:
    host = available_memory(tmp_path)
    assert host > 0
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert available_memory(tmp_path) == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) > 5_000_000


def test_an_old_kernels_limits_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("3000000\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text("1000000\n")
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_memory(tmp_path) == 2_000_000
    assert available_cores(tmp_path) == 1


def test_fp32_on_cpu_and_bf16_on_a_gpu_unless_set() -> None:
    assert choose_dtype("auto", choose_device("cpu")) is torch.float32
    assert choose_dtype("auto", Device(name="cuda:1", reason="set")) is torch.bfloat16
    assert choose_dtype("bfloat16", choose_device("cpu")) is torch.bfloat16
    for wrong in ("int8", "nn", "float99"):
        with pytest.raises(ValueError, match="dtype must be"):
            choose_dtype(wrong, choose_device("cpu"))


@pytest.mark.parametrize(
    ("device", "dtype", "same", "package", "name", "reason"),
    [
        ("cpu", torch.float32, True, True, "sdpa", "GPU"),
        ("cuda", torch.bfloat16, True, True, "flash-attn", "there"),
        ("cuda", torch.bfloat16, True, False, "sdpa", "not installed"),
        ("cuda", torch.float32, True, True, "sdpa", "float32"),
        ("cuda", torch.bfloat16, False, True, "sdpa", "one size"),
        ("xpu", torch.bfloat16, True, True, "sdpa", "xpu"),
    ],
)
def test_flash_attention_is_chosen_only_where_it_runs_and_the_reason_is_said(
    device: str, dtype: torch.dtype, same: bool, package: bool, name: str, reason: str
) -> None:
    choice = choose_attention(device_type=device, dtype=dtype, same_head_sizes=same, flash_attn=package)
    assert choice.name == name
    assert reason in choice.reason
