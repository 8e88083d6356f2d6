"""What an inference worker can be told."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from chassis.settings import HTTP_OFFSET, PORT_OFFSETS, StackSettings
from services.inference.engine.opening import EngineSettings
from services.inference.worker.prefix_scope import PREFIX_SCOPES
from streams.keys import BUCKETS, MOST_BUCKETS

WORKER_PORTS = 20  # worker k ≥ 1 has base + 20 + 2k, and HTTP on the next port


@dataclass(frozen=True, kw_only=True)
class InferenceSettings(StackSettings):
    """STRONGROOM_INFERENCE_<NAME>, and the shared ones."""

    worker: int = 0  # which of this machine's workers: gives the ports and, with `host`, the seat
    host: str = ""  # tells the seats of several machines apart; auto: by this machine's, or container's, name
    engine: str = "torch"  # or openvino, vllm; or echo, which answers with the question
    revision: str = ""  # of a hub id
    dtype: str = "auto"
    quantization: str = "none"  # int8, int4, nf4, or fp8 on a GPU: weights in fewer bits
    device: str = "auto"
    device_map: str = ""
    hub: bool = False  # may a missing model be fetched from the hub?
    slots: int = 16
    context_tokens: int = 2048
    kv_memory_share: float = 0.5
    fused: bool = True  # on a CPU: run the layers of models that we know fused; False runs transformers' own
    guess_rows: int = 4  # with so many decoding or fewer, tokens are guessed by prompt lookup; 0 = never
    prefix_scope: str = "tenant"  # whose prompts may share what was computed of them: a tenant's, a caller's, or off
    cuda_graphs: bool = True  # on a GPU: replay recorded decode passes; False launches each kernel
    threads: int = 0  # 0 = the cores that this container may use
    step_target_ms: int = 200
    prefill_tokens: int = 0  # 0 = learned
    tensor_parallel: int = 1  # vllm: GPUs that share every layer
    pipeline_parallel: int = 1  # vllm: such groups that take the layers in turn
    parallel_backend: str = ""  # vllm: mp, or ray for several nodes; unset: vLLM's own choice
    gpu_memory_utilization: float = 0.9  # vllm: of each GPU, for weights, activations and KV cache together
    environments: str = ""  # folder of engines' own environments; empty: .cache/engines beside the suite
    max_steps_per_second: float = 0.0  # 0 = as fast as it goes; paces the echo engine in load and fault tests
    tenant_buckets: int = BUCKETS  # that the tenants of a class share the model by; gateways follow
    lease_seconds: float = 5.0  # after this a silent worker's requests go on elsewhere
    stall_seconds: float = 30.0  # an engine that steps no more loses its leases after this
    audit_address: str = ""  # where it is recorded who loads and unloads adapters; unset means the stack's own
    drain_seconds: float = 20.0  # what runs may end within this after SIGTERM; the rest is handed back

    def check(self) -> list[str]:
        problems = []
        if self.prefix_scope not in PREFIX_SCOPES:
            problems.append(f"STRONGROOM_INFERENCE_PREFIX_SCOPE: must be one of {', '.join(PREFIX_SCOPES)}")
        for name, low, high in (
            ("worker", 0, 63),
            ("max_steps_per_second", 0, 1_000_000),
            ("tenant_buckets", 1, MOST_BUCKETS),
            ("lease_seconds", 0.5, 600),
            ("stall_seconds", 1, 3600),
            ("drain_seconds", 0, 3600),
        ):
            if not low <= getattr(self, name) <= high:
                problems.append(f"STRONGROOM_INFERENCE_{name.upper()}: must be {low} to {high}")
        try:
            self.engine_settings()
        except ValueError as wrong:
            field, _, bound = str(wrong).partition(" ")
            problems.append(f"STRONGROOM_INFERENCE_{field.upper()}: {bound}")
        return problems

    def engine_settings(self) -> EngineSettings:
        return EngineSettings(
            engine=self.engine,
            revision=self.revision,
            dtype=self.dtype,
            quantization=self.quantization,
            device=self.device,
            device_map=self.device_map,
            hub=self.hub,
            slots=self.slots,
            context_tokens=self.context_tokens,
            kv_memory_share=self.kv_memory_share,
            fused=self.fused,
            guess_rows=self.guess_rows,
            cuda_graphs=self.cuda_graphs,
            threads=self.threads,
            step_target_ms=self.step_target_ms,
            prefill_tokens=self.prefill_tokens,
            tensor_parallel=self.tensor_parallel,
            pipeline_parallel=self.pipeline_parallel,
            parallel_backend=self.parallel_backend,
            gpu_memory_utilization=self.gpu_memory_utilization,
            environments=self.environments,
            **({"model": self.model} if self.model else {}),
        )

    @property
    def audit(self) -> str:
        return self.audit_address or self.address("audit")

    @property
    def seat(self) -> str:
        """Stable over restarts: a new process takes up what the last one on this seat held."""
        host = socket.gethostname() if self.host == "auto" else self.host
        return f"{host}-worker-{self.worker}" if host else f"worker-{self.worker}"

    @property
    def own_address(self) -> str:
        return f"{self.bind}:{self._port}"

    @property
    def own_http_address(self) -> str:
        return f"{self.bind}:{self._port + (1 if self.worker else HTTP_OFFSET)}"

    @property
    def _port(self) -> int:
        return self.port_base + (WORKER_PORTS + 2 * self.worker if self.worker else PORT_OFFSETS["inference"])
