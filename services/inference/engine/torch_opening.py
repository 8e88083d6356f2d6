"""Opens the torch engine: model, attention, linear layers, and a KV arena that fits into memory."""

from __future__ import annotations

import importlib.util
import logging
import secrets
import time
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from services.inference.engine import torch_dense
from services.inference.engine.batch import Segment
from services.inference.engine.budget import PrefillBudget
from services.inference.engine.opening import EngineSettings
from services.inference.engine.prefix import BLOCK_TOKENS, PrefixCache, PrefixIndex
from services.inference.engine.protocol import ModelInfo
from services.inference.engine.quantization import NONE, Mode, choose, possible
from services.inference.engine.scheduler import Scheduler
from services.inference.engine.sizing import NoRoom, Place, context_of, kv_sizes
from services.inference.engine.torch_adapters import AdapterSet, Shape
from services.inference.engine.torch_attention import AttentionChoice, choose_attention, install
from services.inference.engine.torch_codes import CodesRead, Source
from services.inference.engine.torch_engine import TorchEngine
from services.inference.engine.torch_graphs import record_decoding, sizes
from services.inference.engine.torch_linear import Packing, replace_linears
from services.inference.engine.torch_mla import absorb
from services.inference.engine.torch_moe import separate_rows
from services.inference.engine.torch_prefix import BlockStore
from services.inference.engine.torch_probe import Probe, agrees, probed
from services.inference.engine.torch_quantized import packing_of, quantize
from services.inference.engine.torch_runner import ModelRunner, Runner
from services.inference.engine.torch_slots import SlotCache, give_back_freed
from services.inference.engine.torch_windows import Masks
from services.inference.models.container import available_cores
from services.inference.models.convert import Progress
from services.inference.models.cuda import capability
from services.inference.models.device import Device, choose_device, free_memory, platform
from services.inference.models.loading import LoadedModel, ModelSource, load
from services.inference.models.wheel import ModelUnavailable

log = logging.getLogger(__name__)

_WARM_ROWS = 16  # on a CPU: more of them write to more of the cache than a first request needs
_WARM_CHUNKS = (8, 16, 32, 64, 128, 256, 384, 512)  # tokens: a matrix product takes another kernel by their number


def open_torch_engine(settings: EngineSettings, home: Path, progress: Progress) -> TorchEngine:
    torch.set_num_threads(settings.threads or available_cores())
    device = choose_device(settings.device)
    mode, of_gpu = _chosen(settings.quantization, device, settings.dtype), capability(device.name)
    if mode and of_gpu:
        log.info("quantization %s by %s: compute capability %d.%d is enough", mode.name, mode.package, *of_gpu)
    source = ModelSource(
        model=settings.model,
        revision=settings.revision,
        dtype=settings.dtype,
        auto_dtype=mode.dtypes[0] if mode else "auto",
        device=settings.device,
        device_map=settings.device_map,
        hub=settings.hub,
        modes=(NONE, *(each.name for each in possible(device.type, settings.dtype, of_gpu))),
        gpu_mode=mode.name if mode and mode.kind != "cpu" else "",
    )
    try:
        engine = assemble(load(source, home, progress), settings, warm=True)
    except torch.OutOfMemoryError as full:
        raise ModelUnavailable(
            "the GPU's memory does not hold this model and its KV cache: free it, take a smaller model or dtype, "
            "or lower slots, context_tokens or kv_memory_share"
        ) from full
    give_back_freed()
    return engine


