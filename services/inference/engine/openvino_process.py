"""A process that holds an openvino-genai pipeline for a worker, and makes a step of it when it is told to.

A process of its own because a step keeps Python's lock from its first to its last millisecond: within the worker, its
event loop (leases, probes, what is published) would stand still with every step. It may run in another environment than
the worker: nothing is imported but OpenVINO, NumPy and the standard library.

    worker ── Open, then Turn after Turn, pickled, over a socket pair ──> here ──> what each Turn made

It ends when the worker's end is closed, however that came.
"""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy
import openvino
import openvino_genai

# What the status of a handle means to the worker.
RUNNING, ENDED, NO_MEMORY, REFUSED = "running", "ended", "no memory", "refused"

Told = tuple[int, list[int], list[float], str]  # request, new tokens, their logprobs where asked for, status


class Holder:
    """One pipeline and the handles of its requests."""

    def __init__(self, folder: str, device: str, scheduling: dict[str, Any], properties: dict[str, Any]) -> None:
        config = openvino_genai.SchedulerConfig()
        for name, value in scheduling.items():
            setattr(config, name, value)
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(folder, config, device, properties)
        self._handles: dict[int, tuple[Any, bool]] = {}  # and whether logprobs are wanted

    def turn(self, added: list[tuple[int, list[int], dict[str, Any]]], cancelled: list[int]) -> list[Told]:
        """Drops what is cancelled, takes on what is new, makes a step, and tells what came of it."""
        for number in cancelled:
            if held := self._handles.pop(number, None):
                held[0].cancel()
        refused = [number for number, prompt, asked in added if not self._add(number, prompt, asked)]
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        told = [one for number in list(self._handles) if (one := self._read(number))]
        return [*told, *((number, [], [], REFUSED) for number in refused)]

    def cache_bytes(self) -> int:
        return int(self._pipeline.get_metrics().cache_size_in_bytes)

    def _add(self, number: int, prompt: list[int], asked: dict[str, Any]) -> bool:
        config = openvino_genai.GenerationConfig()
        for name, value in asked.items():
            setattr(config, name, value)
        tokens = openvino.Tensor(numpy.array([prompt], dtype=numpy.int64))
        try:
            self._handles[number] = self._pipeline.add_request(number, tokens, config), bool(asked["logprobs"])
        except RuntimeError:  # what it says may quote the request
            return False
        return True

    def _read(self, number: int) -> Told | None:
        handle, likely = self._handles[number]
        tokens: list[int] = []
        logprobs: list[float] = []
        while handle.can_read():
            for output in handle.read().values():
                tokens += output.generated_ids
                if likely:
                    logprobs += output.generated_log_probs
        status = handle.get_status()
        if status == openvino_genai.GenerationStatus.RUNNING:
            return (number, tokens, logprobs, RUNNING) if tokens else None
        del self._handles[number]
        ended = status == openvino_genai.GenerationStatus.FINISHED
        return number, tokens, logprobs, ENDED if ended else NO_MEMORY


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM):  # of a terminal or a group: the worker ends in order, and then this
        signal.signal(ignored, signal.SIG_IGN)
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    holder: Holder | None = None
    while True:
        try:
            command, *told = connection.recv()
        except EOFError:
            return
        try:
            if command == "open":
                holder = None  # the memory of one before it is free first
                holder = Holder(*told)
                answer: Any = openvino_genai.__version__
            elif command == "turn":
                assert holder
                answer = holder.turn(*told)
            else:
                assert holder
                answer = holder.cache_bytes()
            connection.send((True, answer))
        except Exception as error:
            # Of opening, the text is for the operator; of a step it may quote a request, and the pipeline is lost.
            connection.send((False, str(error) if command == "open" else type(error).__name__))


if __name__ == "__main__":
    main()
