"""The engine's thread: wakes at once, cancels before the next step, survives what an engine does wrong."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

import pytest

from services.inference.engine.echo import EchoEngine
from services.inference.engine.loop import EngineLoop
from services.inference.engine.protocol import EngineRefusal, Failure, Finish, Message, Sampling, StepOutput, Work


class Outlet:
    def __init__(self) -> None:
        self.items: queue.Queue[StepOutput | tuple[str, EngineRefusal]] = queue.Queue()

    def outputs(self, outputs: Sequence[StepOutput]) -> None:
        for output in outputs:
            self.items.put(output)

    def refused(self, request_id: str, refusal: EngineRefusal) -> None:
        self.items.put((request_id, refusal))

    def room_changed(self) -> None:
        pass

    def until_last(self, request_id: str) -> list[StepOutput]:
        got: list[StepOutput] = []
        while not got or not got[-1].last:
            item = self.items.get(timeout=10)
            if isinstance(item, StepOutput) and item.request_id == request_id:
                got.append(item)
        return got


class StepwiseEcho(EchoEngine):
    """Each step waits for permission and reports who was in it."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.steps: list[frozenset[str]] = []

    def step(self) -> list[StepOutput]:
        self.entered.release()
        assert self.go.acquire(timeout=10)
        self.steps.append(self.live())
        return super().step()


class BrokenEcho(EchoEngine):
    """Raises in a step that holds the request `poison`, and when admitting `unreadable`."""

    def admit(self, work: Work) -> None:
        if work.request_id == "unreadable":
            raise KeyError("secret")
        super().admit(work)

    def step(self) -> list[StepOutput]:
        if "poison" in self.live():
            raise RuntimeError("secret")
        return super().step()


def work(request_id: str, text: str = "one two three", **sampling: object) -> Work:
    chosen = Sampling(**({"temperature": 0.0} | sampling))  # type: ignore[arg-type]
    return Work(request_id=request_id, messages=(Message(role="user", content=text),), sampling=chosen)


@pytest.fixture
def outlet() -> Outlet:
    return Outlet()


@pytest.fixture
def loop(outlet: Outlet) -> Iterator[EngineLoop]:
    running = EngineLoop(BrokenEcho(slots=2), outlet)
    running.start()
    yield running
    running.stop()
    assert not running.heartbeat().alive


def test_an_idle_loop_takes_work_and_streams_it(loop: EngineLoop, outlet: Outlet) -> None:
    loop.admit(work("a"))
    outputs = outlet.until_last("a")
    assert "".join(output.text for output in outputs) == "one two three"
    assert outputs[-1].finish is Finish.STOP
    loop.admit(work("b", "again"))
    assert outlet.until_last("b")[-1].text == "again"


def test_a_refusal_comes_back_through_the_outlet(loop: EngineLoop, outlet: Outlet) -> None:
    loop.admit(work("a", max_tokens=10_000))
    item = outlet.items.get(timeout=10)
    assert isinstance(item, tuple)
    assert (item[0], item[1].reason) == ("a", "PROMPT_TOO_LONG")


def test_an_engine_that_raises_loses_its_requests_but_not_the_loop(loop: EngineLoop, outlet: Outlet) -> None:
    loop.admit(work("poison"))
    assert outlet.until_last("poison")[-1].failure is Failure.ENGINE_ERROR
    loop.admit(work("unreadable"))
    assert outlet.until_last("unreadable")[-1].failure is Failure.ENGINE_ERROR
    loop.admit(work("after"))
    assert outlet.until_last("after")[-1].finish is Finish.STOP
    assert loop.live() == frozenset()


def test_invariant_9_a_step_that_starts_after_a_cancel_does_not_hold_the_request(outlet: Outlet) -> None:
    """Fails if `_next_commands` applies commands after the step instead of before it."""
    engine = StepwiseEcho()
    loop = EngineLoop(engine, outlet)
    loop.start()
    loop.admit(work("kept"))
    loop.admit(work("gone"))
    engine.go.release()
    assert engine.entered.acquire(timeout=10)
    assert engine.entered.acquire(timeout=10)  # the next step is under way ...
    loop.cancel("gone")
    loop.admit(work("late"))
    loop.cancel("late")  # ... so these are applied after it
    for _ in range(8):
        engine.go.release()
    outlet.until_last("kept")
    loop.stop()
    first_without = next(n for n, live in enumerate(engine.steps) if n >= 2)
    assert all(live == {"kept"} for live in engine.steps[first_without:])


def test_the_heartbeat_counts_steps_and_rests_when_idle(loop: EngineLoop, outlet: Outlet) -> None:
    loop.admit(work("a"))
    outlet.until_last("a")
    beat = loop.heartbeat()
    assert beat.alive
    assert beat.steps >= 3


def test_stopping_before_starting_work_is_clean(outlet: Outlet) -> None:
    loop = EngineLoop(EchoEngine(), outlet)
    loop.start()
    loop.stop()
    assert outlet.items.empty()
