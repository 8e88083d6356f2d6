"""Samples the machine once a round and keeps the last sample for whoever asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from services.monitor.machine.gpus import Gpus
from services.monitor.machine.kernel import Kernel, Reading
from services.monitor.status.snapshot import Gpu

log = logging.getLogger(__name__)
GPU_SECONDS = 1.0  # a driver that takes longer is left to itself; until it answers no GPU is shown


class Machine:
    """Owned by the event loop; only NVML runs in a thread, one call at a time."""

    def __init__(self, kernel: Kernel, gpus: Gpus, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel, self._gpus, self._clock = kernel, gpus, clock
        self.reading: Reading = kernel.read()
        self._read_at = clock()
        self.cpu_ratio: float | None = None  # between the last two samples
        self.gpus: Sequence[Gpu] = ()
        self._asking: asyncio.Task[Sequence[Gpu]] | None = None

    @property
    def gpu_reason(self) -> str:
        if self._gpus.reason:
            return self._gpus.reason
        return "" if self.gpus else "the driver does not answer"

    async def sample(self) -> None:
        before, self.reading = self.reading, self._kernel.read()
        earlier, self._read_at = self._read_at, self._clock()
        passed = self._read_at - earlier
        if before.busy_seconds is not None and self.reading.busy_seconds is not None and passed > 0:
            used = (self.reading.busy_seconds - before.busy_seconds) / (passed * self.reading.cores)
            self.cpu_ratio = min(max(used, 0.0), 1.0)  # the kernel's ticks and our clock differ a little
        if not self._gpus.reason:
            await self._ask_gpus()

    async def _ask_gpus(self) -> None:
        if self._asking is None:
            self._asking = asyncio.create_task(asyncio.to_thread(self._gpus.read))
        done, _ = await asyncio.wait([self._asking], timeout=GPU_SECONDS)
        self.gpus = ()
        if done:
            asked, self._asking = self._asking, None
            if error := asked.exception():
                log.warning("the GPUs could not be read: %s", type(error).__name__)
            else:
                self.gpus = asked.result()
