"""Audit as a process on a small disk in memory that really fills, to the last byte, and has room again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.verify import VERIFIES, verify_home

from chassis.client import connect
from stack.keys import make_development_keys
from stack.ports import free_port_base

ROOT = Path(__file__).parents[3]
SMALL = {"STRONGROOM_AUDIT_SEGMENT_MIB": "1", "STRONGROOM_AUDIT_RESERVE_MIB": "1", "STRONGROOM_AUDIT_MIN_FREE_MIB": "4"}
TEXT = b"x" * 64 * 1024
PATIENCE = 60


@pytest.fixture(scope="module")
def mounts() -> tuple[str, ...]:
    """What runs a shell script with arguments in a mount namespace of its own."""
    before = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "sh", "-ec")
    probe = [*before, 'mount -t tmpfs -o size=1m none "$0"', "/mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount anything, even in a namespace of its own: run as root")
    return before


@asynccontextmanager
async def audit_on_small_disk(home: Path, base: int, mounts: tuple[str, ...]) -> AsyncIterator[Path]:
    """The home as it is seen from outside: 32 MiB, of which nothing is left when audit has ended."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    environ |= {"STRONGROOM_HOME": str(home), "STRONGROOM_PORT_BASE": str(base), "STRONGROOM_TRACES_ADDRESS": "off"}
    script = f'mkdir -p "{home}/audit"; mount -t tmpfs -o size=32m none "{home}/audit"; exec "$@"'
    command = [*mounts, script, "sh", sys.executable, "-m", "services.audit"]
    process = await asyncio.create_subprocess_exec(*command, env=environ | SMALL, cwd=ROOT)
    try:
        yield Path(f"/proc/{process.pid}/root{home}")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def fill(folder: Path) -> Path:
    """To the last byte."""
    path = folder / "ballast"
    with open(path, "ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))
    with open(path, "ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x")
    return path


async def test_a_disk_that_fills_ends_what_was_accepted_and_accepts_again_with_room(
    tmp_path, mounts, appends_of
) -> None:
    """Fails if the journal is left without a reserve: then the first release on the full disk ends audit."""
    home, base = tmp_path / "home", free_port_base()
    make_development_keys(home / "keys")
    token = (home / "keys" / "service-gateway").read_text().strip()
    async with audit_on_small_disk(home, base, mounts) as seen, connect(f"127.0.0.1:{base + 3}", token) as channel:
        appends = appends_of(rpc.AuditServiceStub(channel), "boot-1")
        async with asyncio.timeout(4 * PATIENCE), appends.stream:
            assert not (await appends.accept("r1")).status.code
            assert not (await appends.accept("r2")).status.code
            ballast = await asyncio.to_thread(fill, seen / "audit")
            refused = await until_refused(appends)
            assert (refused.code, refused.reason) == (8, "JOURNAL_FULL")
            assert refused.retry_after.ToMilliseconds() > 0
            assert "free some space" in refused.message
            n, reserve = 0, seen / "audit/journal/reserve"
            while reserve.exists():
                assert not (await appends.release("r1", n, TEXT)).status.code
                n += 1
                await asyncio.to_thread(fill, seen / "audit")  # what the segment before gave back
            for record_id in ("r1", "r2"):
                ended = await appends.end(record_id)
                assert not ended.status.code and ended.receipt
            ballast.unlink()
            await until_accepted(appends)
            report = verify_home(seen)
            assert (report.exit_code, report.problems) == (VERIFIES, [])
            assert (report.entries["RELEASE"], report.entries["END"]) == (n, 2)
            assert reserve.stat().st_size == 1024 * 1024


async def until_refused(appends) -> pb.ItemStatus:
    """Audit looks once a second."""
    n = 0
    while not (reply := await appends.accept(f"before{n}")).status.code:
        n += 1
        await asyncio.sleep(0.1)
    return reply.status


async def until_accepted(appends) -> None:
    n = 0
    while (await appends.accept(f"after{n}")).status.code:
        n += 1
        await asyncio.sleep(0.1)
