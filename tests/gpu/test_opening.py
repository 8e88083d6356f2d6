"""Opening a model on a GPU as a worker does: where it runs, in which numbers, with which attention, and why."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.engine.protocol import StepOutput, Work

pytestmark = pytest.mark.gpu

FLASH = importlib.util.find_spec("flash_attn") is not None


@pytest.fixture
def folder(tiny_model: Callable[[str], Any], tiny_tokenizer: Any, tmp_path: Path) -> Path:
    """A model as it lies on disk, in fp32."""
    tiny_model("llama").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_with_nothing_set_a_model_runs_on_the_gpu_in_bf16_and_says_why(
    cuda: Any,
    folder: Path,
    asked: Callable[..., Work],
    answers: Callable[..., dict[str, list[StepOutput]]],
    measured: Callable[[str], None],
) -> None:
    engine = open_engine(EngineSettings(model=str(folder)), folder.parent)
    info = engine.model
    measured(
        f"a model opened with nothing set: {info.dtype} on {info.device} ({info.device_reason}), "
        f"attention {info.attention} ({info.attention_reason})"
    )
    assert (info.dtype, info.device) == ("bfloat16", "cuda:0")
    assert cuda.get_device_name(0) in info.device_reason
    assert engine._runner._model.dtype is torch.bfloat16  # type: ignore[attr-defined]
    outputs = answers(engine, [asked(number) for number in range(6)])
    assert all(got[-1].finish and got[-1].failure is None for got in outputs.values())


@pytest.mark.parametrize(
    ("family", "dtype", "name", "reason"),
    [
        ("llama", torch.float32, "sdpa", "float32" if FLASH else "not installed"),
        ("llama", torch.bfloat16, "flash-attn" if FLASH else "sdpa", "there" if FLASH else "not installed"),
        ("deepseek-v3", torch.bfloat16, "sdpa", "one size" if FLASH else "not installed"),
    ],
)
def test_attention_is_flash_attn_where_it_can_run_and_else_sdpa_with_the_reason(
    family: str, dtype: torch.dtype, name: str, reason: str, cuda: Any, gpu_engine: Callable[..., Any]
) -> None:
    info = gpu_engine(family, dtype).model
    assert info.attention == name
    assert reason in info.attention_reason


def test_the_first_request_finds_the_engine_warm(
    cuda: Any, gpu_engine: Callable[..., Any], asked: Callable[..., Work], measured: Callable[[str], None]
) -> None:
    """That it was warmed is seen in the memory: the first request takes no more than the tenth."""
    engine = gpu_engine("deepseek-v2", torch.bfloat16)
    reserved = cuda.memory_reserved()
    seconds = []
    for number in range(10):
        began = time.perf_counter()
        engine.admit(asked(number, max_tokens=1))
        while engine.live():
            engine.step()
        seconds.append(time.perf_counter() - began)
    measured(f"first token of the first request {seconds[0] * 1e3:.1f} ms, of the tenth {seconds[-1] * 1e3:.1f} ms")
    assert cuda.memory_reserved() - reserved < 64 << 20


def test_the_monitor_reads_how_busy_the_gpu_is_and_how_full(cuda: Any, measured: Callable[[str], None]) -> None:
    """By NVML: the reader has no CUDA context of its own, and sees what another process does."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    from services.monitor.machine.gpus import Gpus

    reader = Gpus()
    assert reader.reason == ""
    square, until = torch.randn(4096, 4096, device="cuda"), time.monotonic() + 60
    busiest = 0.0
    while busiest < 0.1 and time.monotonic() < until:  # the driver averages over up to a second
        for _ in range(20):
            square = (square @ square).div_(square.norm())
        cuda.synchronize()
        gpus = reader.read()
        busiest = max(gpu.utilisation_ratio or 0.0 for gpu in gpus)
    reader.close()
    measured(f"nvidia-ml-py {importlib.metadata.version('nvidia-ml-py')}: {gpus}")
    assert 0.1 <= busiest <= 1.0
    [ours] = [gpu for gpu in gpus if gpu.utilisation_ratio == busiest][:1]
    assert ours.name == cuda.get_device_name(0)
    assert cuda.memory_reserved() <= ours.memory_used_bytes <= ours.memory_total_bytes
    assert 0.9 <= cuda.get_device_properties(0).total_memory / ours.memory_total_bytes <= 1.0
    assert 0 < ours.temperature_celsius < 120 and 0 < ours.power_watts < 2000
