"""The default model: converted once into HOME/models before the first worker starts, and served before `up` is."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque

from chassis.start import CannotStart
from stack.options import Stack
from stack.reporting import Say

SERVED_SECONDS = 20.0
SERVED_PAUSE_SECONDS = 0.05
CONVERT = "services.inference.models.convert"


def is_needed(stack: Stack) -> bool:
    """A model that was named is the worker's own affair, openvino has its converter, and the echo engine has none."""
    return stack.engine in ("torch", "vllm") and not stack.environment.get("STRONGROOM_MODEL")


async def prepare_model(stack: Stack, say: Say) -> None:
    """Says each line of progress. In a process of its own: the supervisor never imports torch."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", CONVERT, "--home", str(stack.home),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=stack.environment,
    )  # fmt: skip
    assert process.stderr
    last: deque[str] = deque(maxlen=5)
    try:
        async for line in process.stderr:
            last.append(line.decode(errors="replace").rstrip())
            if last[-1].startswith("model: "):
                say(f"  {last[-1]}")
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # unlike SIGTERM, it lets the converter clear away its half-made folder
            await process.wait()
    if code != 0:
        raise CannotStart("the default model could not be prepared:\n" + "\n".join(last))


async def until_served(stack: Stack) -> None:
    """A worker is ready a moment before the gateway has heard of it, and whoever waits for `up` asks at once."""
    try:
        async with asyncio.timeout(SERVED_SECONDS):
            while await asyncio.to_thread(_workers_known, stack) < stack.options.workers:
                await asyncio.sleep(SERVED_PAUSE_SECONDS)
    except TimeoutError:
        raise CannotStart(
            f"every service is ready, but the gateway does not list {stack.options.workers} workers\n"
            f"logs: {stack.log_folder / 'gateway.log'}, {stack.log_folder / 'inference.log'}"
        ) from None


def _workers_known(stack: Stack) -> int:
    from strongroom.client import Client
    from strongroom.failures import CallFailed
    from strongroom.location import Location

    try:
        with Client(Location(stack.home, _local(stack)), timeout_seconds=2) as client:
            return sum(model.workers for model in client.models())
    except CallFailed:
        return 0


def _local(stack: Stack) -> dict[str, str]:
    """The stack's own gateway and key, whatever the environment names for others."""
    return {"STRONGROOM_KEYS": str(stack.options.keys_folder)}
