"""Jobs on their way into their streams: those of a class that wait go in one call, atomic as a whole."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from streams.jobs import SealedJob
from streams.scripts import Argument, Call

JOBS_A_CALL = 32  # Redis does nothing else meanwhile

Waiting = tuple[SealedJob, "asyncio.Future[Any]"]  # and what Redis said of it


def by_class(waiting: Iterable[Waiting]) -> Iterator[Sequence[Waiting]]:
    """What goes together, in the order in which it came: a class's streams are named, and its jobs counted, once a
    call, and there are many streams."""
    classes: defaultdict[tuple[str, str], list[Waiting]] = defaultdict(list)
    for job, added in waiting:
        classes[job.model, job.priority].append((job, added))
    for jobs in classes.values():
        yield from (jobs[at : at + JOBS_A_CALL] for at in range(0, len(jobs), JOBS_A_CALL))


def addition(streams: Sequence[str], jobs: Iterable[SealedJob], bound: int, token_log: Sequence[bytes] = ()) -> Call:
    """What `submit` is given of jobs of the class that has these streams; with a token log, of a lone one."""
    places = {stream: place for place, stream in enumerate(streams, 1)}
    arguments: list[Argument] = [bound, len(streams)]
    for job in jobs:
        place = places.setdefault(job.work, len(places) + 1)  # sealed when the class had other streams
        arguments += (
            place, job.request_id, job.key_id, job.sealed, job.deadline_ms, job.kept_until_ms, job.cost,
            len(token_log), *token_log,
        )  # fmt: skip
    return list(places), arguments
