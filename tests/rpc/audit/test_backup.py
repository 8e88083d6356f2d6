"""BackUp over the wire: recorded, for those who may, one at a time, and never in the way of the writer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.backup.take import take_backup
from strongroom.verify import VERIFIES, verify_home

from chassis.client import connect
from chassis.errors import from_rpc_error
from services.audit.log.leaf import Kind
from stack.keys import make_development_keys
from stack.ports import free_port_base

ROOT = Path(__file__).parents[3]


async def taken(audit, target: Path):
    """As the command does it: with a channel of its own, in a thread that blocks."""

    def take():
        with grpc.insecure_channel(audit.address) as channel:
            call = rpc.AuditServiceStub(channel).BackUp(
                pb.BackUpRequest(), metadata=(("authorization", "Bearer reviewer"),), timeout=60
            )
            return take_backup(call, target)

    return await asyncio.to_thread(take)


async def test_a_backup_of_a_running_log_verifies_and_is_itself_in_it(audit, tmp_path) -> None:
    async with audit.appending() as gateway:
        for n in range(5):
            await gateway.accept(f"r{n}")
            await gateway.release(f"r{n}", 0)
            await gateway.end(f"r{n}")
        manifest = await taken(audit, tmp_path / "backup")
        await gateway.accept("later")
    report = verify_home(tmp_path / "backup", audit.writer.verifier_key)
    assert (report.exit_code, report.root, report.entries["ACT"]) == (VERIFIES, manifest.root, 1)
    assert report.entries["END"] == 5 and report.entries["ACCEPTED"] == 5
    act = audit.writer.stored.leaf(manifest.size - 1)
    assert (act.clear.kind, act.header["actor"], act.header["action"]) == (Kind.ACT, "reviewer", "BACKUP_STARTED")
    assert json.loads(act.parts["detail"]) == {"tenant": "bank"}


async def test_appends_go_on_while_a_large_backup_waits_for_its_reader(audit, tmp_path) -> None:
    """The journal is larger than every buffer on the way, so the stream stands still. Fails if `BackUp` holds the
    writer's lock, or its thread, until it is read."""
    async with audit.appending() as gateway, audit.calling("reviewer") as reviewer:
        await gateway.accept("large")
        for n in range(24):
            await gateway.release("large", n, os.urandom(1024 * 1024))
        call = reviewer.BackUp(pb.BackUpRequest(), timeout=120)
        responses = [await call.read()]
        for n in range(200):
            await asyncio.wait_for(gateway.accept(f"r{n}"), 30)
            await asyncio.wait_for(gateway.end(f"r{n}"), 30)
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)
    assert len(responses) > 20 and max(response.ByteSize() for response in responses) < 2 * 1024 * 1024
    manifest = take_backup(responses, tmp_path / "backup")
    report = verify_home(tmp_path / "backup")
    assert (report.exit_code, report.size, report.entries["END"]) == (VERIFIES, manifest.size, 0)
    assert report.entries["RELEASE"] == 24 and audit.writer.tree.size == manifest.size + 400


