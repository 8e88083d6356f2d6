"""A worker that starts again serves the adapters that its seat had, and none that may have been unloaded."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as audit_pb
from strongroom.audit.v1 import audit_pb2_grpc as audit_rpc
from strongroom.inference.v1 import inference_pb2 as pb
from strongroom.inference.v1.inference_pb2_grpc import InferenceServiceStub

from chassis.identity import Principal, digest
from chassis.server import serving
from tests.rpc.inference.adapting import OPERATOR, Acts, listed, load, saved, unload


async def test_what_may_be_recorded_as_unloaded_is_not_served_by_the_next_process(
    start: Any, acts: Acts, home: Path
) -> None:
    """Fails if the list is written only after the act: who is killed in between has a successor that serves it."""
    path = home / "inference" / "adapters-worker-0.json"
    async with start() as service:
        await load(service, "tone")
        assert b"leaving" not in path.read_bytes()  # an older version would not know the word
        async with acts.undecided(unload(service, "tone")):
            as_it_ends_there = path.read_bytes()
    path.write_bytes(as_it_ends_there)
    for _ in range(2):  # and not by the one after that
        async with start() as service:
            names, left_out = await listed(service)
            assert not names and "it was being unloaded" in left_out[0][1]


async def test_the_next_worker_of_a_seat_serves_what_the_last_one_did(start: Any, home: Path) -> None:
    """Fails if `restore` is not called before jobs are claimed, or believes the list and not the files."""
    for name in ("gone", "other", "taken"):
        saved(home, name, seed=ord(name[0]))
    async with start() as service:
        for name in ("tone", "gone", "other", "taken"):
            await load(service, name)
        await unload(service, "taken")
    (home / "adapters" / "gone" / "adapter_config.json").unlink()
    weights = home / "adapters" / "other" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")  # a number of it is another one now
    async with start() as service:
        names, left_out = await listed(service)
        assert (names, [name for name, _ in left_out]) == (["tone"], ["gone", "other"])
        assert "gone has no adapter_config.json" in left_out[0][1] and "not the one asked for" in left_out[1][1]
        await load(service, "other")  # as it is now
        await unload(service, "gone")
        assert await listed(service) == (["tone", "other"], [])
        with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
            await unload(service, "taken")
    async with start() as service:
        assert await listed(service) == (["tone", "other"], [])
    async with start("another-model") as service:
        names, left_out = await listed(service)
        assert not names and "was loaded into echo, and this worker serves another-model" in left_out[0][1]


async def test_what_cannot_be_listed_is_not_loaded(service: Any, home: Path) -> None:
    """Fails if `_load` answers before the list is on disk."""
    (home / "inference").write_text("a file where the list's folder should be")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await load(service, "tone")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "something else is in its place" in (caught.value.details() or "")
    assert await listed(service) == ([], [])
    (home / "inference").unlink()
    await load(service, "tone")
    (home / "inference" / "adapters-worker-0.new").mkdir()
    with pytest.raises(grpc.aio.AioRpcError, match="something else is in its place"):
        await unload(service, "tone")
    assert await listed(service) == (["tone"], [])


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9}', '{"format": 1, "adapters": [{"name": "tone"}]}'])
async def test_a_damaged_list_stops_no_start(
    start: Any, home: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "inference").mkdir()
    (home / "inference" / "adapters-worker-0.json").write_text(text)
    async with start() as service:
        assert await listed(service) == ([], [])
    assert "adapters-worker-0.json cannot be read, so no adapter is loaded again" in caplog.text


class Audit(audit_rpc.AuditServiceServicer):
    def __init__(self) -> None:
        self.acts: list[audit_pb.RecordActRequest] = []

    async def RecordAct(self, request: audit_pb.RecordActRequest, context: Any) -> audit_pb.RecordActResponse:
        self.acts.append(request)
        return audit_pb.RecordActResponse()


async def test_after_kill_9_a_worker_serves_the_adapters_that_it_had(
    redis_url: str,
    worker_process: Any,
    tmp_path: Path,
    free_port_base: int,
    tiny_model: Callable[[str], Any],
    tiny_tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tmp_path / "home" / "models" / "tiny"
    tiny_model("llama").save_pretrained(model)
    tiny_tokenizer.save_pretrained(model)
    saved(tmp_path / "home", "tone", seed=0)
    grant_operator(tmp_path / "home")
    monkeypatch.setenv("STRONGROOM_MODEL", "tiny")
    process, audit = worker_process(redis_url, engine="torch", context_tokens=128, slots=2), Audit()
    add = lambda server: audit_rpc.add_AuditServiceServicer_to_server(audit, server)
    token = (tmp_path / "home" / "keys" / "service-inference").read_text().strip()
    known = {digest(token): Principal("service", "inference")}
    allowed = {"/strongroom.audit.v1.AuditService/RecordAct": frozenset({"service:inference"})}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port_base + 2}") as channel:
        service = InferenceServiceStub(channel)
        process.await_ready()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await load(service, "tone")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "so nothing was changed" in (caught.value.details() or "")
        async with serving(f"127.0.0.1:{free_port_base + 3}", add, known=known, allowed=allowed, grace_seconds=0):
            loaded = await load_when_audit_is_found(service, "tone")
        assert [(act.action, json.loads(act.detail)["digest"]) for act in audit.acts] == [
            ("ADAPTER_LOADED", loaded.digest.hex())
        ]
        process.send(signal.SIGKILL)
        process.wait()
        process.start()
        process.await_ready()
        listed_again = await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR, wait_for_ready=True)
        assert list(listed_again.adapters) == [loaded], process.log[-2000:]


async def load_when_audit_is_found(service: Any, name: str) -> pb.Adapter:
    """The worker's channel tries to connect again once a second."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await load(service, name)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.1)


def grant_operator(home: Path) -> None:
    path = home / "keys" / "credentials.json"
    known = json.loads(path.read_text())
    person = {"kind": "person", "name": "op", "tenant": "t", "roles": ["operator"]}
    known["credentials"].append({**person, "sha256": digest("operator-token")})
    path.write_text(json.dumps(known))
