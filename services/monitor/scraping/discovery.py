"""Targets by name become targets by address: a service that is scaled is one name with an address a replica."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from chassis.resolution import Names, Resolve, resolve
from services.monitor.scraping.targets import MAX_TARGETS
from services.monitor.windows.windows import Target


class Discovery:
    """Owned by the event loop."""

    def __init__(self, named: Sequence[Target], resolve: Resolve = resolve) -> None:
        by_job: dict[str, list[str]] = defaultdict(list)
        for target in named:
            by_job[target.job].append(target.instance)
        self._names = {job: Names(instances, resolve) for job, instances in by_job.items()}
        self._named = list(named)

    async def targets(self) -> list[Target]:
        """As many as the monitor takes; a service of whose names none was ever found is there by name, and is down."""
        found: list[Target] = []
        looked_up = await asyncio.gather(*(names.look_up() for names in self._names.values()))
        for job, instances in zip(self._names, looked_up):
            found += [Target(job, instance) for instance in instances]
            if not instances:
                found += [target for target in self._named if target.job == job]
        return found[:MAX_TARGETS]
