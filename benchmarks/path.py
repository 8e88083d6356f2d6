"""The straight path with an engine that answers at once: what gateway, guard, audit and queue add to a request.

For 1, 16 and 64 callers: requests per second, latency, CPU per request by process (kernel time and Redis included),
journal entries and fsyncs per request. The floor, in the same run, is a bare grpc.aio unary call at the same
concurrency: everything above it is ours.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc

from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.report import arguments, machine, table, write

CALLERS = (1, 16, 64)
SECONDS, ROUNDS = 5.0, 3
QUESTION = "What is the difference between a forward contract and a futures contract?"


async def load(call: Callable[[], Awaitable[Any]], callers: int, seconds: float) -> list[float]:
    """Closed loop: each caller asks again as soon as it is answered. Returns the latencies in milliseconds."""
    until, latencies = time.perf_counter() + seconds, []

    async def caller() -> None:
        while (began := time.perf_counter()) < until:
            await call()
            latencies.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return latencies


def summary(latencies: list[float], seconds: float) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        "requests_per_second": len(ordered) / seconds,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }


def journal_counters(stack: LocalStack) -> Counter[str]:
    """Entries, commit groups and fsyncs since audit's start, from its /metrics."""
    port = stack.port_base + 13
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        lines = reply.read().decode().splitlines()
    counters: Counter[str] = Counter()
    for line in lines:
        labelled, _, value = line.rpartition(" ")
        name = labelled.partition("{")[0]
        if name.startswith("strongroom_audit_") and name.endswith("_total"):
            counters[name.removeprefix("strongroom_audit_").removesuffix("_total")] += int(float(value))
    return counters


async def measure_path(stack: LocalStack, callers: int, seconds: float) -> dict[str, Any]:
    """One round against the stack."""
    metadata = [("authorization", f"Bearer {stack.api_key}")]
    sampling = pb.Sampling(temperature=0, max_tokens=16)
    request = pb.GenerateRequest(
        prompt=pb.Prompt(messages=[pb.Message(role="user", content=QUESTION)], sampling=sampling)
    )
    async with grpc.aio.insecure_channel(stack.gateway) as channel:
        stub = rpc.GatewayServiceStub(channel)
        call = lambda: stub.Generate(request, metadata=metadata, timeout=60)
        await load(call, callers, 0.5)  # warm
        cpu, journal = stack.cpu_seconds(), journal_counters(stack)
        latencies = await load(call, callers, seconds)
        cpu_after, journal_after = stack.cpu_seconds(), journal_counters(stack)
    requests = len(latencies)
    return {
        **summary(latencies, seconds),
        "cpu_ms_per_request": {name: (cpu_after[name] - cpu[name]) * 1000 / requests for name in cpu},
        "per_request": {name: (journal_after[name] - journal[name]) / requests for name in journal_after},
    }


async def measure_floor(port: int, callers: int, seconds: float) -> dict[str, float]:
    """One round against the bare echo."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo: Any = channel.unary_unary("/floor/Echo")
        payload = QUESTION.encode()
        call = lambda: echo(payload, timeout=60)
        await load(call, callers, 0.5)
        return summary(await load(call, callers, seconds), seconds)


def floor_server(port: Any) -> None:
    """A bare grpc.aio server that returns what it is sent."""

    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def serve() -> None:
        server = grpc.aio.server()
        methods: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor", methods),))
        port.put(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the rounds."""
    first = rounds[0]
    return {
        name: medians([one[name] for one in rounds])
        if isinstance(first[name], dict)
        else statistics.median(one[name] for one in rounds)
        for name in first
    }


def profile(stack: LocalStack, seconds: float) -> dict[str, list[tuple[str, float]]]:
    """Where each service works, at 16 callers: share of samples that hold the interpreter lock, by package."""
    shares = {}
    for service in ("gateway", "audit", "guard", "inference"):
        output = stack.home / f"{service}.profile"
        pid = next(pid for name, pid in stack.pids().items() if name.startswith(service))
        spy = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "py-spy"),
                "record",
                "-d",
                str(int(seconds)),
                "-r",
                "200",
                "-f",
                "raw",
                "--gil",
                "-o",
                str(output),
                "-p",
                str(pid),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        asyncio.run(measure_path(stack, 16, seconds + 1))
        spy.wait(30)
        shares[service] = _by_package(output.read_text()) if output.exists() else []
    return shares


def _by_package(raw: str) -> list[tuple[str, float]]:
    counts: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        counts[_package(stack.split(";"))] += int(samples)
    total = sum(counts.values()) or 1
    return [(name, count / total) for name, count in counts.most_common(12)]


def _package(frames: list[str]) -> str:
    """Whose code the innermost Python frame is; native code counts to whoever called it."""
    place = frames[-1].partition("(")[2].rpartition(":")[0]
    parts = place.split("/")
    if parts[0] in ("services", "streams", "chassis"):
        return "/".join(parts[:2])
    return parts[0].removesuffix(".py") or "interpreter"


def main() -> None:
    parser = arguments("path")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="whose medians are shown")
    parser.add_argument("--profile", action="store_true", help="also say where the CPU goes")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port_of_floor = context.Queue()
    floor = context.Process(target=floor_server, args=(port_of_floor,), daemon=True)
    floor.start()
    port = port_of_floor.get(timeout=20)
    result: dict[str, Any] = {"callers": {}}
    with local_stack("--engine", "echo") as stack:
        for callers in CALLERS:
            paths, floors = [], []
            for _ in range(options.rounds):  # in turn, so that a machine that drifts drifts for both
                paths.append(asyncio.run(measure_path(stack, callers, options.seconds)))
                floors.append(asyncio.run(measure_floor(port, callers, min(2.0, options.seconds))))
            result["callers"][callers] = {"path": medians(paths), "floor": medians(floors)}
        if options.profile:
            result["profile"] = profile(stack, options.seconds)
    floor.terminate()
    show(result)
    write(options.json, result)


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    header = [
        "callers",
        "req/s",
        "p50 ms",
        "p99 ms",
        "floor req/s",
        "floor p50",
        "floor p99",
        "ratio req/s",
        "entries",
        "fsyncs",
    ]
    rows = []
    for callers, figures in result["callers"].items():
        path, floor = figures["path"], figures["floor"]
        rows.append(
            [
                str(callers),
                path["requests_per_second"],
                path["p50_ms"],
                path["p99_ms"],
                floor["requests_per_second"],
                floor["p50_ms"],
                floor["p99_ms"],
                path["requests_per_second"] / floor["requests_per_second"],
                path["per_request"].get("entries", 0.0),
                path["per_request"].get("fsyncs", 0.0),
            ]
        )
    print("\n" + table(header, rows))
    names = list(next(iter(result["callers"].values()))["path"]["cpu_ms_per_request"])
    cpu = [
        [str(callers), *figures["path"]["cpu_ms_per_request"].values()]
        for callers, figures in result["callers"].items()
    ]
    print("\nCPU-ms per request, user and kernel\n" + table(["callers", *names], cpu))
    for service, shares in result.get("profile", {}).items():
        print(f"\n{service}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares))


if __name__ == "__main__":
    main()
