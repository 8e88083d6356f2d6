"""Opens a model: the default one, a transformers folder, or a hub id where a setting allows it."""

from __future__ import annotations

import gc
import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from services.inference.models.convert import Progress, converted, marker, to_stderr
from services.inference.models.device import Device, choose_device, choose_dtype
from services.inference.models.files import Files, find
from services.inference.models.gpu_modes import configuration, has_experts
from services.inference.models.placement import check_names, placing
from services.inference.models.prequantized import made_plain, method, reading
from services.inference.models.prompt import Prompt
from services.inference.models.saved import Facts, Saved, facts, read
from services.inference.models.soundness import check_complete, check_finite, check_vocabulary
from services.inference.models.wheel import NAME, ModelUnavailable, missing


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Which model, and how to open it. `model` is a name under HOME/models, a folder, or a hub id."""

    model: str = NAME
    revision: str = ""
    dtype: str = "auto"
    auto_dtype: str = "auto"  # what `auto` means where something else decides it
    device: str = "auto"
    device_map: str = ""  # a word or a JSON object by layer: see `placement`
    modes: tuple[str, ...] = ()  # of quantization that plain files can have: said where quantized ones are not read
    hub: bool = False  # may a missing model be fetched?
    gpu_mode: str = ""  # of quantization, that its layers are loaded in onto a GPU: see `gpu_modes`


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
    gpu_mode: str = ""  # its layers were quantized as they were loaded
    saved: Saved | None = None  # a model that was saved quantized: its quantized weights are not in `model`

    @property
    def end_ids(self) -> frozenset[int]:
        end = self.model.generation_config.eos_token_id
        listed = [end] if isinstance(end, int) else list(end or ())
        return frozenset(listed) | self.prompt.end_ids


def load(source: ModelSource, home: Path, progress: Progress = to_stderr) -> LoadedModel:
    """Raises ModelUnavailable or ValueError, whose message says what to do."""
    with _uncollected():
        return _load(source, home, progress)


def _load(source: ModelSource, home: Path, progress: Progress) -> LoadedModel:
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    device = choose_device(source.device)
    places = placing(source.device_map, home)
    files = locate(source, home, progress)
    if files and (told := facts(files.folder)):
        return _load_saved(source, files, told, device, progress)
    dtype = choose_dtype(source.auto_dtype if source.dtype == "auto" else source.dtype, device)
    if source.gpu_mode:
        if files and files.gguf:
            raise ValueError(f"quantization must be none for {model_name(source.model)} on a GPU: its files are GGUF")
        places = places or {"device_map": {"": device.name}}  # codes are made where they stay
        places["quantization_config"] = configuration(source.gpu_mode, dtype)
    tokenizer, model = _read(source, files, {"dtype": dtype, **places}, progress)
    check_names(places.get("device_map"), dict(model.named_modules()))
    if not places:
        model.to(device.name)
    name = model_name(source.model)
    check_vocabulary(model, tokenizer, name)
    if unseen := check_finite(model, name):
        progress(f"model: {unseen} tensors are on disk and were not checked for numbers that are not finite")
    weights, commit = (files, "") if files else _cached(source)
    mark = marker(files.folder) if files else {}
    return LoadedModel(
        model=model.eval().requires_grad_(False),
        prompt=Prompt(tokenizer),
        name=name,
        revision=source.revision or str(mark.get("revision", "")) or commit,
        digest=str(mark.get("source_sha256", "")) or (_digest(weights, progress) if weights else ""),
        device=device,
        dtype=dtype,
        parameters=model.num_parameters(),
        gpu_mode=source.gpu_mode,
    )


def _load_saved(source: ModelSource, files: Files, told: Facts, device: Device, progress: Progress) -> LoadedModel:
    name = model_name(source.model)
    if device.type != "cpu" or source.device_map:
        raise ValueError(f"device must be cpu, and device_map unset, for {name}: its {told.mode} codes are a CPU's")
    if source.dtype not in ("auto", told.dtype):
        raise ValueError(f"dtype must be auto or {told.dtype} for {name}, which was quantized in it")
    began = time.monotonic()
    progress(f"model: loading {told.mode} codes, {files.size >> 20} MiB")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(files.folder))
    model, saved = read(files.folder, told)
    check_vocabulary(model, tokenizer, name)
    progress(f"model: loaded in {time.monotonic() - began:.1f} s")
    return LoadedModel(
        model=model.eval().requires_grad_(False),
        prompt=Prompt(tokenizer),
        name=name,
        revision=told.revision,
        digest=told.digest,
        device=device,
        dtype=choose_dtype(told.dtype, device),
        parameters=told.parameters,
        saved=saved,
    )


def _read(source: ModelSource, files: Files | None, options: dict[str, Any], progress: Progress) -> tuple[Any, Any]:
    where = str(files.folder) if files else source.model
    shared = _set(
        {
            "revision": source.revision or None,
            "local_files_only": not source.hub,
            "gguf_file": (files and files.gguf) or None,
        }
    )
    began = time.monotonic()
    if not (files and files.gguf):
        options = options | _as_quantized(source, files, options["dtype"], shared, progress)
    if files:
        progress(f"model: loading {len(files.weights)} files, {files.size >> 20} MiB")
    try:
        with bars():
            tokenizer: Any = AutoTokenizer.from_pretrained(where, **shared)
            loaded = _model(where, options, shared)
    except OSError as error:
        raise ModelUnavailable(missing(source.model, hub=source.hub)) from error
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # files that are whole by their sizes, and still make no model
        raise ModelUnavailable(
            f"transformers cannot make a model of {source.model!r} ({type(error).__name__}): see that its files belong "
            "together and that device_map names its layers"
        ) from error
    model, info = loaded
    if not source.gpu_mode:
        model = made_plain(model)
    check_complete(info, source.model)
    progress(f"model: loaded in {time.monotonic() - began:.1f} s")
    return tokenizer, model


def _model(where: str, options: dict[str, Any], shared: dict[str, Any]) -> Any:
    """And what its files lack, and have besides."""
    if "state_dict" not in options:
        plain = None if shared.get("gguf_file") else True
        return AutoModelForCausalLM.from_pretrained(
            where, use_safetensors=plain, output_loading_info=True, **options, **shared
        )
    family: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(options["config"])]
    made = family.from_pretrained(None, output_loading_info=True, **options)
    with suppress(OSError):  # not every folder says how its model speaks
        made[0].generation_config = GenerationConfig.from_pretrained(where, **shared)
    return made


def _as_quantized(
    source: ModelSource, files: Files | None, dtype: torch.dtype, shared: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Files that are quantized are read as plain numbers, or not at all. Raises ModelUnavailable."""
    try:
        config = AutoConfig.from_pretrained(str(files.folder) if files else source.model, **shared)
    except (OSError, ValueError):
        return {}  # reading the model itself says what is wrong
    name = model_name(source.model)
    how = method(config)
    if source.gpu_mode and (how or has_experts(config.to_dict())):
        why = "its files came quantized" if how else "no library quantizes its fused experts there"
        raise ValueError(f"quantization must be none for {name} on a GPU: {why}")
    told = reading(config, name, source.modes, files, dtype)
    if told:
        if source.device_map and how != "fp8":
            raise ValueError(f"device_map must be unset for {name}: its files are quantized by {how}")
        progress(f"model: the {how} weights of {name} are read as plain numbers")
    return told


