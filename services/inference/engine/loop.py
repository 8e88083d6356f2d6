"""The engine's thread: it alone touches the engine, so the event loop never computes.

    callers ── admit, cancel ──> inbox ──> engine thread: apply all commands → step → deliver(outputs) → again

Commands are applied before the next step starts, so a cancelled request is in no later step.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from services.inference.engine.protocol import (
    Capacity,
    Engine,
    EngineDied,
    EngineRefusal,
    Failure,
    Load,
    StepOutput,
    Timing,
    Work,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_SECONDS = 1.0  # how often an engine without work is asked how it is


class Outlet(Protocol):
    """Where the loop delivers. Called on the engine's thread: hand over (`call_soon_threadsafe`) and return."""

    def outputs(self, outputs: Sequence[StepOutput]) -> None: ...

    def refused(self, request_id: str, refusal: EngineRefusal) -> None: ...

    def room_changed(self) -> None:
        """`capacity` may say more than before."""

    def died(self) -> None:
        """The engine is gone, and the thread ends: nothing that it held will get another output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """Alive = the thread runs and, while `busy`, `last_ns` moves: the engine makes steps. An idle loop is not a hung
    one."""

    alive: bool
    busy: bool
    steps: int
    last_ns: int  # monotonic: when the engine last made a step, or was idle
    last_step_ns: int  # how long the last step took


@dataclass(frozen=True, slots=True)
class _Admit:
    work: Work


@dataclass(frozen=True, slots=True)
class _Cancel:
    request_id: str


@dataclass(frozen=True, slots=True)
class _Call:
    action: Callable[[], Any]
    answer: Future[Any]


class EngineLoop:
    """Owns the engine and its thread. Every method may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        outlet: Outlet,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        stepped: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`stepped` is told every step's seconds, on the engine's thread."""
        self._engine = engine
        self._outlet = outlet
        self._clock_ns, self._stepped = clock_ns, stepped
        self._inbox: deque[_Admit | _Cancel | _Call] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._capacity = engine.capacity()
        self._load = engine.load()
        self._live: frozenset[str] = frozenset()
        self._steps = self._last_step_ns = 0
        self._step_began_ns = 0  # of a step under way; 0: none is
        self._last_ns = clock_ns()
        self._busy = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way and close the engine. What is live gets no further output."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def admit(self, work: Work) -> None:
        """Join it before the next step; a refusal comes back through the outlet."""
        self._post(_Admit(work))

    def cancel(self, request_id: str) -> None:
        """No step that starts from now on holds the request, not even if its admission still waits."""
        self._post(_Cancel(request_id))

    def call(self, action: Callable[[], T]) -> Future[T]:
        """Runs it on the engine's thread before the next step. What it raises is the future's."""
        answer: Future[T] = Future()
        self._post(_Call(action, answer))
        return answer

    def capacity(self) -> Capacity:
        """As of the last step. The caller subtracts what it has admitted and not yet seen in `live`."""
        return self._capacity

    def load(self) -> Load:
        return self._load

    def live(self) -> frozenset[str]:
        return self._live

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(
            alive=self._thread.is_alive(),
            busy=self._busy,
            steps=self._steps,
            last_ns=self._last_ns,
            last_step_ns=self._last_step_ns,
        )

    def _post(self, command: _Admit | _Cancel | _Call) -> None:
        with self._wake:
            self._inbox.append(command)
            self._wake.notify()

    def _run(self) -> None:
        try:
            while self._next_commands():
                self._step()
        except EngineDied:
            log.critical("the engine died")
            self._outlet.died()
        finally:
            self._engine.close()

    def _next_commands(self) -> bool:
        """Wait until there is something to do, then apply every command. False: stop."""
        with self._wake:
            held = self._busy = bool(self._engine.live())
            self._wake.wait_for(lambda: self._stopping or self._inbox or self._busy, IDLE_SECONDS)
            commands = list(self._inbox)
            self._inbox.clear()
            self._busy = held or bool(commands)
            if self._stopping:
                return False
        if not held:  # with work held, only steps are a sign of life
            self._last_ns = self._clock_ns()
        for command in commands:
            self._apply(command)
        self._publish()
        if any(isinstance(command, _Cancel) for command in commands):
            self._outlet.room_changed()
        return True

    def _apply(self, command: _Admit | _Cancel | _Call) -> None:
        if isinstance(command, _Cancel):
            self._engine.cancel(command.request_id)
            return
        if isinstance(command, _Call):
            _answer(command)
            return
        try:
            self._engine.admit(command.work)
        except EngineRefusal as refusal:
            self._outlet.refused(command.work.request_id, refusal)
        except EngineDied:
            raise
        except Exception as error:  # a request must not end the thread; its text may hold a prompt
            log.error("admission failed: %s", type(error).__name__)
            self._outlet.outputs([_broken(command.work.request_id, self._clock_ns())])

    def _step(self) -> None:
        if not self._engine.live():
            return
        started = self._step_began_ns or self._clock_ns()
        try:
            outputs = self._engine.step()
        except EngineDied:
            raise
        except Exception as error:
            log.error("step failed: %s", type(error).__name__)
            outputs = self._drop_all()
        waited, steps = self._load.waiting, self._load.steps
        self._publish()
        self._note_step(started, made=bool(outputs) or self._load.steps != steps)
        if outputs:
            self._outlet.outputs(outputs)
        if self._load.waiting != waited:
            self._outlet.room_changed()

    def _note_step(self, started: int, *, made: bool) -> None:
        """An engine that computes elsewhere returns without having made a step, too: that is no sign of life."""
        self._step_began_ns = 0 if made else started
        if made:
            self._last_ns = self._clock_ns()
            self._last_step_ns = self._last_ns - started
            self._steps += 1
            self._stepped(self._last_step_ns / 1e9)

    def _drop_all(self) -> list[StepOutput]:
        """An engine that raises has broken its promise: end everything it held, and go on empty."""
        lost = sorted(self._engine.live())
        for request_id in lost:
            self._engine.cancel(request_id)
        return [_broken(request_id, self._clock_ns()) for request_id in lost]

    def _publish(self) -> None:
        self._capacity, self._load, self._live = self._engine.capacity(), self._engine.load(), self._engine.live()


def _answer(call: _Call) -> None:
    if not call.answer.set_running_or_notify_cancel():
        return
    try:
        call.answer.set_result(call.action())
    except Exception as error:
        call.answer.set_exception(error)


def _broken(request_id: str, now_ns: int) -> StepOutput:
    return StepOutput(
        request_id=request_id,
        token_ids=(),
        text="",
        finish=None,
        input_tokens=0,
        output_tokens=0,
        timing=Timing(admitted_ns=now_ns),
        failure=Failure.ENGINE_ERROR,
    )
