"""Ctrl-C at the worst moments inside gRPC: it ends the call that it meets, and no other."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from strongroom.client import Answer, Client, Question, Started
from strongroom.interrupts import InterruptsHeld

SECONDS = 10.0
TAKES_A_LOCK = threading.Condition.__enter__.__code__
MOMENTS = 40  # more locks than one call takes


def in_destructor(frame: FrameType) -> bool:
    """There Python itself drops what is raised."""
    return frame.f_back is not None and frame.f_back.f_code.co_name == "__del__"


@contextmanager
def ctrl_c_after_lock(number: int) -> Iterator[Callable[[], bool]]:
    """SIGINT right after the main thread's lock of that number, before the `with` that gives it back.

    Yields whether it came so far.
    """
    taken = 0

    def profile(frame: FrameType, event: str, what: Any) -> None:
        nonlocal taken
        if event == "c_return" and frame.f_code is TAKES_A_LOCK and not in_destructor(frame):
            taken += 1
            if taken == number:
                signal.raise_signal(signal.SIGINT)

    sys.setprofile(profile)
    try:
        yield lambda: taken >= number
    finally:
        sys.setprofile(None)


def answered(client: Client) -> bool:
    """Asked in another thread: where a lock stayed taken, this one is not to hang too."""
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(client.ask(Question.of("Again?"))), daemon=True)
    asking.start()
    asking.join(SECONDS)
    return bool(answers)


def read_a_stream(client: Client) -> None:
    with client.stream(Question.of("Why?")) as stream:
        list(stream)


def ask(client: Client) -> None:
    client.ask(Question.of("Why?"))


@pytest.mark.parametrize("call", [read_a_stream, ask])
def test_an_interrupt_at_any_lock_of_a_call_leaves_the_channel_to_the_next(
    stack: Any, call: Callable[[Client], None]
) -> None:
    """Fails if InterruptsHeld.__enter__ returns before it sets its handler."""
    met = 0
    for moment in range(1, MOMENTS):
        with Client(timeout_seconds=SECONDS) as client:
            with ctrl_c_after_lock(moment) as came:
                try:
                    call(client)
                except KeyboardInterrupt:
                    met += 1
                    assert came()
            assert answered(client), f"after an interrupt at lock {moment}"
            if not came():
                break
    assert met >= 3


def test_an_interrupt_ends_a_stream_that_waits_and_the_request_behind_it(stack: Any) -> None:
    stack.waits = True
    with Client() as client, client.stream(Question.of("Why?")) as stream:
        assert isinstance(next(stream), Started)
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert stack.left.wait(SECONDS)
        assert list(stream) == []
        stack.waits = False
        assert answered(client)


def test_an_interrupt_is_held_only_inside_and_only_where_it_would_raise() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        with InterruptsHeld():
            with InterruptsHeld():  # its owner is the outer one
                signal.raise_signal(signal.SIGINT)
            steps.append("inside")
        steps.append("after")
    assert steps == ["inside"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    handled: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: handled.append(number))
    try:
        with InterruptsHeld():
            signal.raise_signal(signal.SIGINT)
        assert handled == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, previous)
