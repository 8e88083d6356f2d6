"""The default model, converted once into HOME/models before the first worker starts."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque

from chassis.start import CannotStart
from stack.options import Stack
from stack.reporting import Say

CONVERT = "services.inference.models.convert"


def is_needed(stack: Stack) -> bool:
    """A model that was named is the worker's own affair, and the echo engine has none."""
    return stack.engine == "torch" and not stack.environment.get("STRONGROOM_MODEL")


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
