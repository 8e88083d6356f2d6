"""The machine from one round to the next, and GPUs that answer, that do not, and that are not there."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from services.monitor.machine.gpus import Gpus
from services.monitor.machine.kernel import Reading
from services.monitor.machine.machine import Machine
from services.monitor.status.snapshot import Gpu


class Kernel:
    """Busy for as many seconds as it is told."""

    busy = 100.0

    def read(self) -> Reading:
        return Reading(cores=2, busy_seconds=self.busy)


class Nvml:
    """As NVML answers, field by field; `lacks` names what this GPU does not tell."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, lacks: tuple[str, ...] = (), count: int = 1) -> None:
        self.lacks, self.count = lacks, count

    def nvmlInit(self):
        if "driver" in self.lacks:
            raise self.NVMLError

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return "H100"

    def nvmlDeviceGetUtilizationRates(self, handle):
        if "utilisation" in self.lacks:
            raise self.NVMLError
        return SimpleNamespace(gpu=40, memory=10)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=2 << 30, total=80 << 30, free=78 << 30)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 41

    def nvmlDeviceGetPowerUsage(self, handle):
        return 70_500


def no_gpus() -> Gpus:
    return Gpus(lambda: Nvml(lacks=("driver",)))


async def test_the_cpu_is_what_was_used_between_two_rounds(clock):
    kernel = Kernel()
    machine = Machine(kernel, no_gpus(), clock)
    assert machine.cpu_ratio is None
    clock.seconds += 10
    kernel.busy += 5
    await machine.sample()
    assert machine.cpu_ratio == pytest.approx(0.25)


async def test_a_clock_that_stands_still_is_no_division(clock):
    machine = Machine(Kernel(), no_gpus(), clock)
    await machine.sample()
    assert machine.cpu_ratio is None


async def test_what_a_gpu_tells_is_shown(clock):
    machine = Machine(Kernel(), Gpus(Nvml), clock)
    await machine.sample()
    assert machine.gpus == [
        Gpu(
            index=0,
            name="H100",
            utilisation_ratio=0.4,
            memory_used_bytes=2 << 30,
            memory_total_bytes=80 << 30,
            temperature_celsius=41,
            power_watts=70.5,
        )
    ]
    assert machine.gpu_reason == ""


async def test_what_a_gpu_does_not_tell_is_unknown(clock):
    machine = Machine(Kernel(), Gpus(lambda: Nvml(lacks=("utilisation",))), clock)
    await machine.sample()
    assert machine.gpus[0].utilisation_ratio is None
    assert machine.gpus[0].memory_used_bytes == 2 << 30


def test_without_a_gpu_the_reason_is_said():
    def missing():
        raise ImportError

    assert Gpus(missing).reason == "nvidia-ml-py is not installed"
    assert no_gpus().reason == "no NVIDIA driver answers on this machine"
    assert no_gpus().read() == ()


async def test_a_driver_that_hangs_costs_a_second_and_no_more_threads(clock):
    """Fails if every round asked again: threads would pile up behind a driver that never answers."""
    release, asked = threading.Event(), []

    class Hanging(Nvml):
        def nvmlDeviceGetCount(self):
            asked.append(1)
            release.wait(30)
            return 1

    machine = Machine(Kernel(), Gpus(Hanging), clock)
    try:
        for _ in range(3):
            await machine.sample()
            assert machine.gpus == ()
        assert len(asked) == 1
        assert machine.gpu_reason == "the driver does not answer"
    finally:
        release.set()
    while not machine.gpus:
        await machine.sample()
    assert machine.gpus[0].name == "H100"


@pytest.mark.gpu
@pytest.mark.skipif(bool(Gpus().reason), reason="no GPU: " + Gpus().reason)
def test_a_real_gpu_tells_its_name_load_and_memory():
    gpus = Gpus()
    assert gpus.reason == ""
    found = gpus.read()
    gpus.close()
    assert found and all("NVIDIA" in gpu.name for gpu in found)
    for gpu in found:
        assert gpu.memory_total_bytes and 0 <= (gpu.memory_used_bytes or 0) <= gpu.memory_total_bytes
        assert gpu.utilisation_ratio is None or 0 <= gpu.utilisation_ratio <= 1
        assert gpu.temperature_celsius is None or 0 < gpu.temperature_celsius < 120
