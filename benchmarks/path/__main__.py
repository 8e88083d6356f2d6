"""What gateway, guard, audit and queue add to a request, with an engine that answers at once.

Unary over gRPC and HTTP in closed loops of 1, 16 and 64 callers, beside a bare grpc.aio call as the floor; unary paced
at 50 requests/s from 10 callers, beside a bare call at the same pace and a bare fdatasync of the same bytes taken
meanwhile; and streams of 64 tokens from an engine that takes 20 ms a step. For each: requests per second, latency, CPU
per request over all processes (kernel time and Redis included), journal entries and fsyncs.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.edges.contenders import upstream
from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.path.doors import grpc_stream, grpc_unary, http_unary
from benchmarks.path.floors import bare_grpc, bare_http, closed_floor, echo_server, paced_floor
from benchmarks.path.profile import profile
from benchmarks.path.rounds import Door, closed_round, medians, paced_round
from benchmarks.report import arguments, machine, table, write

CALLERS = (1, 16, 64)
SECONDS, ROUNDS = 5.0, 3
PACED_CALLERS, PACED_PER_SECOND = 10, 50.0
STEPS_PER_SECOND = 50  # of the timed engine
DOORS: dict[str, Door] = {"gRPC": grpc_unary, "HTTP": http_unary}
SLOTS = {"STRONGROOM_INFERENCE_SLOTS": str(max(CALLERS))}


def main() -> None:
    parser = arguments("path")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="whose medians are shown")
    parser.add_argument("--profile", action="store_true", help="also say where the CPU goes")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with echo_server() as echo, local_stack("--engine", "echo", environment=SLOTS) as stack:
        result["closed"] = _closed(stack, echo, options.rounds, options.seconds)
        result["paced"] = _paced(stack, echo, options.rounds, options.seconds)
        if options.profile:
            result["profile"] = profile(stack, options.seconds)
    timed = {**SLOTS, "STRONGROOM_INFERENCE_MAX_STEPS_PER_SECOND": str(STEPS_PER_SECOND)}
    with local_stack("--engine", "echo", environment=timed) as stack:
        rounds = [closed_round(stack, grpc_stream, max(CALLERS), options.seconds) for _ in range(options.rounds)]
        result["stream"] = medians([asyncio.run(each) for each in rounds])
    show(result)
    write(options.json, result)


def _closed(stack: LocalStack, echo: int, rounds: int, seconds: float) -> dict[str, Any]:
    """In turn, so that a machine that drifts drifts for all."""
    told: dict[str, Any] = {}
    for callers in CALLERS:
        paths: dict[str, list[dict[str, Any]]] = {name: [] for name in DOORS}
        floors = []
        for _ in range(rounds):
            for name, door in DOORS.items():
                paths[name].append(asyncio.run(closed_round(stack, door, callers, seconds)))
            floors.append(asyncio.run(closed_floor(bare_grpc(echo), callers, min(2.0, seconds))))
        told[str(callers)] = {
            **{name: medians(measured) for name, measured in paths.items()}, "floor": medians(floors)
        }  # fmt: skip
    return told


def _paced(stack: LocalStack, echo: int, rounds: int, seconds: float) -> dict[str, Any]:
    """In turn with bare calls through the same kind of door: what ours take more is what the suite adds."""
    pace = (PACED_CALLERS, PACED_PER_SECOND, seconds)
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in DOORS}
    with upstream() as http:
        bare = {"gRPC": lambda: bare_grpc(echo), "HTTP": lambda: bare_http(http.port)}
        for _ in range(rounds):
            for name, door in DOORS.items():
                floor = asyncio.run(paced_floor(bare[name](), *pace))
                told = asyncio.run(paced_round(stack, door, *pace))
                measured[name].append({**told, "floor_p50_ms": floor["p50_ms"]})
    told = {name: medians(each) for name, each in measured.items()}
    return {name: {**each, "added_p50_ms": each["p50_ms"] - each["floor_p50_ms"]} for name, each in told.items()}


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    rows = []
    for callers, figures in result["closed"].items():
        floor = figures["floor"]
        for name in DOORS:
            path = figures[name]
            rows.append(
                [
                    f"{callers} {name}", path["requests_per_second"], path["p50_ms"], path["p99_ms"], path["cpu_ms"],
                    path["per_request"].get("entries", 0.0), path["per_request"].get("fsyncs", 0.0),
                    floor["requests_per_second"], floor["p50_ms"],
                    path["requests_per_second"] / floor["requests_per_second"],
                ]
            )  # fmt: skip
    header = [
        "callers",
        "req/s",
        "p50 ms",
        "p99 ms",
        "CPU ms",
        "entries",
        "fsyncs",
        "floor req/s",
        "floor p50",
        "ratio",
    ]
    print("\nunary, closed loop\n" + table(header, rows))
    _show_paced(result["paced"])
    stream = result["stream"]
    header = ["streams/s", "p50 ms", "p99 ms", "CPU ms", "entries", "fsyncs"]
    values = [stream[name] for name in ("requests_per_second", "p50_ms", "p99_ms", "cpu_ms")]
    counts = [stream["per_request"].get(name, 0.0) for name in ("entries", "fsyncs")]
    print(f"\nstreams of 64 tokens, 20 ms a step, {max(CALLERS)} callers\n" + table(header, [[*values, *counts]]))
    _show_cpu(result)
    for service, shares in result.get("profile", {}).items():
        print(f"\n{service}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares))


def _show_paced(paced: dict[str, Any]) -> None:
    """F is the bare fdatasync; an answer waits for two or three in turn."""
    rows = [
        [name, told["p50_ms"], told["p99_ms"], told["floor_p50_ms"], told["added_p50_ms"], told["fdatasync_p50_ms"],
         told["added_p50_ms"] - 3 * told["fdatasync_p50_ms"], told["cpu_ms"]]
        for name, told in paced.items()
    ]  # fmt: skip
    header = ["door", "p50 ms", "p99 ms", "bare call p50", "added p50", "F ms", "added - 3 F", "CPU ms"]
    print(f"\nunary, {PACED_PER_SECOND:g} requests/s from {PACED_CALLERS} callers\n" + table(header, rows))


def _show_cpu(result: dict[str, Any]) -> None:
    measured = {f"{callers} {name}": figures[name] for callers, figures in result["closed"].items() for name in DOORS}
    measured["stream"] = result["stream"]
    names = list(result["stream"]["cpu_ms_by_process"])
    rows = [[what, *(told["cpu_ms_by_process"].get(name, 0.0) for name in names)] for what, told in measured.items()]
    print("\nCPU-ms a request by process, user and kernel\n" + table(["", *names], rows))


if __name__ == "__main__":
    main()
