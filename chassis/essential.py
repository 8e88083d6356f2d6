"""Tasks that a process cannot go on without: when one ends by a bug, the process ends too.

Every service survives kill -9 (invariant 8), so ending is safe; living on without its reader or publisher is not: it
would look healthy and hang whatever it holds.
"""

from __future__ import annotations

import asyncio
import logging
import os

log = logging.getLogger(__name__)

EXIT_BUG = 70  # EX_SOFTWARE: the supervisor starts the process again


def essential(task: asyncio.Task[None]) -> asyncio.Task[None]:
    """Ends the process if the task ends with an exception."""
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (bug := task.exception()) is not None:
        log.critical("the task %r ended; ending the process", task.get_name(), exc_info=bug)
        os._exit(EXIT_BUG)
