"""Each mode of quantization: memory, tokens a second, and what of the model's quality is left.

Every mode in a process of its own. Speed is the engine's by itself, prompts in the time, as in `benchmarks.engine`: 1
caller asks 16 questions, 16 callers ask 64. The default model was quantized (Q4_1) before it was packaged,
so that what four bits cost is understated here; hence the small model beside it, taught just now.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine.drivers.ours import Callers, opened
from benchmarks.engine.endless import endless
from benchmarks.engine.workload import COLUMNS
from benchmarks.quantization import tiny
from benchmarks.quantization.quality import cloze, predictions
from benchmarks.report import arguments, machine, table, write
from benchmarks.soak_engine.memory import resident_mib
from services.inference.engine.loop import EngineLoop

MODES = {
    "fp32": ["dtype=float32"],
    "bf16": ["dtype=bfloat16"],
    "int8": ["dtype=bfloat16", "quantization=int8"],
    "int8, fp32 between": ["dtype=float32", "quantization=int8"],
    "int4": ["dtype=bfloat16", "quantization=int4"],
}
PLAIN, BASE = "fp32", "bf16"
CALLERS = ("1", "16")


def main() -> int:
    parser = arguments("quantization")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument("--only", nargs="*", choices=MODES, default=list(MODES), metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--rounds", type=int, default=3, help="of each figure of speed, of which the median is taken")
    parser.add_argument("--prompts", type=int, default=64, help="of the fixed text")
    parser.add_argument("--measure", choices=MODES, help="only this one, in this process, as JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options)))
        return 0
    rows = {mode: _in_a_process(options, mode) for mode in options.only}
    taught = tiny.trained()
    for mode, row in rows.items():
        settings = dict(setting.split("=") for setting in MODES[mode])
        row["tiny"] = tiny.score(taught, getattr(torch, settings["dtype"]), settings.get("quantization", ""))
    _agreement(rows)
    show(rows)
    write(options.json, {"prompts": options.prompts, "rounds": options.rounds, "modes": rows})
    return 0


def measured(options: Any) -> dict[str, Any]:
    from transformers import AutoTokenizer

    folder = endless(options.home)
    began = time.monotonic()
    engine: Any = opened(folder, MODES[options.measure])
    result: dict[str, Any] = {"open_s": time.monotonic() - began, **_weights(engine._runner)}
    callers = Callers()
    loop = EngineLoop(engine, callers)
    callers.start(loop)
    callers.play(COLUMNS["16"].asks[:4], 4)  # kernels are chosen
    for name in CALLERS:
        speeds = [_speed(callers, name) for _ in range(options.rounds)]
        result[name] = statistics.median(speeds) if speeds else None
    result["resident_mib"] = resident_mib(os.getpid())
    loop.stop()
    result["nll"], result["first"] = predictions(engine._runner, options.prompts)
    result["cloze"] = cloze(engine._runner, AutoTokenizer.from_pretrained(folder))
    return result


def _speed(callers: Callers, name: str) -> float:
    column = COLUMNS[name]
    began = time.perf_counter()
    answers = callers.play(column.asks, column.callers)
    return sum(answer.count for answer in answers) / (max(answer.ended for answer in answers) - began)


def _weights(runner: Any) -> dict[str, float]:
    """MiB. A tied head that is the embedding counts once, one that is packed again twice."""
    layers, ends = _bytes(runner._layers), _bytes([runner._embedding, runner._head])
    return {"layers_mib": layers / 2**20, "weights_mib": (layers + ends) / 2**20}


def _bytes(held: Any, seen: set[int] | None = None) -> int:
    """Of all tensors that an object holds; views of one that was counted are not."""
    seen = set() if seen is None else seen
    if isinstance(held, torch.Tensor):
        place = id(held) if held.is_mkldnn else held.data_ptr()
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


def _in_a_process(options: Any, mode: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.quantization", "--measure", mode, "--home", str(options.home)]
    command += ["--rounds", str(options.rounds), "--prompts", str(options.prompts)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _agreement(rows: dict[str, dict[str, Any]]) -> None:
    firsts = {mode: row.pop("first") for mode, row in rows.items()}
    for mode, row in rows.items():
        if plain := firsts.get(PLAIN):
            row["agreement"] = sum(map(int.__eq__, plain, firsts[mode])) / len(plain)


def show(rows: dict[str, dict[str, Any]]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()) + "\n")
    base, plain = rows.get(BASE, {}), rows.get(PLAIN, {})
    header = [
        "", "layers MiB", "×", "weights MiB", "×", "resident MiB", "opens in s", "tokens/s, 1", "×", "16", "×", "NLL",
        "%", "first choice", "cloze", "sums",
    ]  # fmt: skip
    cells = []
    for mode, row in rows.items():
        figures = [row["open_s"], *_beside(row, base, "1"), *_beside(row, base, "16")]
        memory = [*_beside(row, base, "layers_mib"), *_beside(row, base, "weights_mib"), row["resident_mib"]]
        worse = 100 * (row["nll"] / plain["nll"] - 1) if plain else "-"
        quality = [f"{row['nll']:.3f}", worse, row.get("agreement", "-"), "{}/{}".format(*row["cloze"]), row["tiny"]]
        cells.append([mode, *memory, *figures, *quality])
    print(table(header, cells))


def _beside(row: dict[str, Any], base: dict[str, Any], name: str) -> list[Any]:
    return [row[name], row[name] / base[name] if base.get(name) and row[name] else "-"]


if __name__ == "__main__":
    sys.exit(main())
