"""Opens the openvino engine: a converted model, its process, and a cache and steps that fit this machine."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.inference.engine.features import lacking
from services.inference.engine.opening import EngineSettings
from services.inference.engine.openvino_engine import OpenVinoEngine
from services.inference.engine.openvino_pipeline import Opening, PipelineProcess
from services.inference.engine.openvino_sampling import HAS
from services.inference.engine.protocol import ModelInfo
from services.inference.engine.scheduler import Scheduler
from services.inference.engine.seat import CANDIDATES, Progress
from services.inference.engine.sizing import NoRoom, Place, context_of, kv_sizes
from services.inference.models.container import available_cores, available_memory
from services.inference.models.openvino import WEIGHTS, Converted, find, folder_of
from services.inference.models.prompt import Prompt
from services.inference.models.wheel import ModelUnavailable
from services.inference.planning.architecture import ConfigUnreadable, read

log = logging.getLogger(__name__)

BLOCK_TOKENS = {"CPU": 32, "GPU": 16}  # of its paged cache, by device
PREFILL_TOKENS = 256  # in a step, at most and at first: what it has by itself
_LEAST_PREFILL = 32
_TRIALS = 4
_HOPELESS = 8
_SLOW = 1.25  # a step so many times its target is too long
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Of what is held and of one step."""

    slots: int
    arena: int  # tokens of KV for all slots together
    step: int  # tokens of one step, of prompts and of rows that decode


def open_openvino_engine(settings: EngineSettings, home: Path, progress: Progress) -> OpenVinoEngine:
    device, properties = _device(settings)
    if settings.quantization not in WEIGHTS:
        raise ValueError(f"quantization must be {' or '.join(WEIGHTS)} for the engine openvino")
    model = _converted(settings, home)
    python, why = CANDIDATES["openvino"].interpreter(settings.environments)
    log.info("openvino-genai runs with the Python of %s", why)
    progress(f"model: loading {model.folder.name}, {model.bytes >> 20} MiB")
    began, process = time.monotonic(), PipelineProcess(python)
    try:
        engine = _assemble(settings, model, process, device, properties)
    except BaseException:
        process.close()
        raise
    progress(f"model: loaded in {time.monotonic() - began:.1f} s")
    return engine