def assemble(
    loaded: LoadedModel,
    settings: EngineSettings,
    *,
    warm: bool = False,
    probe: Probe | None = None,
    source: Source | None = None,
) -> TorchEngine:
    """An engine around a model that is already in memory. Changes the model's layers in place.

    `warm`: on a CPU, too, what the first passes of a kind take longer is spent now. `probe`, if it was made before.
    `source` of the codes of a quantized model, if they are not just made.
    """
    adapters = AdapterSet(Shape.of(loaded.model, loaded.name))  # the layers' shapes, before they are fused
    mode = _mode(loaded, settings)
    probe = probe or probed(loaded, watch=mode is not None and mode.kind == "cpu")
    attention, token_bytes = _attention(loaded, probe), probe.token_bytes
    context = context_of(settings.context_tokens, int(getattr(loaded.model.config, "max_position_embeddings", 0)))
    slot = -(-context // attention.view_tokens) * attention.view_tokens  # tokens; whole views
    slots, arena, kept = _sizes(settings, slot, token_bytes)
    cache = SlotCache(loaded.model.config.num_hidden_layers, slots, slot)
    runner = _runner(loaded, settings, mode, source, cache, attention, slot)
    if loaded.device.type == "cpu":
        agrees(runner, loaded, probe, mode)
    budget = PrefillBudget(settings.step_target_ms * 1_000_000, fixed=settings.prefill_tokens)
    if isinstance(runner, ModelRunner) and loaded.device.type != "cpu":
        _warm_up(runner, budget, slots=slots, context=slot)
        # What a library's quantized product does beside its kernels is not known to be the same at each replay.
        recordable = mode is None and set(token_bytes) == {loaded.model.device} and torch.version.cuda
        if settings.cuda_graphs and recordable:
            runner.graphs = record_decoding(runner.one_each, slots=slots, context=slot, device=loaded.model.device)
    elif warm:
        _warm_up_cpu(
            runner, budget, rows=min(slots, _WARM_ROWS), context=slot, target_ns=settings.step_target_ms * 10**6
        )
    info = _info(loaded, runner, attention, context, mode)
    log.info(
        "model %s: %s on %s (%s), attention %s (%s), %d slots of %d tokens, %d tokens of KV in all, %d MiB at most",
        *(info.name, info.dtype, info.device, info.device_reason, info.attention, info.attention_reason),
        *(slots, context, arena, arena * sum(token_bytes.values()) >> 20),
    )
    return TorchEngine(
        runner=runner,
        cache=cache,
        prompt=loaded.prompt,
        model=info,
        end_ids=loaded.end_ids,
        scheduler=Scheduler(slots=slots, tokens=arena, grain=min(probe.page_tokens, context)),
        adapters=adapters,
        prefix=_prefix(cache, kept // BLOCK_TOKENS),
        budget=budget,
        guess_rows=settings.guess_rows,
        clock_ns=time.monotonic_ns,
    )


def _attention(loaded: LoadedModel, probe: Probe) -> AttentionChoice:
    return choose_attention(
        device_type=loaded.device.type,
        dtype=loaded.dtype,
        same_head_sizes=probe.same_head_sizes,
        sliding=Masks(loaded.model.config).sliding,
        flash_attn=importlib.util.find_spec("flash_attn") is not None,
    )


def _runner(
    loaded: LoadedModel,
    settings: EngineSettings,
    mode: Mode | None,
    source: Source | None,
    cache: SlotCache,
    attention: AttentionChoice,
    context: int,
) -> Runner:
    """On a CPU fused where the model's layers are known; else transformers' own forward pass."""
    name = mode.name if mode and mode.kind == "cpu" else ""
    packing = packing_of(name, CodesRead(loaded.saved.codes) if loaded.saved else source)
    if mode:
        log.info("quantization %s, expected: %s", mode.name, mode.loss)
    if loaded.device.type == "cpu":
        obstacle = _obstacle(loaded, settings, packing_of(name))
        log.info("layers: %s", f"transformers' own, {obstacle}" if obstacle else "fused")
        if not obstacle:
            return torch_dense.DenseDecoder(loaded.model, cache, context=context, packing=packing)
    install(attention)
    attention = absorb(loaded.model, attention, exact=loaded.device.type == "cpu" and loaded.dtype == torch.float32)
    if name:
        separate_rows(loaded.model)
        log.info("quantized: %s", quantize(loaded.model, packing, saved=loaded.saved is not None))
    elif _offloaded(loaded.model):
        log.warning("layers are offloaded to disk: each pass reads them, and batch mates may change the last bits")
    elif loaded.device.type == "cpu":
        log.info("linear layers: %s, expert layers: %d", replace_linears(loaded.model), separate_rows(loaded.model))
    loaded.model.set_attn_implementation(attention.implementation)
    return ModelRunner(loaded.model, cache, attention, context=context)


def _mode(loaded: LoadedModel, settings: EngineSettings) -> Mode | None:
    asked = settings.quantization
    if loaded.saved:
        if asked not in (NONE, loaded.saved.facts.mode):
            raise ValueError(
                f"quantization must be {loaded.saved.facts.mode} or {NONE} for {loaded.name}: it is saved so"
            )
        asked = loaded.saved.facts.mode
    if loaded.device.type != "cpu" and asked not in (NONE, loaded.gpu_mode):
        raise ValueError(f"quantization must be {loaded.gpu_mode or NONE} for {loaded.name}: it was loaded so")
    return _chosen(asked, loaded.device, str(loaded.dtype).removeprefix("torch."))


def _chosen(asked: str, device: Device, dtype: str) -> Mode | None:
    return choose(asked, device_type=device.type, dtype=dtype, capability=capability(device.name))


def _obstacle(loaded: LoadedModel, settings: EngineSettings, tried: Packing) -> str:
    if not settings.fused:
        return "the setting fused is off"
    if loaded.saved:
        return "" if loaded.saved.facts.fused else "as it was when it was quantized"
    return torch_dense.obstacle(loaded.model, tried)


def _offloaded(model: nn.Module) -> bool:
    """Some weights come into memory only for their layer's turn."""
    return any(parameter.device.type == "meta" for parameter in model.parameters())


def _warm_up(runner: ModelRunner, budget: PrefillBudget, *, slots: int, context: int) -> None:
    """For a GPU: the cache takes its memory now, and kernels are loaded before a request has to wait for them.

    The budget starts with what a long chunk costs once that is done: it cannot learn that from the first short one.
    """
    for tokens in tqdm([size for size in _WARM_CHUNKS if size <= context], "warm-up", disable=None):
        for _ in range(2):
            began = time.monotonic_ns()
            runner.chunk([0] * tokens, slot=0, start=0)
            torch.accelerator.synchronize(runner.device)
            took = time.monotonic_ns() - began
    budget.stepped(tokens, took, prompt=False)
    for rows in tqdm(list(sizes(slots)), "warm-up of decode", disable=None):  # no bar where there is no terminal
        nothing = torch.zeros(2, rows, 1, dtype=torch.long, device=runner.device)
        runner.one_each(*nothing, first=0, view=context)
    torch.accelerator.synchronize(runner.device)


def _warm_up_cpu(runner: Runner, budget: PrefillBudget, *, rows: int, context: int, target_ns: int) -> None:
    """oneDNN makes a kernel for each number of rows that it meets. And the budget learns what steps cost here.

    Of a large model, for which a chunk of a few tokens takes a whole step, only those few are tried.
    """
    shapes = [[Segment(slot, 0, [0]) for slot in range(count)] for count in sizes(rows)]
    shapes += [[Segment(0, 0, [0] * tokens)] for tokens in _WARM_CHUNKS if tokens <= context]
    for segments in tqdm(shapes, "warm-up", disable=None):
        runner.run(segments)
        began = time.monotonic_ns()
        runner.run(segments)
        took = time.monotonic_ns() - began
        budget.stepped(sum(len(segment.ids) for segment in segments), took, prompt=False)
        if took > target_ns:
            return


def _prefix(cache: SlotCache, places: int) -> PrefixCache | None:
    index = PrefixIndex(secrets.token_bytes(32), places)
    return PrefixCache(index, BlockStore(cache, places)) if places else None


def _sizes(settings: EngineSettings, slot: int, token_bytes: dict[torch.device, int]) -> tuple[int, int, int]:
    """Slots, tokens of KV for all of them together, and tokens of kept prefixes."""
    places = [
        Place(name=str(device), free=free_memory(device), token_bytes=taken, whole_slots=device.type != "cpu")
        for device, taken in token_bytes.items()
    ]
    try:
        found = kv_sizes(places, slots=settings.slots, slot=slot, share=settings.kv_memory_share)
    except NoRoom as short:
        raise ModelUnavailable(str(short)) from None
    return found.slots, found.arena, found.kept


def _info(
    loaded: LoadedModel, runner: Runner, attention: AttentionChoice, context: int, mode: Mode | None
) -> ModelInfo:
    return ModelInfo(
        name=loaded.name,
        revision=loaded.revision,
        digest=loaded.digest,
        template_digest=loaded.prompt.template_digest,
        dtype=str(loaded.dtype).removeprefix("torch."),
        device=str(runner.embedding.device),
        device_reason=loaded.device.reason,
        attention=attention.name,
        attention_reason=attention.reason,
        context_tokens=context,
        parameters=loaded.parameters,
        quantization=mode.name if mode else "",
        quantization_loss=mode.loss if mode else "",
        platform=platform(loaded.device),
        batch_invariant=_batch_invariant(loaded, mode),
        vocabulary=min(loaded.prompt.tokens, loaded.model.config.vocab_size),
    )


def _batch_invariant(loaded: LoadedModel, mode: Mode | None) -> bool:
    """As docs/models.md promises: in float32, with whole weights or int8 codes, all of them in memory."""
    whole = loaded.dtype == torch.float32 and not _offloaded(loaded.model)
    return whole and (mode is None or (mode.name == "int8" and loaded.device.type == "cpu"))
