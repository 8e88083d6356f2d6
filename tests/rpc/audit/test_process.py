"""Audit as a process: starts by its settings, stops cleanly, survives kill -9, refuses what it cannot use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.verify import VERIFIES, verify_home

from chassis.client import connect
from stack.keys import make_development_keys
from stack.ports import free_port_base

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path) -> Path:
    make_development_keys(tmp_path / "home" / "keys")
    return tmp_path / "home"


@asynccontextmanager
async def process(home: Path, base: int, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {
        **os.environ,
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_PORT_BASE": str(base),
        "STRONGROOM_TRACES_ADDRESS": "off",
        **settings,
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.audit", env=environ, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


@asynccontextmanager
async def gateway(home: Path, base: int) -> AsyncIterator[rpc.AuditServiceStub]:
    async with connect(f"127.0.0.1:{base + 3}", (home / "keys" / "service-gateway").read_text().strip()) as channel:
        yield rpc.AuditServiceStub(channel)


def accept() -> pb.AppendRequest:
    item = pb.AppendItem(
        item_id=1, record_id="r1", sequence=0, accept=pb.Accept(party=pb.Party(tenant="t", caller="c"))
    )
    item.accept.deadline_time.FromMilliseconds(1_900_000_000_000)
    return pb.AppendRequest(boot_id="boot-1", items=[item])


async def append(stub: rpc.AuditServiceStub) -> pb.AppendReply:
    call = stub.Append(wait_for_ready=True)
    await call.write(accept())
    response = await call.read()
    call.cancel()
    return response.replies[0]


async def test_kill_9_then_a_clean_stop(home) -> None:
    base = free_port_base()
    async with process(home, base) as running, gateway(home, base) as stub:
        assert (await append(stub)).status.code == 0
        running.kill()
        await running.wait()
    assert verify_home(home).exit_code == VERIFIES
    async with process(home, base) as running, gateway(home, base) as stub:
        again = await append(stub)
        assert again.accepted.log_origin.startswith("dev.")
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
    report = verify_home(home)
    assert (report.exit_code, report.pending, report.entries["ACCEPTED"]) == (VERIFIES, [], 1)
    for path in [*(home / "audit").rglob("*"), *(home / "keys").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0 or path.is_dir(), path


async def test_invariant_7_a_missing_key_stops_the_start_with_file_and_remedy(home) -> None:
    """Fails if `_open` lets KeyUnusable pass as a crash that is tried again."""
    base = free_port_base()
    async with process(home, base) as running, gateway(home, base) as stub:
        await append(stub)
        running.send_signal(signal.SIGTERM)
        await running.wait()
    (home / "keys" / "audit-provider").unlink()
    async with process(home, base) as running:
        _, said = await running.communicate()
    assert running.returncode == 78
    assert b"audit-provider is missing" in said
    assert b"restore it" in said


async def test_wrong_settings_are_all_named(home) -> None:
    async with process(home, free_port_base(), STRONGROOM_AUDIT_SEGMENT_MIB="0", STRONGROOM_AUDIT_SPEED="9") as running:
        _, said = await running.communicate()
    assert running.returncode == 78
    assert b"STRONGROOM_AUDIT_SEGMENT_MIB" in said
    assert b"STRONGROOM_AUDIT_SPEED" in said


async def test_the_process_that_writes_the_index_ends_with_audit_however_it_ends(home) -> None:
    """Fails if it does not look whether audit is still there: it would hold the index for ever."""
    base = free_port_base()
    async with process(home, base) as running, gateway(home, base) as stub:
        await append(stub)
        async with asyncio.timeout(120):
            while len(children := _children(running.pid)) != 1:
                await asyncio.sleep(0.05)
            running.kill()
            await running.wait()
            while any(map(_alive, children)):
                await asyncio.sleep(0.05)


def _children(pid: int) -> list[int]:
    told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for line in told for child in line.split()]


def _alive(pid: int) -> bool:
    """A zombie has ended: whoever took the orphan over has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
