"""Audit as a process: starts by its settings, stops cleanly, survives kill -9, refuses what it cannot use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
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


async def test_with_a_token_the_index_is_written_and_searched_over_kill_9_rotation_and_erasure(home, token) -> None:
    """Fails if the process that writes the index opens the token itself, or has no keys after a rotation."""
    base, names = free_port_base(), ("key_provider", "hsm_module", "hsm_token", "hsm_pin_file")
    settings = {f"STRONGROOM_AUDIT_{name.upper()}": str(token[name]) for name in names}
    async with process(home, base, **settings) as running, gateway(home, base) as stub, person(home, base) as asked:
        await refused(stub, "r1", "ann")
        await until_found(asked, {"r1"})
        [child] = _children(running.pid)
        assert "libsofthsm2" in _mapped(running.pid) and "libsofthsm2" not in _mapped(child)
        os.kill(child, signal.SIGKILL)  # the next one has its keys unwrapped by the same session
        await refused(stub, "r2", "ben")
        await until_found(asked, {"r1", "r2"})
        running.kill()
        await running.wait()
    assert not list((home / "keys").glob("audit-provider*"))
    async with process(home, base, **settings) as running, person(home, base) as asked:
        await until_found(asked, {"r1", "r2"})
        rotated = await asked.RotateProviderKey(pb.RotateProviderKeyRequest(reason="yearly"))
        destroyed = await asked.DestroyProviderKeys(pb.DestroyProviderKeysRequest(reason="yearly"))
        assert rotated.done and list(destroyed.key_ids) == [rotated.retired_key_id]
        running.kill()
        await running.wait()
    async with process(home, base, **settings) as running, person(home, base) as asked:
        await until_found(asked, {"r1", "r2"})  # from an index made again: what opened the old one is destroyed
        erase = pb.EraseRequest(tenant="development", subject="ann", reason="asked for", basis="GDPR 17")
        assert (await asked.Erase(erase)).done
        await until_found(asked, {"r2"})
        running.send_signal(signal.SIGTERM)
        assert await running.wait() == 0
    assert verify_home(home).exit_code == VERIFIES


@asynccontextmanager
async def person(home: Path, base: int) -> AsyncIterator[rpc.AuditServiceStub]:
    async with connect(f"127.0.0.1:{base + 3}", (home / "keys" / "development-api-key").read_text().strip()) as channel:
        yield rpc.AuditServiceStub(channel)


async def refused(stub: rpc.AuditServiceStub, record_id: str, subject: str) -> None:
    fields = [
        pb.Field(name="request_received", content=b'{"messages":[{"content":"a loan","role":"user"}],"parameters":{}}'),
        pb.Field(name="findings", content=b"[]"),
        pb.Field(name="answer_released", content=b"[]"),
    ]
    party = pb.Party(tenant="development", caller="desk", subject=subject)
    item = pb.AppendItem(item_id=1, record_id=record_id, refuse=pb.Refuse(party=party, rule="x/1", fields=fields))
    call = stub.Append(wait_for_ready=True)
    await call.write(pb.AppendRequest(boot_id=f"boot-{record_id}", items=[item]))
    assert (await call.read()).replies[0].status.code == 0
    call.cancel()


async def until_found(stub: rpc.AuditServiceStub, records: set[str]) -> None:
    """Once the index has come so far, by a word of their text."""
    request = pb.SearchRecordsRequest(filter=pb.RecordFilter(text="loan"), reason="case 7")
    async with asyncio.timeout(120):
        while await _found(stub, request) != records:
            await asyncio.sleep(0.05)


async def _found(stub: rpc.AuditServiceStub, request: pb.SearchRecordsRequest) -> set[str]:
    try:
        found = await stub.SearchRecords(request, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error  # no index yet
        return set()
    return {summary.record_id for summary in found.records}


def _mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def _children(pid: int) -> list[int]:
    told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for line in told for child in line.split()]


def _alive(pid: int) -> bool:
    """A zombie has ended: whoever took the orphan over has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
