"""The monitor's own life: round after round it scrapes, evaluates, remembers, and tells who wants to know."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.monitor.alerts.alert import Alert
from services.monitor.alerts.board import AlertBoard
from services.monitor.definition.rules import Definition
from services.monitor.definition.selection import Selection
from services.monitor.machine.machine import Machine
from services.monitor.scraping.discovery import Discovery
from services.monitor.scraping.scraper import Scraper, Standing
from services.monitor.status import assembly
from services.monitor.status.assembly import Figures
from services.monitor.status.history import FigureHistory, line_names
from services.monitor.status.snapshot import Machine as MachineView
from services.monitor.status.snapshot import ServiceState, Status
from services.monitor.windows.windows import Sample, Target, Windows

log = logging.getLogger(__name__)

Listener = Callable[[Sequence[Alert]], None]
STARTED = Selection("process_start_time_seconds")


@dataclass(frozen=True)
class Own:
    """The monitor among its own targets, read without a detour over HTTP."""

    target: Target
    samples: Callable[[], Iterable[Sample]]


class Watch:
    """Owned by the event loop. `tell` listeners must not block."""

    def __init__(
        self,
        definition: Definition,
        windows: Windows,
        scraper: Scraper,
        machine: Machine,
        board: AlertBoard,
        own: Own,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
        discovery: Discovery | None = None,
    ) -> None:
        """`discovery` says before each round whom to ask; without it the scraper's targets stay."""
        self._definition, self._windows, self._scraper, self._machine = definition, windows, scraper, machine
        self.board, self._own, self._interval, self._clock = board, own, interval_seconds, clock
        self._discovery = discovery
        self._history = FigureHistory(rounds=max(int(900 / interval_seconds), 1))
        self._listeners: list[Listener] = []
        self._at, self.figures = clock(), Figures.of(definition, windows, clock())
        self._status: Status | None = None
        self.rounds = self.failed_rounds = 0
        self.last_round_seconds = 0.0

    def tell(self, listener: Listener) -> None:
        """From now on the listener hears of every alert that begins to fire or resolves."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Until cancelled. A round that fails is counted, and the next one comes."""
        while True:
            began = time.monotonic()
            try:
                await self.round()
            except Exception:
                self.failed_rounds += 1
                log.exception("a round failed")
            self.last_round_seconds = time.monotonic() - began
            await asyncio.sleep(max(self._interval - self.last_round_seconds, self._interval / 10))

    async def round(self) -> None:
        """All of one round is of one time: the scrapes, the evaluation and the point in the history."""
        if self._discovery:
            self._scraper.ask_instead(await self._discovery.targets(), self._clock())
        at = self._clock()
        await asyncio.gather(self._scraper.round(at), self._machine.sample())
        self._windows.answered(self._own.target, at, self._own.samples())
        figures = Figures.of(self._definition, self._windows, at)
        changes = self.board.evaluate(self._windows, at)
        self._history.add(at, line_names(figures.values))
        self._at, self.figures, self._status = at, figures, None
        self.rounds += 1
        for listener in self._listeners:
            listener(changes)

    def status(self) -> Status:
        """As of the last round; put together once a round, when the first asks."""
        if self._status is None:
            self._status = self._assembled()
        return self._status

    def _assembled(self) -> Status:
        figures, samples = self.figures, self._windows
        return Status(
            time=self._at,
            interval_seconds=self._interval,
            services=[self._service(target, standing) for target, standing in self._scraper.targets.items()],
            traffic=assembly.traffic(figures),
            latency=assembly.latency(figures),
            tokens=assembly.tokens(figures),
            queue=assembly.queue(figures),
            guard=assembly.guard(figures, samples),
            audit=assembly.audit(figures),
            workers=assembly.workers(figures, samples),
            models=figures.by("workers"),
            machine=self._machine_view(),
            active=self.board.active,
            recent=self.board.recent,
            history=self._history.read(),
        )

    def _service(self, target: Target, standing: Standing) -> ServiceState:
        last_ok, key = self._windows.last_ok(target), (target.job, target.instance)
        started = self._windows.value(STARTED, target)
        return ServiceState(
            service=target.service,
            instance=target.instance,
            up=self._windows.is_up(target),
            age_seconds=None if last_ok is None else self._at - last_ok,
            problem=standing.problem,
            ready=standing.ready,
            reason=standing.reason,
            uptime_seconds=None if started is None else self._at - started,
            cpu_ratio=self.figures.values["process_cpu_ratio"].get(key),
            memory_bytes=self.figures.values["process_memory_bytes"].get(key),
        )

    def _machine_view(self) -> MachineView:
        machine, reading = self._machine, self._machine.reading
        return self.figures.filled(
            MachineView,
            cores=reading.cores,
            cpu_ratio=machine.cpu_ratio,
            memory_used_bytes=reading.memory_used_bytes,
            memory_limit_bytes=reading.memory_limit_bytes,
            gpus=machine.gpus,
            gpu_reason=machine.gpu_reason,
        )
