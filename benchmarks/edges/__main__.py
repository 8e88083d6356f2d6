"""Our HTTP edge, LiteLLM's proxy and Portkey's gateway under the same load, in turn.

Ours with guard and audit on and an engine that answers at once; the peers, which have neither a guard nor a durable log
here, before an HTTP upstream that answers at once. One caller process, keep-alive connections, closed loop; medians of
the rounds. The upstream asked directly is the floor: what the caller and the machine can do at all.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.edges.contenders import ANSWER, PROMPT, Contender, contenders
from benchmarks.edges.peers import LITELLM, PORTKEY
from benchmarks.report import arguments, machine, table, write

CALLERS, SECONDS, ROUNDS = 64, 6.0, 5
TARGETS = {"litellm": 5.0, "portkey": 0.7}  # requests per second of ours, of theirs


def measure(contender: Contender, callers: int, seconds: float) -> dict[str, Any]:
    """One round, after a second to warm up."""
    _load(contender, callers, 1.0)
    before = contender.cpu_seconds()
    told = _load(contender, callers, seconds)
    after = contender.cpu_seconds()
    latencies = sorted(told["latencies"])
    assert latencies and told["failures"] <= len(latencies) / 1000, f"{contender.name}: {told['failure']}"
    count = len(latencies)
    cpu = {name: (after[name] - before[name]) * 1000 / count for name in after}
    return {
        "requests_per_second": count / seconds,
        "p50_ms": latencies[count // 2],
        "p99_ms": latencies[int(count * 0.99)],
        "failures": told["failures"],
        "cpu_ms_per_request": sum(cpu.values()),
        "caller_cpu_ms_per_request": told["cpu"] * 1000 / count,
        "cpu_ms_by_process": cpu,
    }


def _load(contender: Contender, callers: int, seconds: float) -> Any:
    asked = {"port": contender.port, "request": contender.request.decode(), "expected": ANSWER}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.edges.load"],
        input=json.dumps({**asked, "callers": callers, "seconds": seconds}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    by_process = [one["cpu_ms_by_process"] for one in rounds]
    return {
        **{name: statistics.median(one[name] for one in rounds) for name in rounds[0] if name != "cpu_ms_by_process"},
        "cpu_ms_by_process": {name: statistics.median(one[name] for one in by_process) for name in by_process[0]},
    }


def main() -> None:
    parser = arguments("edges")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="whose medians are shown")
    parser.add_argument("--callers", type=int, default=CALLERS, help="connections at once")
    options = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {}
    with contenders(options.callers) as running:
        for _ in range(options.rounds):  # in turn, so that a machine that drifts drifts for all
            for contender in running:
                rounds.setdefault(contender.name, []).append(measure(contender, options.callers, options.seconds))
    result = {
        "versions": {LITELLM.name: LITELLM.version, PORTKEY.name: PORTKEY.version, "node": _node()},
        "load": {"callers": options.callers, "prompt_characters": len(PROMPT), "answer_characters": len(ANSWER)},
        "medians": {name: medians(each) for name, each in rounds.items()},
        "rounds": rounds,
    }
    show(result)
    write(options.json, result)


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    figures = result["medians"]
    columns = ["requests_per_second", "p50_ms", "p99_ms", "cpu_ms_per_request", "caller_cpu_ms_per_request"]
    rows = [[name, *(each[column] for column in columns)] for name, each in figures.items()]
    print("\n" + table(["", "req/s", "p50 ms", "p99 ms", "CPU-ms/req", "caller's CPU-ms"], rows))
    ours = figures["strongroom"]
    shares = " · ".join(f"{name} {value:.2f}" for name, value in ours["cpu_ms_by_process"].items())
    print(f"\nours, CPU-ms by process: {shares}")
    for name, target in TARGETS.items():
        ratio = ours["requests_per_second"] / figures[name]["requests_per_second"]
        print(f"{ratio:.2f} x {name} {result['versions'][name]} (target {target:g})")


def _node() -> str:
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or platform.system()


if __name__ == "__main__":
    main()
