"""What `strongroom models plan` says of a worker's memory on a CPU, beside what a real one takes: opened, cache full.

Each mode that this CPU has, in a process of its own. The cache is filled by writing on all of it, kept prefixes
included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.soak_engine.memory import resident_mib
from services.inference.engine.opening import EngineSettings, open_engine
from services.inference.models.wheel import NAME
from services.inference.plan_command import find_config
from services.inference.planning.architecture import read
from services.inference.planning.fitting import Asked, Fit, Machine, fit, opened
from services.inference.planning.modes import Mode, modes_on
from services.inference.planning.torch_machine import this_machine

MOST_OFF = 0.10


def main() -> int:
    parser = report.arguments("plan")
    parser.add_argument("--home", type=Path, default=Path(".strongroom"))
    parser.add_argument("--model", default=NAME)
    parser.add_argument("--context", type=int, default=1024, metavar="TOKENS")
    parser.add_argument("--measure", nargs="+", metavar="SETTING=VALUE", help="only a worker with these, as JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measured(options.home, options.model, options.measure, options.context)))
        return 0
    rows, result = [], []
    for mode in modes_on("cpu", this_machine().rates):
        if not mode.serves("cpu"):
            continue
        measured = _in_a_process(options, mode)
        for what, planned in _planned(options, mode, measured["free"]).items():
            off = planned / measured[what] - 1
            rows.append([mode.name, what, round(planned), round(measured[what]), f"{off:+.1%}"])
            result.append({"mode": mode.name, "what": what, "planned_mib": planned, "measured_mib": measured[what]})
    print(report.table(["mode", "", "planned MiB", "resident MiB", "off"], rows))
    report.write(options.json, {"model": options.model, "context": options.context, "rows": result})
    return int(any(abs(row["planned_mib"] / row["measured_mib"] - 1) > MOST_OFF for row in result))


def _planned(options: Any, mode: Mode, free: int) -> dict[str, float]:
    """MiB, for a machine with as many bytes free as the worker found."""
    machine = Machine(name="cpu", kind="cpu", memory=free, rates={}, source="")
    model = read(find_config(options.model, options.home)[1])
    found: Fit = fit(model, machine, mode, Asked(context=options.context), most_places=1)
    return {"open": opened(machine, found) / 2**20, "full": (opened(machine, found) + found.cache) / 2**20}


def _in_a_process(options: Any, mode: Mode) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan", "--measure", *mode.settings, "--home", str(options.home)]
    command += ["--model", options.model, "--context", str(options.context)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def _measured(home: Path, model: str, asked: Sequence[str], context: int) -> dict[str, Any]:
    from services.inference.models.container import available_memory

    free = available_memory()
    chosen: dict[str, Any] = {name.lower(): value for name, value in (each.split("=") for each in asked)}
    settings = EngineSettings(model=model, device="cpu", context_tokens=context, **chosen)
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
