"""One part of one mode, in this process; prints what it found as one line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.drivers.ours import Callers, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.workload import COLUMNS
from benchmarks.quantization import tiny
from benchmarks.quantization.modes import MODES, PARTS, PLAIN, settings
from benchmarks.quantization.quality import Predicted, cloze, predicted
from benchmarks.soak_engine.memory import resident_mib
from services.inference.engine.loop import EngineLoop
from services.inference.engine.opening import EngineSettings
from services.inference.engine.torch_opening import assemble
from services.inference.engine.torch_saving import save_quantized
from services.inference.models.loading import ModelSource, load
from services.inference.models.wheel import NAME

CALLERS = {"1": 8, "16": 64}  # callers, and how many questions of the workload they ask


def memory(mode: str, options: Any) -> dict[str, Any]:
    """MiB, of weights and of the process when it is open, and how long that took."""
    folder = endless(options.home)
    began = time.monotonic()
    engine: Any = opened(folder, MODES[mode])
    took = time.monotonic() - began
    runner = engine._runner
    layers, ends = _bytes(runner._layers), _bytes([runner._embedding, runner._head])
    return {
        "opens_s": took,
        "layers_mib": layers / 2**20,
        "weights_mib": (layers + ends) / 2**20,  # an end that is packed again counts twice
        "resident_mib": resident_mib(os.getpid()),
    }


def speed(mode: str, options: Any) -> dict[str, Any]:
    """Tokens a second, once, by how many callers there are."""
    engine: Any = opened(endless(options.home), MODES[mode])
    callers = Callers()
    loop = EngineLoop(engine, callers)
    callers.start(loop)
    callers.play(COLUMNS["16"].asks[:4], 4)  # what is made at first use is made
    found = {name: _tokens_a_second(callers, int(name), asked) for name, asked in CALLERS.items()}
    loop.stop()
    return found


def quality(mode: str, options: Any) -> dict[str, Any]:
    """Against what the plain mode said of the same tokens, which it leaves in a file under the home."""
    from transformers import AutoTokenizer

    folder, kept = endless(options.home), options.home / "quantization-plain.pt"
    engine: Any = opened(folder, MODES[mode])
    found = predicted(engine._runner, options.prompts)
    if mode == PLAIN:
        torch.save({"losses": found.losses, "first": found.first}, kept)
    plain = Predicted(**torch.load(kept, weights_only=True)) if kept.is_file() else None
    right, asked = cloze(engine._runner, AutoTokenizer.from_pretrained(folder))
    return {**found.beside(plain), "cloze": [right, asked]}


def saved(mode: str, options: Any) -> dict[str, Any]:
    """Seconds until an engine is assembled: quantizing, and from codes that were saved; medians."""
    name, asked = f"{NAME}-benchmark", EngineSettings(slots=1, **settings(mode))  # type: ignore[arg-type]
    folder = save_quantized(asked, options.home, name, _quiet)
    try:
        took: dict[str, list[float]] = {"quantizing_s": [], "saved_s": []}
        for _ in range(3):
            took["quantizing_s"].append(_assembles(NAME, asked, options.home))
            took["saved_s"].append(_assembles(name, asked, options.home))
    finally:
        shutil.rmtree(folder)
    return {what: statistics.median(times) for what, times in took.items()}


def sums(mode: str, options: Any) -> dict[str, Any]:
    """Of a model that was taught now, or by the first mode that asked."""
    asked = settings(mode)
    taught = tiny.trained(options.home / "quantization-tiny.pt")
    return {"right": tiny.score(taught, getattr(torch, asked["dtype"]), asked.get("quantization", ""))}


_MEASURES: dict[str, Callable[[str, Any], dict[str, Any]]] = dict(
    zip(PARTS, (memory, speed, quality, saved, sums), strict=True)
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--prompts", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(_MEASURES[options.part](options.mode, options)))
    return 0


def _tokens_a_second(callers: Callers, together: int, asked: int) -> float:
    began = time.perf_counter()
    answers = callers.play(COLUMNS[str(together)].asks[:asked], together)
    return sum(answer.count for answer in answers) / (max(answer.ended for answer in answers) - began)


def _assembles(model: str, asked: EngineSettings, home: Path) -> float:
    began = time.monotonic()
    assemble(load(ModelSource(model=model, dtype=asked.dtype, device="cpu"), home, _quiet), asked)
    return time.monotonic() - began


def _bytes(held: Any, seen: set[int] | None = None) -> int:
    """Of all tensors that an object holds; views of one that was counted are not."""
    seen = set() if seen is None else seen
    if isinstance(held, torch.Tensor):
        place = torch.ops.mkldnn.data_ptr(held) if held.is_mkldnn else held.data_ptr()
        fresh = place not in seen
        seen.add(place)
        return held.numel() * held.element_size() if fresh else 0
    if isinstance(held, list | tuple):
        return sum(_bytes(each, seen) for each in held)
    names = [*getattr(held, "__dict__", ()), *getattr(type(held), "__slots__", ())]
    if id(held) in seen or not type(held).__module__.startswith("services."):
        return 0
    seen.add(id(held))
    return sum(_bytes(getattr(held, name), seen) for name in names)


def _quiet(line: str) -> None:
    """Nothing: the caller of this process tells how far it is."""


if __name__ == "__main__":
    sys.exit(main())
