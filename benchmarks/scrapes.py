"""What the monitor costs: CPU of every process of an idle stack with scrapes and without, and CPU a scrape.

Scrapes every half second, four times as often as by default, so that the difference stands out from the noise; every
service has served some requests of each class before, so that its series are there.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from benchmarks.gameday.callers import flood
from benchmarks.local_stack import LocalStack, local_stack
from benchmarks.report import arguments, machine, table, write

ECHO = {"STRONGROOM_INFERENCE_ENGINE": "echo"}
SCRAPE_SECONDS, DEFAULT_SECONDS = 0.5, 2.0
SERVICES = ("gateway", "guard", "inference", "audit")


async def warm_up(stack: LocalStack) -> None:
    async with flood(stack, 50, 20) as seen:
        while sum(seen.values()) < 50:
            await asyncio.sleep(0.1)


def idle(stack: LocalStack, seconds: float) -> dict[str, float]:
    """CPU milliseconds a second of each process."""
    asyncio.run(warm_up(stack))
    time.sleep(2)
    before = stack.cpu_seconds()
    time.sleep(seconds)
    after = stack.cpu_seconds()
    return {name: (after[name] - before[name]) * 1000 / seconds for name in (*SERVICES, "monitor")}


def main() -> None:
    parser = arguments("scrapes")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two idle times")
    options = parser.parse_args()
    often = {**ECHO, "STRONGROOM_MONITOR_SCRAPE_SECONDS": str(SCRAPE_SECONDS)}
    never = {**ECHO, "STRONGROOM_MONITOR_SCRAPE_STACK": "false", "STRONGROOM_MONITOR_SCRAPE_SECONDS": "60"}
    with local_stack(environment=often) as stack:
        scraped = idle(stack, options.seconds)
    with local_stack(environment=never) as stack:
        alone = idle(stack, options.seconds)
    result: dict[str, Any] = {
        name: {
            "scraped": scraped[name],
            "alone": alone[name],
            "ms_a_scrape": (scraped[name] - alone[name]) * SCRAPE_SECONDS,
            "ms_a_second_by_default": (scraped[name] - alone[name]) * SCRAPE_SECONDS / DEFAULT_SECONDS,
        }
        for name in scraped
    }
    print(json.dumps(machine()))
    header = ["CPU", "scraped, ms a s", "alone, ms a s", "ms a scrape", "by default, ms a s"]
    print(table(header, [[name, *row.values()] for name, row in result.items()]))
    print("\nThe monitor's line is a whole round: four scrapes, the evaluation of all rules and figures, the machine.")
    write(options.json, {"scrapes": result})


if __name__ == "__main__":
    main()
