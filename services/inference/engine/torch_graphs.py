"""Decode passes recorded once as CUDA graphs and replayed.

A decode step of a small batch is hundreds of short kernels: launched one by one from Python they take several times
longer than they run. A graph launches them at once. It has fixed shapes, so a pass is rounded up to the next recorded
number of rows and visible part of the cache.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)

_VIEW_TOKENS = 256  # the smallest visible part that is recorded; each next one is twice as large
Replay = Callable[[], None]


class Pass(Protocol):
    """`ModelRunner.one_each`: a decode pass over tensors that lie on the device."""

    def __call__(self, ids: Tensor, positions: Tensor, *, first: int, view: int) -> Tensor: ...


class DecodeGraphs:
    """A decode pass of rows from slot 0 on, for every number of rows up to `slots`."""

    def __init__(
        self,
        run: Pass,
        *,
        slots: int,
        context: int,
        vocabulary: int,
        device: torch.device,
        view_tokens: int = _VIEW_TOKENS,
        record: Callable[[Callable[[], None]], Replay] | None = None,
    ) -> None:
        """`record` makes a replay of a function; the default is a CUDA graph."""
        self._run, self._context = run, context
        self._inputs = torch.zeros(2, slots, 1, dtype=torch.long, device=device)  # ids, positions
        self._logits = torch.zeros(slots, vocabulary, device=device)
        self._sizes, self._views = list(sizes(slots)), list(_views(view_tokens, context))
        record = record or CudaRecorder()
        # The largest first: the smaller ones then fit into the memory that it took.
        self._replays = {
            (rows, view): record(self._pass(rows, view))
            for rows in reversed(self._sizes)
            for view in reversed(self._views)
        }

    def __len__(self) -> int:
        return len(self._replays)

    def decode(self, ids: list[int], positions: list[int]) -> Tensor:
        """[rows, vocabulary], valid until the next pass."""
        rows = next(size for size in self._sizes if size >= len(ids))
        view = next(view for view in self._views if view > max(positions))
        # A row too many writes where its slot's own request, if it has one, has not come yet: at the last position.
        spare = self._inputs.shape[1] - len(ids)
        inputs = torch.tensor([ids + [0] * spare, positions + [self._context - 1] * spare])
        self._inputs.copy_(inputs.unsqueeze(2))
        self._replays[rows, view]()
        return self._logits[: len(ids)]

    def _pass(self, rows: int, view: int) -> Callable[[], None]:
        def run() -> None:
            ids, positions = self._inputs[0, :rows], self._inputs[1, :rows]
            self._logits[:rows].copy_(self._run(ids, positions, first=0, view=view))

        return run


class CudaRecorder:
    """Records into one pool of memory: only one graph runs at a time, so they may share it."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, run: Callable[[], None]) -> Replay:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):  # what a shape sets up at its first pass must not be recorded
            run()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            run()
        return graph.replay


def record_decoding(run: Pass, *, slots: int, context: int, device: torch.device) -> DecodeGraphs | None:
    """None, with the reason in the log, where this model's decode pass cannot be recorded."""
    began = time.monotonic()
    with torch.cuda.device(device):
        try:
            with _no_waiting():
                trial = run(*torch.zeros(2, 1, 1, dtype=torch.long, device=device), first=0, view=context)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            log.info("decode: no CUDA graphs, the model's forward pass waits for the device")
            return None
        graphs = DecodeGraphs(run, slots=slots, context=context, vocabulary=trial.shape[-1], device=device)
        torch.cuda.synchronize()
    log.info("decode: %d CUDA graphs, recorded in %.1f s", len(graphs), time.monotonic() - began)
    return graphs


@contextmanager
def _no_waiting() -> Iterator[None]:
    """An operation that waits for the device raises: recording one would fail half-way."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def sizes(limit: int) -> Iterator[int]:
    """Numbers of rows up to `limit`, each about half again the one before: no pass is rounded up by more."""
    size = 1
    while size < limit:
        yield size
        size += max(1, size // 2)
    yield limit


def _views(first: int, context: int) -> Iterator[int]:
    view = first
    while view < context:
        yield view
        view *= 2
    yield context