async def test_one_backup_at_a_time_and_one_that_was_left_makes_room(audit) -> None:
    """Fails if the place is not given back when the caller goes."""
    async with audit.appending() as gateway, audit.calling("reviewer") as stub:
        await gateway.accept("large")
        for n in range(24):
            await gateway.release("large", n, os.urandom(1024 * 1024))
        first = stub.BackUp(pb.BackUpRequest())
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.BackUp(pb.BackUpRequest()).read()
        failure = from_rpc_error(refused.value)
        assert (refused.value.code(), failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BACKUP_RUNNING")
        first.cancel()
        patience = time.monotonic() + 30
        while True:
            again = stub.BackUp(pb.BackUpRequest())
            try:
                assert (await again.read()).HasField("start")
                break
            except grpc.aio.AioRpcError as busy:
                assert from_rpc_error(busy).reason == "BACKUP_RUNNING" and time.monotonic() < patience
                await asyncio.sleep(0.05)
        again.cancel()


@pytest.mark.parametrize("token", ["gateway", "guard", "caller"])
async def test_only_reviewers_and_operators_take_backups(audit, token) -> None:
    async with audit.calling(token) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.BackUp(pb.BackUpRequest()).read()
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_operator_takes_backups_and_reads_no_record(audit) -> None:
    async with audit.calling("operator") as stub:
        assert (await stub.BackUp(pb.BackUpRequest()).read()).HasField("start")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetRecord(pb.GetRecordRequest(record_id="r1"))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


# --- the command, against a process -----------------------------------------------------------------------------------


@dataclass
class Running:
    """Audit as a process of its own, and the command that asks it."""

    home: Path
    base: int
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        own = {"STRONGROOM_HOME": str(self.home), "STRONGROOM_PORT_BASE": str(self.base)}
        return {**os.environ, **own, "STRONGROOM_TRACES_ADDRESS": "off"}

    async def start(self, **settings: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.audit",
            env={**self.environ, **settings}, cwd=ROOT, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return process

    async def kill(self) -> None:
        self.processes[-1].kill()
        await self.processes[-1].wait()

    async def stop(self) -> None:
        self.processes[-1].terminate()
        assert await self.processes[-1].wait() == 0

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "strongroom.cli.main", "audit", *arguments,
            env=self.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        begun = await self.begin(*arguments)
        out, err = await begun.communicate()
        assert begun.returncode is not None
        return begun.returncode, out.decode(), err.decode()

    async def patiently(self, *arguments: str) -> str:
        """Until audit has started, or has noticed that its last caller is gone."""
        patience = time.monotonic() + 60
        while True:
            code, out, err = await self.command(*arguments)
            if code == 0:
                return out
            assert ("no audit answers" in err or "BACKUP_RUNNING" in err) and time.monotonic() < patience, err
            await asyncio.sleep(0.2)

    async def append(self, mebibytes: int) -> None:
        token = (self.home / "keys" / "service-gateway").read_text().strip()
        async with connect(f"127.0.0.1:{self.base + 3}", token) as channel:
            call = rpc.AuditServiceStub(channel).Append(wait_for_ready=True)
            accept = pb.Accept(party=pb.Party(tenant="t", caller="c"))
            accept.deadline_time.FromMilliseconds(1_900_000_000_000)
            entries = [{"accept": accept}]
            entries += [{"release": pb.Release(n=n, content=os.urandom(1024 * 1024))} for n in range(mebibytes)]
            for n, entry in enumerate(entries):
                item = pb.AppendItem(item_id=n + 1, record_id="r1", sequence=n, **entry)
                await call.write(pb.AppendRequest(boot_id="boot-1", items=[item]))
            replies = 0
            while replies < len(entries):
                replies += len((await call.read()).replies)
            call.cancel()


@pytest.fixture
async def running(tmp_path) -> AsyncIterator[Running]:
    made = Running(tmp_path / "home", free_port_base())
    make_development_keys(made.home / "keys")
    await made.start()
    yield made
    for process in made.processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("victim", ["command", "audit"])
async def test_kill_9_in_the_middle_of_a_backup_leaves_none_and_the_next_is_whole(running, tmp_path, victim) -> None:
    """Fails if the copy has the backup's name before it is whole."""
    await running.append(24)
    target, partial = tmp_path / "backup", tmp_path / ".backup.partial"
    copying = await running.begin("backup", str(target))
    patience = time.monotonic() + 60
    while not list(partial.glob("audit/journal/*")):
        assert not target.exists() and time.monotonic() < patience
        await asyncio.sleep(0.001)
    if victim == "command":
        copying.kill()
        await copying.wait()
        assert partial.exists() and not target.exists()
    else:
        await running.kill()
        _, err = await copying.communicate()
        assert copying.returncode == 5 and b"no audit answers" in err
        assert not target.exists() and not partial.exists()
        await running.start()
    facts = json.loads(await running.patiently("backup", str(target), "--json"))
    report = verify_home(target)
    assert (report.exit_code, report.root, facts["verifies"]) == (VERIFIES, facts["root"], True)
    assert not partial.exists()


async def test_an_older_log_does_not_start_where_a_newer_checkpoint_is_known(running, tmp_path) -> None:
    """Fails if `_open` lets LogDiverged pass as a crash that is tried again, or looks at no newest checkpoint."""
    size = json.loads(await running.patiently("backup", str(tmp_path / "backup"), "--json"))["size"]
    await running.append(1)
    newest = await running.patiently("checkpoint")
    (tmp_path / "newest").write_text(newest)
    code, _, err = await running.command("restore", str(tmp_path / "backup"))
    assert (code, "stop it first" in err) == (2, True)
    await running.stop()
    code, _, err = await running.command("restore", str(tmp_path / "backup"))
    assert (code, "is not empty" in err) == (2, True)
    (running.home / "audit").rename(tmp_path / "lost")
    for given in (newest, str(tmp_path / "newest")):
        code, _, err = await running.command("restore", str(tmp_path / "backup"), "--newest-checkpoint", given)
        assert code == 2 and f"covers {size + 1} entries, and this backup holds {size}" in err
    code, out, err = await running.command("restore", str(tmp_path / "backup"), "--json")
    assert (code, json.loads(out)["size"], json.loads(out)["newest_checkpoint_size"]) == (0, size, None), err
    refused = await running.start(STRONGROOM_AUDIT_NEWEST_CHECKPOINT=str(tmp_path / "newest"))
    _, said = await refused.communicate()
    assert refused.returncode == 78
    assert f"covers {size + 1} entries, and this log holds {size}".encode() in said and b"Restore a backup" in said
    assert verify_home(running.home).size == size
    (running.home / "audit").rename(tmp_path / "older")
    empty = await running.start(STRONGROOM_AUDIT_NEWEST_CHECKPOINT=str(tmp_path / "newest"))
    _, said = await empty.communicate()
    assert empty.returncode == 78 and b"is the right disk mounted?" in said
    gone = await running.start(STRONGROOM_AUDIT_NEWEST_CHECKPOINT=str(tmp_path / "nowhere"))
    _, said = await gone.communicate()
    assert gone.returncode == 78 and b"nowhere is not a file" in said


async def test_what_is_wrong_with_the_arguments_is_said(tmp_path) -> None:
    nowhere = Running(tmp_path / "home", free_port_base())
    make_development_keys(nowhere.home / "keys")
    (tmp_path / "receipt").write_text('{"version": 1}')
    asked = {
        ("restore", str(tmp_path)): "is not a backup",
        ("restore", str(tmp_path), "--newest-checkpoint", str(tmp_path / "receipt")): "neither a checkpoint",
        ("restore", str(tmp_path), "--newest-checkpoint", str(tmp_path / "none")): "No such file",
        ("backup", str(tmp_path)): "exists: name a folder that does not",
        ("backup", str(tmp_path / "no" / "folder")): "make it first",
    }
    for arguments, said in asked.items():
        code, out, err = await nowhere.command(*arguments)
        assert (code, out) == (2, "") and said in err and "Traceback" not in err
    code, _, err = await nowhere.command("backup", str(tmp_path / "backup"))
    assert code == 5 and "no audit answers" in err and not (tmp_path / "backup").exists()
