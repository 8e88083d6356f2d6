"""Cores, pressure and memory from the kernel's files, of both versions of control groups and of none."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.monitor.machine.kernel import TICKS_A_SECOND, Kernel

STAT = "cpu  400 0 200 9000 50 0 10 0 0 0\ncpu0 100 0 50 4000 25 0 5 0 0 0\ncpu1 300 0 150 5000 25 0 5 0 0 0\n"
MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n"
PRESSURE = (
    "some avg10=1.00 avg60=0.50 avg300=0.10 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n"
)


def kernel(root: Path, files: dict[str, str], cores: set[int] | None = None) -> Kernel:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Kernel(root / "proc", root / "cgroup", lambda: cores or {0, 1})


def test_a_machine_without_limits_counts_the_cores_that_it_may_use(tmp_path):
    read = kernel(tmp_path, {"proc/stat": STAT, "proc/meminfo": MEMINFO, "proc/pressure/cpu": PRESSURE}).read()
    assert (read.cores, read.busy_seconds) == (2, (100 + 50 + 5 + 300 + 150 + 5) / TICKS_A_SECOND)
    assert (read.memory_used_bytes, read.memory_limit_bytes) == (600 * 1024, 1000 * 1024)
    assert read.cpu_stalled_seconds == 2.5
    assert (read.periods, read.throttled_periods, read.memory_stalled_seconds) == (None, None, None)


def test_cores_of_others_are_not_counted(tmp_path):
    read = kernel(tmp_path, {"proc/stat": STAT}, cores={1}).read()
    assert (read.cores, read.busy_seconds) == (1, 455 / TICKS_A_SECOND)


def test_a_container_of_version_2(tmp_path):
    files = {
        "proc/stat": STAT,
        "proc/meminfo": MEMINFO,
        "cgroup/cpu.max": "150000 100000\n",
        "cgroup/cpu.stat": "usage_usec 7500000\nnr_periods 40\nnr_throttled 10\n",
        "cgroup/memory.max": "1000000\n",
        "cgroup/memory.current": "700000\n",
        "cgroup/memory.stat": "anon 1\ninactive_file 200000\n",
        "cgroup/cpu.pressure": PRESSURE,
    }
    read = kernel(tmp_path, files).read()
    assert (read.cores, read.busy_seconds, read.periods, read.throttled_periods) == (1.5, 7.5, 40, 10)
    assert (read.memory_used_bytes, read.memory_limit_bytes) == (500_000, 1_000_000)
    assert read.cpu_stalled_seconds == 2.5


def test_a_container_of_version_1(tmp_path):
    files = {
        "cgroup/cpu/cpu.cfs_quota_us": "50000\n",
        "cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "cgroup/cpu/cpu.stat": "nr_periods 8\nnr_throttled 2\nthrottled_time 5\n",
        "cgroup/cpuacct/cpuacct.usage": "3500000000\n",
        "cgroup/memory/memory.limit_in_bytes": "1000000\n",
        "cgroup/memory/memory.usage_in_bytes": "300000\n",
        "cgroup/memory/memory.stat": "total_inactive_file 100000\n",
    }
    read = kernel(tmp_path, files).read()
    assert (read.cores, read.busy_seconds, read.periods, read.throttled_periods) == (0.5, 3.5, 8, 2)
    assert (read.memory_used_bytes, read.memory_limit_bytes) == (200_000, 1_000_000)


def test_no_limit_is_no_limit(tmp_path):
    files = {
        "proc/stat": STAT,
        "proc/meminfo": MEMINFO,
        "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "cgroup/memory/memory.usage_in_bytes": "300000\n",
    }
    read = kernel(tmp_path, files).read()
    assert (read.cores, read.memory_limit_bytes, read.periods) == (2, 1000 * 1024, None)
    version_2 = {"cgroup/cpu.max": "max 100000\n", "cgroup/memory.max": "max\n", "proc/meminfo": MEMINFO}
    read = kernel(tmp_path / "2", version_2).read()
    assert (read.cores, read.memory_limit_bytes) == (2, 1000 * 1024)


@pytest.mark.parametrize("text", ["", "nonsense", "cpu0 a b c\n", "some total=\n"])
def test_a_kernel_that_tells_nothing_is_unknown_and_no_failure(tmp_path, text):
    files = {"cgroup/cpu.max": text, "proc/meminfo": text, "proc/pressure/cpu": text, "cgroup/memory.max": text}
    read = kernel(tmp_path, files).read()
    assert (read.cores, read.busy_seconds, read.cpu_stalled_seconds, read.memory_limit_bytes) == (2, None, None, None)


def test_this_machine_has_cores_and_memory():
    read = Kernel().read()
    assert read.cores > 0 and read.busy_seconds and read.memory_limit_bytes
    assert 0 < (read.memory_used_bytes or 0) < read.memory_limit_bytes
