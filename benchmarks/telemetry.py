"""What tracing costs: the straight path with none, a tenth and all of the requests traced.

Each share has a stack of its own, started anew each round and in turn, so that a machine that drifts drifts for all.
CPU per request over all processes, the monitor that receives the spans included, in a closed loop of 64 callers; and
the latency of paced requests, where nothing waits in line for the processor.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.path.doors import grpc_unary
from benchmarks.path.rounds import closed_round, medians, paced_round
from benchmarks.report import arguments, machine, table, write

SHARES = (0.0, 0.1, 1.0)
SECONDS, ROUNDS = 6.0, 5
CALLERS = 64
PACED_CALLERS, PACED_PER_SECOND = 10, 50.0
SECONDS_TO_SETTLE = 1.0  # what services do once, after their start
MOST = 0.05  # more CPU a request, at a tenth


def main() -> None:
    parser = arguments("telemetry")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="whose medians are shown")
    options = parser.parse_args()
    rounds: dict[float, list[dict[str, Any]]] = {share: [] for share in SHARES}
    for number in range(options.rounds):
        for share in SHARES if number % 2 else reversed(SHARES):
            with local_stack("--engine", "echo", environment=_environment(share)) as stack:
                rounds[share].append(asyncio.run(_round(stack, options.seconds)))
    result = {"shares": {str(share): medians(measured) for share, measured in rounds.items()}}
    show(result)
    write(options.json, result)


def _environment(share: float) -> dict[str, str]:
    return {
        "STRONGROOM_GATEWAY_TRACED_SHARE": str(share),
        "STRONGROOM_GATEWAY_TRACED_BELOW": "0",
        "STRONGROOM_INFERENCE_SLOTS": str(CALLERS),
    }


async def _round(stack: LocalStack, seconds: float) -> dict[str, Any]:
    await asyncio.sleep(SECONDS_TO_SETTLE)
    busy = await closed_round(stack, grpc_unary, CALLERS, seconds)
    paced = await paced_round(stack, grpc_unary, PACED_CALLERS, PACED_PER_SECOND, seconds)
    return {"busy": busy, "paced": paced}


def show(result: dict[str, Any]) -> None:
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    none = result["shares"][str(SHARES[0])]
    rows = []
    for share, told in result["shares"].items():
        busy, paced = told["busy"], told["paced"]
        more = busy["cpu_ms"] / none["busy"]["cpu_ms"] - 1
        rows.append(
            [
                f"{float(share):.0%}", busy["cpu_ms"], f"{more:+.1%}", busy["requests_per_second"], busy["p50_ms"],
                paced["cpu_ms"], paced["p50_ms"], paced["p50_ms"] - none["paced"]["p50_ms"],
            ]
        )  # fmt: skip
    header = ["traced", "CPU ms", "more", "req/s", "p50 ms", "paced CPU ms", "paced p50", "added ms"]
    print(f"\n{CALLERS} callers, and {PACED_PER_SECOND:g} requests/s paced\n" + table(header, rows))
    print(f"\nwanted: at most {MOST:.0%} more CPU a request at {SHARES[1]:.0%}")


if __name__ == "__main__":
    main()
