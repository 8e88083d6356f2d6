"""Quantizes a model once and saves it, so that later starts read codes and no weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from services.inference.engine.opening import EngineSettings
from services.inference.engine.quantization import ON_CPU, choose
from services.inference.engine.torch_codes import CodesKept
from services.inference.engine.torch_dense import DenseDecoder
from services.inference.engine.torch_opening import assemble
from services.inference.engine.torch_probe import probed
from services.inference.engine.torch_quantized import plain_state
from services.inference.models.container import available_cores
from services.inference.models.convert import Progress
from services.inference.models.loading import ModelSource, load, locate
from services.inference.models.saved import Facts, write


def save_quantized(settings: EngineSettings, home: Path, target: str, progress: Progress) -> Path:
    """To HOME/models/`target`, tried as a start tries it. Raises ModelUnavailable or ValueError."""
    torch.set_num_threads(settings.threads or available_cores())
    mode = choose(settings.quantization, device_type="cpu", dtype=settings.dtype)
    if mode is None:
        raise ValueError("quantization must be one that there is something to save of, not none")
    source = ModelSource(
        model=settings.model, dtype=settings.dtype, auto_dtype=mode.dtypes[0], device="cpu", modes=ON_CPU
    )
    files = locate(source, home, progress)
    if files is None or files.gguf:
        raise ValueError("model must be a transformers folder, under HOME/models or by its path")
    loaded = load(source, home, progress)
    if loaded.saved:
        raise ValueError(f"model must be one that is not quantized yet: {loaded.name} is")
    probe, plain, kept = probed(loaded, watch=True), plain_state(loaded.model), CodesKept()
    progress(f"model: quantizing to {mode.name} ({mode.loss})")
    engine = assemble(loaded, replace(settings, slots=1), probe=probe, source=kept)
    told = Facts(
        mode=mode.name,
        dtype=str(loaded.dtype).removeprefix("torch."),
        fused=isinstance(engine._runner, DenseDecoder),
        token_bytes=probe.token_bytes[torch.device("cpu")],
        page_tokens=probe.page_tokens,
        same_head_sizes=probe.same_head_sizes,
        parameters=loaded.parameters,
        revision=loaded.revision,
        digest=loaded.digest,
    )
    folder = home / "models" / target
    write(folder, files.folder, told, codes=kept.tensors, plain=plain, logits=probe.logits)
    progress(f"model: saved in {folder}")
    return folder
