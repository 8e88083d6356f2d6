"""Publishes what is due of what the engine made: one fenced call for all requests, in order, while it steps on.

While Redis is away the runs keep their items; what a restarted Redis lost is sent again, the very same bytes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.worker.cadence import SECONDS
from services.inference.worker.run import Run
from services.inference.worker.runs import Runs
from streams.connection import out_of_service
from streams.worker import Advance, Report, WorkQueue

log = logging.getLogger(__name__)

# Is each request still ours and wanted, also without anything to publish? And what a step that does not come would
# have passed on waits no longer than it may.
CHECK_SECONDS = SECONDS
ORPHAN_SECONDS = 10.0  # a gateway's lease must be gone this long: a restarted Redis forgets it for a moment
RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5)


class Publisher:
    """Owned by the event loop. `run` ends after `stop`, when nothing waits or Redis stays away."""

    def __init__(self, queue: WorkQueue, runs: Runs, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._runs, self._clock = queue, runs, clock
        self._missing_since: dict[str, float] = {}  # gateway boot → when its lease was first missed
        self._checked = 0.0  # when all requests were last asked for
        self._stopping = False
        self.failures = 0  # running; 0 while Redis takes what we send

    def stop(self) -> None:
        self._stopping = True
        self._runs.changed.set()

    @property
    def stopped(self) -> bool:
        return self._stopping

    async def run(self) -> None:
        while not self._stopping:
            await self._something_to_publish()
            await self.publish_once()
            if self.failures:
                await asyncio.sleep(RETRY_SECONDS[min(self.failures, len(RETRY_SECONDS)) - 1])
                self._runs.changed.set()
        if not self.failures:
            self._runs.pass_on()
            await self.publish_once()

    async def publish_once(self) -> None:
        """One call for everything; what the answer says is acted on before the next."""
        self._runs.changed.clear()
        sent = [(run, run.advance()) for run in self._due()]
        if not sent:
            return
        try:
            report = await self._queue.publish([advance for _, advance in sent])
        except Exception as error:
            if not out_of_service(error):
                log.error("publishing failed: %s", type(error).__name__)
            elif not self.failures:
                log.warning("the queue is away: %s", type(error).__name__)
            self.failures += 1
            self._missing_since.clear()  # what was missing then says nothing about when Redis is back
            return
        self.failures = 0
        for run, advance in sent:
            self._apply(run, advance, report)
        self._drop_orphans(sent, report)

    def _due(self) -> list[Run]:
        """Those with something to publish, and now and again all."""
        if self._clock() - self._checked < CHECK_SECONDS:
            return [run for run in self._runs if run.waiting]
        self._checked = self._clock()
        self._runs.pass_on_overdue()
        return list(self._runs)

    async def _something_to_publish(self) -> None:
        # Also while nothing is held: what is claimed meanwhile makes nothing to publish in its prefill.
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                await self._runs.changed.wait()

    def _apply(self, run: Run, advance: Advance, report: Report) -> None:
        if self._runs.get(run.request_id) is not run:
            return  # dropped, or claimed again, while the call was under way
        if run.request_id in report.stale:
            self._runs.drop(run, "stale")
            return
        if run.request_id in report.gaps:
            self._send_again(run, report.gaps[run.request_id])
        else:
            run.written(advance)
            if advance.last:
                self._runs.done(run)
            elif run.waiting:
                self._runs.changed.set()
        if run.request_id in report.cancelled:
            self._runs.end(run, pb.FINISH_CANCELLED)

    def _send_again(self, run: Run, n: int) -> None:
        self._runs.counters["gaps"] += 1
        if run.send_again_from(n):
            self._runs.changed.set()
        else:  # whoever claims it next goes on from what Redis has
            self._runs.drop(run, "log_lost")

    def _drop_orphans(self, sent: Sequence[tuple[Run, Advance]], report: Report) -> None:
        """By our own clock, and only while the lease stays away."""
        now = self._clock()
        missing = {advance.gateway for _, advance in sent if advance.request_id in report.orphaned}
        self._missing_since = {gateway: self._missing_since.get(gateway, now) for gateway in missing}
        for run, advance in sent:
            gone = self._runs.get(run.request_id) is not run  # dropped while the call was under way
            if not gone and now - self._missing_since.get(advance.gateway, now) >= ORPHAN_SECONDS:
                self._runs.end(run, pb.FINISH_FAILED, "GATEWAY_LOST")
