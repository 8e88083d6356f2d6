"""How full the work streams are: what waits, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams import scripts
from streams.connection import Connection


@dataclass(frozen=True, slots=True)
class Depth:
    """One class of one model, its buckets together."""

    jobs: int = 0  # waiting or running: what the bound bounds
    waiting: int = 0  # given to no worker yet
    oldest_seconds: float = 0.0  # how long the first of those has waited, by Redis' clock; 0 when none waits
    left: int = 0  # jobs that have ended, counted on; from 0 again when Redis lost its data


async def look(redis: Connection, groups: Sequence[Sequence[str]]) -> list[Depth]:
    """Of streams that belong together; one round trip."""
    if not groups:
        return []
    streams = [stream for group in groups for stream in group]
    return [
        Depth(jobs, waiting, waited_ms / 1000, left)
        for jobs, waiting, waited_ms, left in await scripts.look.run(redis, streams, [len(group) for group in groups])
    ]
