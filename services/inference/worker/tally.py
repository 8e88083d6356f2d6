"""What this worker counted for each gateway process, by itself: audit holds the log's entries against it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.worker.run import Run

TELL_SECONDS = 30.0
KEPT_GATEWAYS = 1_000  # processes; of one that is gone nothing is counted any more
_OF_THEIR_OWN = (pb.FINISH_STOP, pb.FINISH_LENGTH)


class Audit(Protocol):
    async def tell(self, gateway: str, counts: Mapping[str, int]) -> bool:
        """Whether it is in the log."""


@dataclass(slots=True)
class _Counts:
    jobs: int = 0  # whose end is in the gateway's reply stream
    finished: int = 0  # by stop or length
    tokens: int = 0  # generated, of the finished ones
    told: int = 0  # jobs, when audit last took them


class Tally:
    """Counts at the one place that is fenced: an end that was written for another claim never gets here."""

    def __init__(self) -> None:
        self._gateways: OrderedDict[str, _Counts] = OrderedDict()

    def told(self, run: Run) -> None:
        """The gateway has the run's end."""
        counts = self._gateways.setdefault(run.job.body.gateway_boot_id, _Counts())
        self._gateways.move_to_end(run.job.body.gateway_boot_id)
        counts.jobs += 1
        if run.finish in _OF_THEIR_OWN:
            counts.finished += 1
            counts.tokens += run.output_tokens
        if len(self._gateways) > KEPT_GATEWAYS:
            self._gateways.popitem(last=False)

    async def tell(self, audit: Audit) -> None:
        """Whatever changed; what audit does not take now is part of the next counts."""
        for gateway, counts in list(self._gateways.items()):
            if counts.told == counts.jobs:
                continue
            jobs = counts.jobs
            if await audit.tell(gateway, {"jobs": jobs, "finished": counts.finished, "tokens": counts.tokens}):
                counts.told = jobs
