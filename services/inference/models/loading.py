"""Opens a model: the default one, a transformers folder, or a hub id where a setting allows it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from services.inference.models.convert import Progress, converted, marker, to_stderr
from services.inference.models.device import Device, choose_device, choose_dtype
from services.inference.models.prompt import Prompt
from services.inference.models.wheel import NAME, ModelUnavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Which model, and how to open it. `model` is a name under HOME/models, a folder, or a hub id."""

    model: str = NAME
    revision: str = ""
    dtype: str = "auto"
    device: str = "auto"
    device_map: str = ""  # as in transformers ("auto" spreads a model over GPUs); needs accelerate
    hub: bool = False  # may a missing model be fetched?


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    model: Any  # a transformers causal language model in eval mode
    prompt: Prompt
    name: str
    revision: str
    digest: str
    device: Device
    dtype: torch.dtype
    parameters: int

    @property
    def end_ids(self) -> frozenset[int]:
        end = self.model.generation_config.eos_token_id
        listed = [end] if isinstance(end, int) else list(end or ())
        return frozenset(listed) | self.prompt.end_ids


def load(source: ModelSource, home: Path, progress: Progress = to_stderr) -> LoadedModel:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    device = choose_device(source.device)
    dtype = choose_dtype(source.dtype, device)
    where = locate(source, home, progress)
    options = {"revision": source.revision or None, "local_files_only": not source.hub}
    placing = {"device_map": source.device_map} if source.device_map else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **_set(options))
        model: Any = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, **placing, **_set(options))
    except OSError as error:
        raise ModelUnavailable(_missing(source)) from error
    if not placing:
        model.to(device.name)
    mark = marker(Path(where))
    return LoadedModel(
        model=model.eval().requires_grad_(False),
        prompt=Prompt(tokenizer),
        name=source.model if not os.path.isdir(source.model) else Path(source.model).resolve().name,
        revision=source.revision or str(mark.get("revision", "")),
        digest=str(mark.get("source_sha256", "")),
        device=device,
        dtype=dtype,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def locate(source: ModelSource, home: Path, progress: Progress = to_stderr) -> str:
    """Local folders first; the default model is converted on first use."""
    if source.model == NAME:
        return str(converted(home, progress))
    for folder in (home / "models" / source.model, Path(source.model)):
        if (folder / "config.json").is_file():
            return str(folder)
    return source.model  # a hub id: from the local hub cache, or the hub where allowed


def _set(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _missing(source: ModelSource) -> str:
    remedy = "check the name" if source.hub else "put it there, or allow the hub"
    return f"model {source.model!r} is neither under HOME/models nor a folder with config.json: {remedy}"
