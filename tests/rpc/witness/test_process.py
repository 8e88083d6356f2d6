"""Witness and audit as processes, over HTTP: cosigned through kill -9, and refused once the log is an old copy."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.audit.v1 import audit_pb2_grpc as rpc
from strongroom.verify import ABSENT, COSIGNS, VERIFIES, cosigned_at, parse_policy, parse_vkey, verify_home, verify_url

from chassis.client import connect
from chassis.web import serving_http
from services.witness.key import open_key
from services.witness.memory import Memory, origin_hash
from services.witness.metrics import WitnessMetrics
from services.witness.routes import routes
from services.witness.witness import Witness
from stack.keys import make_development_keys
from stack.ports import free_port_base

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 60.0  # generous: the machine may be busy


@asynccontextmanager
async def process(*command: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, cwd=ROOT, env={**os.environ, "STRONGROOM_TRACES_ADDRESS": "off", **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await holds():
            await asyncio.sleep(0.1)


@pytest.fixture
def home(tmp_path) -> Path:
    make_development_keys(tmp_path / "home" / "keys")
    return tmp_path / "home"


@pytest.fixture
def stack(home, tmp_path):  # type: ignore[no-untyped-def]
    """Starts both; the witness by its command, as an operator does."""
    base = free_port_base()
    folder, policy, port = tmp_path / "witness", tmp_path / "policy", str(base + 30)

    def witness(*given: str):  # type: ignore[no-untyped-def]
        options = ("--folder", str(folder), "--port", port, *given)
        return process("strongroom.cli.main", "witness", *options, STRONGROOM_HOME=str(home))

    def audit(**settings: str):  # type: ignore[no-untyped-def]
        place = {"STRONGROOM_HOME": str(home), "STRONGROOM_PORT_BASE": str(base)}
        return process("services.audit", **place, **settings)

    async def append(record: str) -> None:
        """One record, from a boot of its own: its ACCEPTED, and its END once the stream is gone."""
        token = (home / "keys" / "service-gateway").read_text().strip()
        async with connect(f"127.0.0.1:{base + 3}", token) as channel:
            call = rpc.AuditServiceStub(channel).Append(wait_for_ready=True)
            accept = pb.AppendItem(
                item_id=1, record_id=record, accept=pb.Accept(party=pb.Party(tenant="t", caller="c"))
            )
            accept.accept.deadline_time.FromMilliseconds(1_900_000_000_000)
            await call.write(pb.AppendRequest(boot_id=record, items=[accept]))
            assert (await call.read()).replies[0].status.code == 0
            call.cancel()

    audit.url = f"http://127.0.0.1:{base + 13}/tlog"  # type: ignore[attr-defined]
    witness.url, witness.folder, audit.policy, audit.append = f"http://127.0.0.1:{port}", folder, policy, append  # type: ignore[attr-defined]
    return witness, audit


async def newest(url: str, origin: str) -> str:
    """What the witness says that it has seen of the log; empty while it does not answer."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            reply = await client.get(f"{url}/{origin_hash(origin)}/checkpoint")
        except httpx.HTTPError:
            return ""
    return reply.text if reply.status_code == 200 else ""


async def test_a_log_is_cosigned_through_kill_9_and_an_old_copy_of_it_is_not_started(stack, home, tmp_path) -> None:
    witness, audit = stack
    async with audit():
        await audit.append("before")
    vkey = (home / "audit" / "tlog" / "log.vkey").read_text().strip()
    origin = vkey.partition("+")[0]
    shutil.copytree(home / "audit", tmp_path / "older")

    async with witness("--name", "witness.example/w1", "--log", vkey) as running:
        line = (await running.stdout.readline()).decode()
        assert re.fullmatch(rf"witness w1 witness\.example/w1\+\S+ {witness.url}\n", line)
        audit.policy.write_text(f"log {vkey}\n{line}quorum w1\n")
        key, policy = parse_vkey(line.split(" ")[2], COSIGNS), parse_policy(audit.policy.read_text())
        settings = {"STRONGROOM_AUDIT_WITNESS_POLICY": str(audit.policy)}
        async with audit(**settings) as log:
            await audit.append("first")

            async def covered() -> bool:
                report = await asyncio.to_thread(verify_home, home)
                return report.exit_code == VERIFIES and report.cosigned == report.size > 0

            await until(covered)
            served = await asyncio.to_thread(verify_url, audit.url, vkey, policy=policy)
            assert (served.exit_code, list(served.witnesses)) == (
                VERIFIES,
                ["w1"],
            ) and 0 < served.cosigned <= served.size
            running.kill()  # what it had cosigned, it has seen
            await running.wait()
            size = int((await asyncio.to_thread((home / "audit/tlog/checkpoint.cosigned").read_text)).split("\n")[1])
            async with witness() as again:
                await until(lambda: answers(witness.url, origin))
                seen = await newest(witness.url, origin)
                assert int(seen.split("\n")[1]) >= size and cosigned_at(seen, key)
                await audit.append("second")
                await until(covered)
                log.send_signal(signal.SIGTERM)
                assert await log.wait() == 0
                report = verify_home(home, policy=policy)
                assert (report.exit_code, report.pending, report.not_covered[1:]) == (VERIFIES, [], [])
                assert report.cosigned == report.size, "the last checkpoint is cosigned too"

                shutil.rmtree(home / "audit")
                shutil.copytree(tmp_path / "older", home / "audit")
                async with audit(**settings) as refused:
                    said = (await refused.communicate())[1].decode()
                assert refused.returncode == 78 and "the witness w1 has seen covers" in said
                assert verify_home(home, policy=policy).exit_code == ABSENT
                again.send_signal(signal.SIGTERM)
                assert await again.wait() == 0


async def answers(url: str, origin: str) -> bool:
    return bool(await newest(url, origin))


async def test_audit_starts_and_appends_while_its_witness_is_away(stack, home) -> None:
    """Fails if anything on the way of an append waits for a witness."""
    _, audit = stack
    key = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    audit.policy.write_text(f"witness w1 {key} http://127.0.0.1:1\nquorum w1\n")
    async with audit(STRONGROOM_AUDIT_WITNESS_POLICY=str(audit.policy)) as log:
        await audit.append("first")
        log.send_signal(signal.SIGTERM)
        assert await log.wait() == 0
    assert verify_home(home).exit_code == VERIFIES


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/add-checkpoint", b"x", 400),
        ("POST", "/add-checkpoint", b"x" * 200_000, 413),
        ("GET", "/add-checkpoint", b"", 405),
        ("GET", f"/{'0' * 64}/checkpoint", b"", 404),
        ("GET", "/metrics", b"", 200),
        ("GET", "/readyz", b"", 200),
    ],
)
async def test_the_port_answers_as_the_specification_says(served, method, path, body, status) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        reply = await client.request(method, served + path, content=body)
    assert reply.status_code == status


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[str]:
    """The routes on a port, in this process."""
    key, metrics = open_key(tmp_path / "w", "witness.example/w1"), WitnessMetrics()
    memory = Memory(tmp_path / "w")
    metrics.watch(memory)
    handed = [metrics.route(), *routes(Witness(key, memory, lambda: 1.0), memory, metrics)]
    async with serving_http("127.0.0.1:0", lambda: "", handed) as port:
        yield f"http://127.0.0.1:{port}"
    memory.close()


def test_a_start_without_a_name_says_what_to_do(home, tmp_path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "strongroom.cli.main", "witness", "--folder", str(tmp_path / "w")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 2 and "holds no witness yet" in ran.stderr