def _cached(source: ModelSource) -> tuple[Files | None, str]:
    """What was just read out of a hub's cache, and its commit: the name of the folder in which a snapshot lies."""
    try:
        config = cached_file(source.model, "config.json", revision=source.revision or None, local_files_only=True)
        folder = Path(config or "").parent
        return find(folder), folder.name
    except (OSError, ModelUnavailable):  # it was read, so it is whole: only not as a folder of ours has to be
        return None, ""


def _digest(files: Files, progress: Progress) -> str:
    """So that records can tell these weights from others."""
    began = time.monotonic()
    found = files.digest()
    progress(f"model: weights {found[:12]}…, {files.size >> 20} MiB read in {time.monotonic() - began:.1f} s")
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """A tokenizer is read through a hundred thousand objects, none of which is garbage. A full collection meanwhile
    took 0.2 s of the 0.6 that a saved model took to open."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def bars() -> Iterator[None]:
    """transformers' bars with the remaining time on a terminal; elsewhere none, our lines tell."""
    if sys.stderr.isatty():
        transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        yield
        return
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with redirect_stderr(io.StringIO()):  # one of them asks no setting
        yield


def locate(source: ModelSource, home: Path, progress: Progress = to_stderr) -> Files | None:
    """Local folders first; the default model is converted on first use. None: a hub id, from the local hub cache, or
    the hub where that is allowed."""
    if source.model == NAME:
        return find(converted(home, progress))
    for place in (home / "models" / source.model, Path(source.model)):
        if files := find(place):
            return files
    return None


def model_name(model: str) -> str:
    """As it is listed, asked for and recorded."""
    path = Path(model)
    if path.suffix == ".gguf":
        return path.stem
    return path.resolve().name if path.is_dir() else model


def _set(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
