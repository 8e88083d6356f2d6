"""Opens vLLM: the one file that imports it. It runs in an environment of its own, which `make vllm-engine` makes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from services.inference.engine.features import lacking
from services.inference.engine.opening import EngineSettings
from services.inference.engine.protocol import EngineDied, Message, ModelInfo, Sampling, Work
from services.inference.engine.sizing import NoRoom, Place, context_of
from services.inference.engine.vllm_engine import URGENT_SEATS, Counters, VllmEngine
from services.inference.engine.vllm_quantized import UNKNOWN_LOSS, dtype_of, why_not
from services.inference.engine.vllm_room import KvRoom, architecture
from services.inference.engine.vllm_sampling import HAS
from services.inference.engine.vllm_thread import LlmThread
from services.inference.models.convert import Progress
from services.inference.models.prequantized import method
from services.inference.models.wheel import ModelUnavailable, missing

log = logging.getLogger(__name__)

LOGGING = Path(__file__).with_name("vllm_logging.json")
GROUP_TOKENS = 128  # of a sequence, that take room together: the larger of vLLM's blocks

# Read when vLLM is imported, here and in the processes that it starts.
_ALWAYS = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_CONFIG_PATH": str(LOGGING),  # ours: no exception's text, no warning that quotes a grammar
}
# vLLM's processes talk through files and sockets of this machine; with Ray their addresses are Ray's affair.
_ON_LOOPBACK = {"VLLM_HOST_IP": "127.0.0.1", "VLLM_LOOPBACK_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
# Of a request that was chosen vLLM's span becomes a child of ours. What it does for no request is nobody's trace.
_TRACING = {"OTEL_SERVICE_NAME": "inference", "OTEL_TRACES_SAMPLER": "parentbased_always_off"}


def settle_environment(settings: EngineSettings, home: Path, environ: MutableMapping[str, str] = os.environ) -> None:
    """What vLLM is told by variables. A cache's place and the cores are kept where an operator has set them."""
    environ.update(_ALWAYS)
    if settings.parallel_backend != "ray":
        environ.update(_ON_LOOPBACK)
    environ.setdefault("VLLM_CACHE_ROOT", str(home.absolute() / "vllm"))  # of compiled code
    if settings.traces_address:
        environ.update(_TRACING)
        environ["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] = f"authorization=Bearer%20{settings.traces_token}"
    if cores := bound_cores(settings, sorted(os.sched_getaffinity(0))):
        environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", cores)


def bound_cores(settings: EngineSettings, cores: Sequence[int]) -> str:
    """On a CPU: which cores compute, by rank. Empty: vLLM's own choice, which for one rank is all but one core."""
    ranks, cores = settings.tensor_parallel * settings.pipeline_parallel, cores[: settings.threads or None]
    if (ranks == 1 and not settings.threads) or len(cores) < ranks:
        return ""
    each = len(cores) // ranks
    return "|".join(",".join(map(str, cores[rank * each : (rank + 1) * each])) for rank in range(ranks))


def open_vllm_engine(settings: EngineSettings, home: Path, progress: Progress) -> VllmEngine:
    """Raises ModelUnavailable or ValueError, whose message says what to do."""
    if settings.quantization != "none":
        raise ValueError("quantization must be none for the engine vllm: a checkpoint that is quantized loads as it is")
    settle_environment(settings, home)
    try:
        opened = _Opening(settings, home, progress)
    except OSError as error:
        raise ModelUnavailable(missing(settings.model, hub=settings.hub)) from error
    try:
        return _tried(opened.engine(LlmThread(opened.llm)))
    except ModelUnavailable:
        raise
    except Exception as error:  # of another process: what it was stands in the log above
        raise ModelUnavailable(
            f"vLLM cannot open {settings.model!r} ({type(error).__name__}): its own log lines say why; most often "
            "memory is short (lower slots, context_tokens or kv_memory_share) or the model is of a kind that it does "
            f"not know{why_not(opened.quantized, opened.device.type)}"
        ) from error


def _tried(engine: VllmEngine) -> VllmEngine:
    """It makes a token: what vLLM has no kernel for ends its process at the first step, which is not to be a caller's.
    Raises EngineDied."""
    asked = Sampling(temperature=0.0, max_tokens=1)
    try:
        engine.admit(Work(request_id="start", messages=(Message(role="user", content="."),), sampling=asked))
        while engine.live():
            if any(output.failure for output in engine.step()):
                raise EngineDied
    except EngineDied:
        engine.close()
        raise
    return engine


class _Opening:
    """Everything about one model, gathered before vLLM is asked to load it."""

    def __init__(self, settings: EngineSettings, home: Path, progress: Progress) -> None:
        from transformers import AutoConfig, AutoTokenizer

        from services.inference.models.device import choose_device, choose_dtype
        from services.inference.models.loading import ModelSource, locate, model_name
        from services.inference.models.prompt import Prompt

        self.settings = settings
        self.files = locate(ModelSource(model=settings.model), home, progress)
        if self.files and self.files.gguf:
            raise ModelUnavailable("the vllm engine reads safetensors, and this is a GGUF file: name a model's folder")
        self.where = str(self.files.folder) if self.files else settings.model
        self.name = model_name(settings.model)
        shared = {"revision": settings.revision or None, "local_files_only": not settings.hub}
        self.config: Any = AutoConfig.from_pretrained(self.where, **shared)
        self.prompt = Prompt(AutoTokenizer.from_pretrained(self.where, **shared))
        self.device = choose_device(settings.device)
        self.quantized = method(self.config)
        plain = str(choose_dtype(settings.dtype, self.device)).removeprefix("torch.")
        self.dtype = dtype_of(self.quantized, settings.dtype, plain)
        self.context = context_of(settings.context_tokens, int(getattr(self.config, "max_position_embeddings", 0)))
        self.counters = Counters()
        progress(f"model: vLLM loads {self.name} in {self.dtype} on {self.device.name}")

    async def llm(self) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._llm: Any = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**self.arguments()), stat_loggers=[partial(_counting(), self.counters)]
        )
        return self._llm

    def arguments(self) -> dict[str, Any]:
        """Of AsyncEngineArgs."""
        settings = self.settings
        on_cpu = self.device.type == "cpu"
        room: dict[str, Any] = {"gpu_memory_utilization": settings.gpu_memory_utilization}
        if on_cpu:
            room = {"kv_cache_memory_bytes": self._room().size}
        return {
            "model": self.where,
            "served_model_name": self.name,
            "revision": settings.revision or None,
            "tokenizer_revision": settings.revision or None,
            "dtype": self.dtype,
            "max_model_len": self.context,
            "max_num_seqs": settings.slots + URGENT_SEATS,
            "max_num_batched_tokens": settings.prefill_tokens or None,
            "tensor_parallel_size": settings.tensor_parallel,
            "pipeline_parallel_size": settings.pipeline_parallel,
            "distributed_executor_backend": settings.parallel_backend or None,
            "scheduling_policy": "priority",
            "enable_prefix_caching": True,
            "structured_outputs_config": {"backend": "guidance"},
            "enforce_eager": not (settings.fused if on_cpu else settings.cuda_graphs),
            "enable_log_requests": False,
            "disable_log_stats": True,
            "otlp_traces_endpoint": f"http://{settings.traces_address}" if settings.traces_address else None,
            **room,
        }

    def _room(self) -> KvRoom:
        """On this machine; on a GPU vLLM measures for itself."""
        from services.inference.models.container import available_memory

        item = 4 if self.dtype == "float32" else 2
        shape = architecture(self.config.to_dict())
        parameters = shape.parameters if shape else 0
        groups = -(-self.context // GROUP_TOKENS) * GROUP_TOKENS
        room = KvRoom(
            free=available_memory() - (parameters * item or (self.files.size if self.files else 0)),
            share=self.settings.kv_memory_share,
            token_bytes=sum(shape.cached) * shape.layers * item if shape else 0,
            tokens=self.settings.slots * groups,
        )
        if room.token_bytes and room.size < self.context * room.token_bytes:
            memory = Place(name="memory", free=room.free, token_bytes=room.token_bytes, whole_slots=False)
            raise ModelUnavailable(str(NoRoom(memory, self.context)))
        return room

    def engine(self, thread: LlmThread) -> VllmEngine:
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        def as_vllm(ids: list[int], salt: str, sampling: Mapping[str, Any]) -> tuple[Any, Any]:
            structured = sampling["structured_outputs"]
            params = SamplingParams(
                **{**sampling, "structured_outputs": structured and StructuredOutputsParams(**structured)},
                detokenize=False,
                output_kind=RequestOutputKind.DELTA,
                skip_clone=True,
            )
            return tokens_input(ids, cache_salt=salt), params

        cache = self._llm.vllm_config.cache_config
        info = self._info()
        log.info(
            "model %s: %s on %s (%s), attention %s (%s), %d slots of %d tokens, %d blocks of %d tokens of KV",
            *(info.name, info.dtype, info.device, info.device_reason, info.attention, info.attention_reason),
            *(self.settings.slots, self.context, cache.num_gpu_blocks, cache.block_size),
        )
        return VllmEngine(
            thread=thread,
            counters=self.counters,
            as_vllm=as_vllm,
            prompt=self.prompt,
            model=info,
            end_ids=self._end_ids(),
            slots=self.settings.slots,
            tokens=cache.kv_cache_size_tokens or cache.num_gpu_blocks * cache.block_size,
            block_tokens=cache.block_size,
        )

    def _end_ids(self) -> frozenset[int]:
        from transformers import GenerationConfig

        end = self.config.eos_token_id
        with suppress(OSError):  # a model need not have one
            end = GenerationConfig.from_pretrained(self.where, local_files_only=True).eos_token_id
        return frozenset([end] if isinstance(end, int) else end or ()) | self.prompt.end_ids

    def _info(self) -> ModelInfo:
        from vllm import __version__
        from vllm.platforms import current_platform

        from services.inference.models.convert import marker
        from services.inference.models.device import platform

        mark = marker(self.files.folder) if self.files else {}
        shape = architecture(self.config.to_dict())
        return ModelInfo(
            name=self.name,
            revision=self.settings.revision or str(mark.get("revision", "")),
            digest=str(mark.get("source_sha256", "")),
            template_digest=self.prompt.template_digest,
            dtype=self.dtype,
            device=current_platform.device_type,
            device_reason=self.device.reason,
            attention="vllm",
            attention_reason="vLLM chooses it",
            context_tokens=self.context,
            parameters=shape.parameters if shape else 0,
            vocabulary=min(self.prompt.tokens, self.config.vocab_size),
            lacks=lacking(HAS),
            version=__version__,
            platform=platform(self.device),
            quantization=self.quantized,
            quantization_loss=UNKNOWN_LOSS if self.quantized else "",
        )


def _counting() -> Callable[..., Any]:
    """The class, made where vLLM can be imported."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class StepCounts(StatLoggerBase):  # type: ignore[misc, unused-ignore]
        """vLLM's interface for those who count: told of every step."""

        def __init__(self, counters: Counters, vllm_config: Any, engine_index: int = 0) -> None:
            self._counters = counters

        def log_engine_initialized(self) -> None:
            """Nothing to say: the opening tells."""

        def record(self, scheduler_stats: Any, iteration_stats: Any, *more: Any, **named: Any) -> None:
            count(self._counters, scheduler_stats, iteration_stats)

    return StepCounts


def count(counters: Counters, scheduler: Any, iteration: Any) -> None:
    """Adds what vLLM says of one step; either may be None."""
    counters.steps += 1
    if scheduler is not None:
        counters.prefix_asked += scheduler.prefix_cache_stats.queries
        counters.prefix_found += scheduler.prefix_cache_stats.hits
    if iteration is not None:
        prompts = iteration.prompt_token_stats
        counters.prompt_tokens += prompts.computed
        counters.output_tokens += iteration.num_generation_tokens
        counters.computed_tokens += prompts.computed + iteration.num_generation_tokens
        counters.preempted += iteration.num_preempted_reqs