def _assemble(
    settings: EngineSettings, model: Converted, process: PipelineProcess, device: str, properties: dict[str, Any]
) -> OpenVinoEngine:
    config = json.loads((model.folder / "config.json").read_text())
    prompt = Prompt(_tokenizer(model.folder))
    context = context_of(settings.context_tokens, int(config.get("max_position_embeddings") or 0))
    block = BLOCK_TOKENS[device.partition(".")[0]]

    def opening(shape: Shape) -> Opening:
        """A block more for each slot: what is cancelled leaves the cache only at the end of the next step, and until
        then a row that enters must have room for a token."""
        blocks = -(-shape.arena // block) + shape.slots
        scheduling = {
            "num_kv_blocks": blocks, "max_num_batched_tokens": shape.step, "max_num_seqs": shape.slots,
            "enable_prefix_caching": False, "dynamic_split_fuse": True,
        }  # fmt: skip
        return Opening(folder=model.folder, device=device, scheduling=scheduling, properties=properties)

    first = Shape(slots=1, arena=context, step=PREFILL_TOKENS)
    free = available_memory()
    process.open(opening(first))
    seconds = _chunk_seconds(process, min(PREFILL_TOKENS, context - 2), target=settings.step_target_ms / 1000)
    token_bytes = process.cache_bytes() // (-(-context // block) + 1) // block
    shape = _shape(settings, context, block, free=free - model.bytes, token_bytes=token_bytes, chunk_seconds=seconds)
    version = process.open(opening(shape))
    _chunk_seconds(process, min(shape.step, context - 2), target=60)  # what first passes take longer is spent now
    info = _info(model, config, prompt, device, context, version)
    log.info(
        "model %s: %s on %s, %d slots of %d tokens, %d tokens of KV in all, %d MiB at most, %d tokens in a step",
        *(info.name, info.dtype, info.device, shape.slots, context, shape.arena, shape.arena * token_bytes >> 20),
        shape.step,
    )
    return OpenVinoEngine(
        pipeline=process,
        prompt=prompt,
        model=info,
        end_ids=_end_ids(model.folder) | prompt.end_ids,
        scheduler=Scheduler(slots=shape.slots, tokens=shape.arena, grain=min(block, context)),
    )


def _shape(
    settings: EngineSettings, context: int, block: int, *, free: int, token_bytes: int, chunk_seconds: float
) -> Shape:
    slot = -(-context // block) * block
    place = Place(name="memory", free=free, token_bytes=max(token_bytes, 1), whole_slots=False)
    try:
        found = kv_sizes([place], slots=settings.slots, slot=slot, share=settings.kv_memory_share)
    except NoRoom as short:
        raise ModelUnavailable(str(short)) from None
    arena = min(found.arena + found.kept, settings.slots * slot)  # no prefixes are kept
    return Shape(
        slots=found.slots, arena=arena, step=step_tokens(settings, chunk_seconds, tokens=min(PREFILL_TOKENS, context))
    )


def step_tokens(settings: EngineSettings, chunk_seconds: float, *, tokens: int) -> int:
    """How many a step may carry: fewer where a prompt's chunk of `tokens` took too long here. Rows that decode come
    first and take theirs out of it, so that there are always some left for a prompt."""
    if settings.prefill_tokens:
        return settings.slots + settings.prefill_tokens
    target = settings.step_target_ms / 1000
    fitting = PREFILL_TOKENS
    if chunk_seconds > _SLOW * target:
        fitting = int(tokens * target / chunk_seconds) // _LEAST_PREFILL * _LEAST_PREFILL
    return max(fitting, settings.slots + _LEAST_PREFILL)


def _chunk_seconds(process: PipelineProcess, tokens: int, *, target: float) -> float:
    """What a prompt of so many takes once kernels are made, when nothing else takes the cores: the least of some times,
    as soon as one is within the target. Nothing but another model makes one fast that is many times too slow."""
    asked = {"max_new_tokens": 1, "ignore_eos": True, "do_sample": False, "logprobs": 0}
    least = math.inf
    for number in range(1 + _TRIALS):
        began = time.monotonic()
        process.turn([(number, [0] * tokens, asked)], [])
        took = time.monotonic() - began
        if number:
            least = min(least, took)
        if least <= target or (number and took > _HOPELESS * target):
            break
    return least


def _converted(settings: EngineSettings, home: Path) -> Converted:
    name = Path(settings.model).name
    folder = folder_of(home / "models", name, settings.quantization)
    for place in (folder, folder_of(Path(settings.model).parent, name, settings.quantization)):
        if found := find(place):
            return found
    raise ModelUnavailable(
        f"{folder} has no model for the engine openvino: run make openvino NAME={settings.model} "
        f"QUANTIZATION={settings.quantization} STRONGROOM_HOME={home} (converts it, once)"
    )


def _device(settings: EngineSettings) -> tuple[str, dict[str, Any]]:
    """OpenVINO's name of it, and what its plugin is told. Raises ValueError, which names the bound."""
    device = "CPU" if settings.device == "auto" else settings.device.upper()
    if device.partition(".")[0] not in BLOCK_TOKENS:
        raise ValueError(
            f"device must be auto, cpu, gpu or gpu.N with the engine openvino, not {settings.device!r}: its continuous "
            "batching runs on no other"
        )
    if settings.device_map:
        raise ValueError("device_map must be unset with the engine openvino, which places the layers itself")
    if settings.dtype != "auto" and settings.dtype not in _HINTS:
        raise ValueError(f"dtype must be auto, {', '.join(_HINTS)} with the engine openvino")
    properties: dict[str, Any] = {}
    if device == "CPU":  # without it, the threads of a core count once; and those that sample would be the host's
        cores = settings.threads or available_cores()
        properties = {"INFERENCE_NUM_THREADS": cores, "sampler_num_threads": cores}
    if settings.dtype != "auto":
        properties["INFERENCE_PRECISION_HINT"] = _HINTS[settings.dtype]
    if settings.dtype == "float32":
        properties["KV_CACHE_PRECISION"] = "f32"
    return device, properties


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def _end_ids(folder: Path) -> frozenset[int]:
    try:
        end = json.loads((folder / "generation_config.json").read_text()).get("eos_token_id")
    except (OSError, ValueError):
        end = None
    return frozenset([end] if isinstance(end, int) else end or ())


def _info(
    model: Converted, config: dict[str, Any], prompt: Prompt, device: str, context: int, version: str
) -> ModelInfo:
    try:
        parameters = read(config).parameters
    except ConfigUnreadable:
        parameters = 0
    return ModelInfo(
        name=model.name,
        revision=model.revision,
        digest=model.source_sha256,
        template_digest=prompt.template_digest,
        dtype=f"{model.weights} weights",
        device=device,
        device_reason="as the setting device says",
        attention="paged",
        attention_reason="openvino-genai's own",
        context_tokens=context,
        parameters=parameters,
        vocabulary=min(prompt.tokens, int(config["vocab_size"])),
        lacks=lacking(HAS),
        version=version,
    )
