"""What `strongroom models plan` says of a worker's memory on a CPU, beside what a real one takes: opened, cache full.

Each mode in a process of its own. The cache is filled by writing on all of it, kept prefixes included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.soak_engine.memory import resident_mib
from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.models.wheel import NAME
from services.inference.plan_command import find_config
from services.inference.planning.architecture import read
from services.inference.planning.fitting import Asked, Fit, Machine, fit, opened
from services.inference.planning.modes import MODES

MOST_OFF = 0.10
SETTINGS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"dtype": "bfloat16", "quantization": "int8"},
    "int4": {"dtype": "bfloat16", "quantization": "int4"},
    "nf4": {"dtype": "bfloat16", "quantization": "nf4"},
}


def main() -> int:
    parser = report.arguments("plan")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument("--model", default=NAME)
    parser.add_argument("--context", type=int, default=1024, metavar="TOKENS")
    parser.add_argument("--measure", choices=tuple(SETTINGS), help="only this one, as JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measured(options.home, options.model, options.measure, options.context)))
        return 0
    rows, result = [], []
    for name in SETTINGS:
        measured = _in_a_process(options, name)
        for what, planned in _planned(options, name, measured["free"]).items():
            off = planned / measured[what] - 1
            rows.append([name, what, round(planned), round(measured[what]), f"{off:+.1%}"])
            result.append({"mode": name, "what": what, "planned_mib": planned, "measured_mib": measured[what]})
    print(report.table(["mode", "", "planned MiB", "resident MiB", "off"], rows))
    report.write(options.json, {"model": options.model, "context": options.context, "rows": result})
    return int(any(abs(row["planned_mib"] / row["measured_mib"] - 1) > MOST_OFF for row in result))


def _planned(options: Any, name: str, free: int) -> dict[str, float]:
    """MiB, for a machine with as many bytes free as the worker found."""
    machine = Machine(name="cpu", kind="cpu", memory=free, rates={}, source="")
    model = read(find_config(options.model, options.home)[1])
    mode = next(mode for mode in MODES if mode.name == name)
    found: Fit = fit(model, machine, mode, Asked(context=options.context), most_places=1)
    return {"open": opened(machine, found) / 2**20, "full": (opened(machine, found) + found.cache) / 2**20}


def _in_a_process(options: Any, name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan", "--measure", name, "--home", str(options.home)]
    command += ["--model", options.model, "--context", str(options.context)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def _measured(home: Path, model: str, mode: str, context: int) -> dict[str, Any]:
    from services.inference.models.container import available_memory

    free = available_memory()
    settings = EngineSettings(model=model, device="cpu", context_tokens=context, **SETTINGS[mode])
    engine: Any = open_engine(settings, home)
    empty = resident_mib(os.getpid())
    cache = engine._residency._cache
    for store in cache.stores():
        store.fill_(1)
    for store in (kept for pair in engine._prefix._store._pairs() for kept in pair[1:]):
        store.fill_(1)
    return {"free": free, "open": empty, "full": resident_mib(os.getpid())}


if __name__ == "__main__":
    sys.exit(main())
