"""What a person sees when the stack is ready: one real question answered, and where everything listens."""

from __future__ import annotations

import asyncio
import sys

from chassis.start import CannotStart
from stack.options import Stack
from stack.process import Plan
from stack.reporting import Say

QUESTION = "What is the capital of France?"


async def greet(stack: Stack, plans: list[Plan], say: Say) -> None:
    """Raises CannotStart when the question is not answered: such a stack is not up."""
    say(f"\n> {QUESTION}")
    command = (
        sys.executable,
        "-m",
        "strongroom.cli.main",
        "ask",
        QUESTION,
        "--temperature",
        "0",
        "--priority",
        "interactive",
    )
    elsewhere = ("STRONGROOM_ADDRESS", "STRONGROOM_API_KEY")  # may name another stack than this one
    own = {name: value for name, value in stack.environment.items() if name not in elsewhere}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, env=own, start_new_session=True
    )
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
    if code != 0:
        raise CannotStart(f"the first question was not answered; the services' logs are in {stack.log_folder}")
    for line in addresses(stack, plans):
        say(line)
    say("\nCtrl-C stops everything. Ask in another terminal: .venv/bin/strongroom ask '…'")


def addresses(stack: Stack, plans: list[Plan]) -> list[str]:
    """A table for people."""
    rows = [(plan.name, plan.grpc or plan.ports[0], f"http://{plan.http}" if plan.http else "") for plan in plans]
    if stack.options.redis_url:
        rows.append(("redis", "as STRONGROOM_REDIS_URL says", ""))
    rows = [("", "gRPC", "HTTP"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return [
        "",
        *lines,
        f"  state, keys and logs: {stack.home}   DEVELOPMENT keys",
    ]
