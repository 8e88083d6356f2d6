"""Opens the engine that a setting names. Imports a model library only when that engine needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TypeVar

from services.inference.engine import quantization
from services.inference.engine.protocol import Engine
from services.inference.engine.seat import CANDIDATES
from services.inference.models.hub import settle_hub
from services.inference.models.placement import device_map
from services.inference.models.wheel import NAME as DEFAULT_MODEL

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """Which model, and how much of the machine it may take."""

    engine: str = "torch"  # one of CANDIDATES
    model: str = DEFAULT_MODEL  # a name under HOME/models, a transformers folder, or a hub id
    revision: str = ""  # of a hub id
    dtype: str = "auto"  # auto: float32 on CPU, bfloat16 on a GPU
    quantization: str = "none"  # weights in fewer bits, where the engine and the device can
    device: str = "auto"
    device_map: str = ""  # as in transformers: a word, such as auto, or a JSON object by layer
    hub: bool = False  # may a missing model be fetched from the hub?
    slots: int = 16  # requests at once; fewer if a GPU's memory does not hold them
    context_tokens: int = 2048  # of prompt and answer together; 0 = all that the model knows
    kv_memory_share: float = 0.5  # of the memory still free when the weights are loaded: the KV arena, in tokens
    fused: bool = True  # on a CPU: run the layers of models that we know fused; False runs transformers' own
    guess_rows: int = 4  # with so many decoding or fewer, tokens are guessed by prompt lookup; 0 = never
    cuda_graphs: bool = True  # on a GPU: replay recorded decode passes; False launches each kernel
    threads: int = 0  # 0 = the cores that this container may use
    step_target_ms: int = 200  # a step stays under 250 ms: the target leaves room for what was not foreseen
    prefill_tokens: int = 0  # of a prompt in one step; 0 = as many as the target allows, learned as it runs
    environments: str = ""  # folder of engines' own environments; empty: .cache/engines beside the suite
    tensor_parallel: int = 1  # vllm: GPUs that share every layer
    pipeline_parallel: int = 1  # vllm: such groups that take the layers in turn
    parallel_backend: str = ""  # vllm: mp, or ray for several nodes; empty: vLLM's own choice
    gpu_memory_utilization: float = 0.9  # vllm: of each GPU, for weights, activations and KV cache together
    traces_address: str = ""  # vllm: where its own spans of a request go, OTLP over gRPC; empty: nowhere
    traces_token: str = field(default="", repr=False)  # what the receiver knows this service by

    def __post_init__(self) -> None:
        device_map(self.device_map)  # raises what it must be
        for name, ok, bound in (
            ("engine", self.engine in CANDIDATES, f"one of {', '.join(CANDIDATES)}"),
            ("quantization", self.quantization in quantization.NAMES, f"one of {', '.join(quantization.NAMES)}"),
            ("slots", 1 <= self.slots <= 1024, "1 to 1024"),
            ("context_tokens", self.context_tokens >= 0, "0 (all that the model knows) or more"),
            ("kv_memory_share", 0 < self.kv_memory_share <= 0.95, "above 0, at most 0.95"),
            ("guess_rows", self.guess_rows >= 0, "0 (no guesses) or more"),
            ("threads", self.threads >= 0, "0 (as many as cores) or more"),
            ("prefill_tokens", self.prefill_tokens >= 0, "0 (learned) or more"),
            ("tensor_parallel", self.tensor_parallel >= 1, "1 or more"),
            ("pipeline_parallel", self.pipeline_parallel >= 1, "1 or more"),
            ("parallel_backend", self.parallel_backend in ("", "mp", "ray"), "mp, ray, or unset"),
            ("gpu_memory_utilization", 0 < self.gpu_memory_utilization <= 0.98, "above 0, at most 0.98"),
            ("step_target_ms", 10 <= self.step_target_ms <= 10_000, "10 to 10000"),
        ):
            if not ok:
                raise ValueError(f"{name} must be {bound}")


def open_engine(settings: EngineSettings, home: Path, progress: Callable[[str], None] | None = None) -> Engine:
    """Raises ModelUnavailable or ValueError, whose message says what to do."""
    candidate = CANDIDATES[settings.engine]
    if candidate.needs:
        settle_hub(settings.hub)

    def open_it() -> Engine:
        return candidate.open(settings, home, progress or _to_stderr)

    return on_passing_thread(open_it) if candidate.computes else open_it()


def on_passing_thread(action: Callable[[], T]) -> T:
    """Runs it on a thread that is gone afterwards, and waits.

    A thread that computed keeps OpenMP's workers for as long as it lives. With those of the engine's own thread they
    are more than the cores, and OpenMP then lets them all sleep between two operators (measured: 205 tokens/s, 327
    without the others).
    """
    done: Future[T] = Future()
    thread = Thread(target=_settle, args=(done, action), name="opening", daemon=True)
    thread.start()
    thread.join()
    return done.result()


def _settle(done: Future[T], action: Callable[[], T]) -> None:
    try:
        done.set_result(action())
    except BaseException as error:
        done.set_exception(error)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
