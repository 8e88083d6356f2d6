"""Runs a service's `main`: logs, settings and one clear line when it cannot start."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from chassis import compiled
from chassis.disk import FolderUnusable, NoRoom
from chassis.identity import InvalidCredentials
from chassis.logs import log_as_json, log_loop_errors
from chassis.server import CannotBind
from chassis.settings import InvalidSettings, StackSettings, load

S = TypeVar("S", bound=StackSettings)

log = logging.getLogger(__name__)

MADE_ON = datetime(2026, 1, 1, tzinfo=UTC)  # the earliest day on which this code can run
EXIT_MISCONFIGURED = 78  # EX_CONFIG: the supervisor does not start it again
EXIT_NO_ROOM = 75  # EX_TEMPFAIL: it does


class CannotStart(Exception):
    """A service's own reason not to start: what is wrong, where, and the remedy. Written for people."""


def run(service: str, kind: type[S], main: Callable[[S], Awaitable[None]]) -> None:
    """Loads the settings and runs `main` to its end; exits with 78 and the reason when it cannot start."""
    log_as_json(service)

    async def whole() -> None:
        asyncio.get_running_loop().set_exception_handler(log_loop_errors)
        settings = load(kind, service)
        if compiled.said:
            log.info("%s: %s", service, compiled.said)
        _require_plausible_clock(time.time())
        if settings.in_plaintext:
            log.warning(
                "%s: STRONGROOM_INSECURE: all that comes and goes on %s is in plaintext", service, settings.bind
            )
        await main(settings)

    _collect_seldom()
    try:
        _loop_factory()(whole())
    except (InvalidSettings, InvalidCredentials, FolderUnusable, CannotBind, CannotStart) as problem:
        print(f"{service} cannot start:\n{problem}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_NO_ROOM if isinstance(problem, NoRoom) else EXIT_MISCONFIGURED) from None
    except Exception:  # a traceback on standard error would show the exception's text
        log.exception("%s stopped", service)
        raise SystemExit(1) from None


def _require_plausible_clock(now: float) -> None:
    """A clock that a dead battery reset would date records, tickets and deadlines wrongly."""
    if now < MADE_ON.timestamp():
        said = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        raise CannotStart(
            f"the clock says {said}, before this version was made ({MADE_ON:%Y-%m-%d}): set the machine's clock"
        )


def _collect_seldom() -> None:
    """What is loaded by now stays: it need not be walked again. Reference counts free what requests leave behind;
    the collector is for the rare cycle, and by default it looked for one every 700 objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _loop_factory() -> Callable[[Awaitable[None]], None]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run  # type: ignore[return-value]
    return uvloop.run  # type: ignore[return-value]
