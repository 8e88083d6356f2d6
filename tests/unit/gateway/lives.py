"""Runs a life on the bench, and reads what it told and recorded."""

from __future__ import annotations

import asyncio

from services.gateway.requests.outcome import (
    Delta,
)


async def run(bench, **kwargs):
    life = bench.life(**kwargs)
    task = asyncio.create_task(life.run())
    events = await bench.events(life)
    await task
    return life, events


def text(events):
    return "".join(event.text for event in events if isinstance(event, Delta))


def end_of(bench):
    (entry,) = [detail for kind, _, detail in bench.audit.journal if kind == "END"]
    return entry
