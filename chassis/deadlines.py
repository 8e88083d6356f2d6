"""Every call stops a little before its deadline, so that the caller hears why instead of timing out itself."""

from __future__ import annotations

import asyncio

from chassis.boundary import Call, Layer, Proceed

REPORTING_SECONDS = 0.02  # kept back for the answer to travel


def within_deadline(default_seconds: float) -> Layer:
    """A layer that binds each call to its deadline; a call without one gets `default_seconds`."""

    async def layer(call: Call, proceed: Proceed) -> None:
        if call.long_lived:  # its items carry deadlines of their own
            await proceed()
            return
        async with asyncio.timeout(remaining_seconds(call, default_seconds)):
            await proceed()

    return layer


def remaining_seconds(call: Call, default_seconds: float) -> float:
    """What is left to the handler."""
    remaining = call.context.time_remaining()
    return (default_seconds if remaining is None else remaining) - REPORTING_SECONDS
