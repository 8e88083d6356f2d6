"""Adapters through the worker's own service: loaded while it serves, asked for by a job, and what is refused."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import torch
from safetensors.torch import save_file
from strongroom.audit.v1 import audit_pb2 as audit_pb
from strongroom.audit.v1 import audit_pb2_grpc as audit_rpc
from strongroom.inference.v1 import inference_pb2 as pb
from strongroom.inference.v1.inference_pb2_grpc import InferenceServiceStub

from chassis.failures import Unavailable, Unimplemented
from chassis.identity import Principal, digest
from chassis.server import serving
from services.inference.engine.protocol import Work
from services.inference.pacing import PacedEngine

OPERATOR = (("authorization", "Bearer operator-token"),)


def saved(home: Path, name: str, *, seed: int) -> None:
    folder = home / "adapters" / name
    folder.mkdir(parents=True)
    path = "base_model.model.model.layers.1.self_attn.v_proj.lora_"
    numbers = torch.Generator().manual_seed(seed)
    made = {side: torch.randn(shape, generator=numbers) for side, shape in (("A", (4, 96)), ("B", (32, 4)))}
    save_file({f"{path}{side}.weight": each for side, each in made.items()}, folder / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "firm/base"}
    (folder / "adapter_config.json").write_text(json.dumps(said))


class Acts:
    """Keeps what is recorded, or is away; takes its time where `answering` is cleared."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, str, dict[str, str]]] = []
        self.away = False
        self.asked, self.answering = asyncio.Event(), asyncio.Event()
        self.answering.set()

    async def record(self, action: str, target: str, detail: dict[str, str]) -> None:
        self.asked.set()
        await self.answering.wait()
        if self.away:
            raise Unavailable("audit is away", reason="AUDIT_UNAVAILABLE", retry_after_seconds=1)
        self.recorded.append((action, target, detail))

    @asynccontextmanager
    async def undecided(self, change: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
        """Inside, the change waits for audit's answer."""
        self.asked.clear()
        self.answering.clear()
        task = asyncio.create_task(change)
        await asyncio.wait_for(self.asked.wait(), 30)
        yield task
        self.answering.set()
        await asyncio.wait([task])


class SlowToPrepare(PacedEngine):
    """Compiles no grammar until it is told to."""

    began, go_on = threading.Event(), threading.Event()

    def prepare(self, work: Work) -> None:
        self.began.set()
        self.go_on.wait(30)
        super().prepare(work)


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    saved(tmp_path, "tone", seed=0)
    return tmp_path


@pytest.fixture
def start(redis_url: str, worker: Any, serve: Any, home: Path, torch_engine: Callable[..., Any], acts: Acts) -> Any:
    """A worker around the tiny model, on the same home each time, and its service."""

    @asynccontextmanager
    async def started(model_name: str = "echo", engine: Any = None) -> AsyncIterator[Any]:
        async with (
            worker(redis_url, engine=engine or torch_engine(model_name), home=home, acts=acts) as running,
            serve(running) as service,
        ):
            yield service

    return started


@pytest.fixture
async def service(start: Any) -> AsyncIterator[Any]:
    async with start() as service:
        yield service


async def load(service: Any, name: str, **fields: Any) -> pb.Adapter:
    answer = await service.LoadAdapter(pb.LoadAdapterRequest(name=name, **fields), metadata=OPERATOR)
    found: pb.Adapter = answer.adapter
    return found


async def listed(service: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of what is loaded, and what is left out with the reason."""
    found = await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR)
    return [one.name for one in found.adapters], [(one.name, one.reason) for one in found.left_out]


async def unload(service: Any, name: str) -> None:
    await service.UnloadAdapter(pb.UnloadAdapterRequest(name=name), metadata=OPERATOR)


async def answered(queue: Any, job: pb.Job) -> tuple[list[int], str]:
    reply = await queue.submit(job)
    ids: list[int] = []
    while True:
        for delta in await reply.next():
            ids += delta.token_ids
            if delta.finish:
                return ids, delta.failure


def job_with(make_job: Any, adapter: str, adapter_digest: bytes = b"", **more: Any) -> pb.Job:
    """Each a request of its own: a ticket is good for one."""
    job: pb.Job = make_job(
        f"r-{uuid4().hex}", text="hello", max_tokens=8, adapter=adapter, adapter_digest=adapter_digest, **more
    )
    return job


async def test_a_job_is_run_with_the_adapter_it_names(
    service: Any, redis_url: str, gateway: Any, make_job: Any
) -> None:
    async with gateway(redis_url) as queue:
        assert await answered(queue, job_with(make_job, "tone")) == ([], "ADAPTER_NOT_SERVED")
        plain, _ = await answered(queue, job_with(make_job, ""))
        loaded = await load(service, "tone")
        assert (loaded.name, loaded.rank, loaded.layers, len(loaded.digest)) == ("tone", 4, 1, 32)
        everything = await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR)
        assert list(everything.adapters) == [loaded]
        toned, failure = await answered(queue, job_with(make_job, "tone", loaded.digest))
        assert not failure
        assert toned != plain
        assert await answered(queue, job_with(make_job, "tone", b"x" * 32)) == ([], "ADAPTER_NOT_SERVED")
        assert (await answered(queue, job_with(make_job, "")))[0] == plain
    worker = (await service.GetWorker(pb.GetWorkerRequest(), metadata=OPERATOR)).worker
    assert list(worker.adapters) == [loaded]
    await service.UnloadAdapter(pb.UnloadAdapterRequest(name="tone"), metadata=OPERATOR)
    assert not (await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR)).adapters


@pytest.mark.parametrize(
    ("name", "fields", "code", "said"),
    [
        ("../tone", {}, "FAILED_PRECONDITION", "letters, digits"),
        ("absent", {}, "FAILED_PRECONDITION", "HOME/adapters/absent has no adapter_config.json"),
        ("tone", {"digest": b"x" * 32}, "FAILED_PRECONDITION", "is not the one asked for"),
        ("tone", {"digest": b"x"}, "INVALID_ARGUMENT", "32 bytes"),
    ],
)
async def test_what_cannot_be_loaded_says_why(
    service: Any, name: str, fields: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await load(service, name, **fields)
    assert (caught.value.code().name, said in (caught.value.details() or "")) == (code, True)


async def test_only_an_operator_changes_what_is_loaded(service: Any) -> None:
    for call, request in (
        (service.LoadAdapter, pb.LoadAdapterRequest(name="tone")),
        (service.UnloadAdapter, pb.UnloadAdapterRequest(name="tone")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request, metadata=(("authorization", "Bearer gateway-token"),))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_engine_without_adapters_says_so(redis_url: str, worker: Any) -> None:
    async with worker(redis_url) as running:
        with pytest.raises(Unimplemented, match="echo runs no adapters"):
            await running.adapters.load("tone", b"", Principal("person", "op"))


async def test_who_loads_and_unloads_is_recorded(service: Any, acts: Acts) -> None:
    loaded = await load(service, "tone")
    await unload(service, "tone")
    detail = {"by": "op", "tenant": "t", "worker": "worker-0", "digest": loaded.digest.hex(), "model": "echo"}
    assert acts.recorded == [("ADAPTER_LOADED", "tone", detail), ("ADAPTER_UNLOADED", "tone", detail)]


async def test_invariant_7_what_cannot_be_recorded_is_not_done(start: Any, acts: Acts) -> None:
    """Fails if `_settle` is called after `loaded` changes, or the list is committed before the act."""
    async with start() as service:
        acts.away = True
        with pytest.raises(grpc.aio.AioRpcError, match="audit is away"):
            await load(service, "tone")
        assert await listed(service) == ([], [])
        acts.away = False
        await load(service, "tone")
        acts.away = True
        with pytest.raises(grpc.aio.AioRpcError, match="audit is away"):
            await unload(service, "tone")
        assert await listed(service) == (["tone"], [])
        with pytest.raises(grpc.aio.AioRpcError, match="unload it first"):  # the engine has it as well
            await load(service, "tone")
    async with start() as service:
        assert await listed(service) == (["tone"], [])
    assert len(acts.recorded) == 1


@pytest.mark.parametrize(("refused", "failure"), [(True, ""), (False, "ADAPTER_NOT_SERVED")])
async def test_a_job_that_comes_during_an_unload_waits_until_it_is_decided(
    service: Any, acts: Acts, redis_url: str, gateway: Any, make_job: Any, refused: bool, failure: str
) -> None:
    """Fails if the intake does not ask `undecided`, or the adapter leaves the engine before audit's answer."""
    await load(service, "tone")
    acts.away = refused
    async with gateway(redis_url) as queue:
        async with acts.undecided(unload(service, "tone")) as unloading:
            early = asyncio.create_task(answered(queue, job_with(make_job, "tone")))
            # Claimed after it, so that it was looked at.
            assert (await answered(queue, job_with(make_job, "")))[1] == ""
            assert not early.done() and (await listed(service))[0] == ["tone"]
        assert (unloading.exception() is not None) is refused
        assert (await asyncio.wait_for(early, 30))[1] == failure


async def test_a_request_that_is_not_in_the_engine_yet_is_one_that_runs(
    start: Any, torch_engine: Any, redis_url: str, gateway: Any, make_job: Any
) -> None:
    """Its grammar is being compiled. Fails if only what the engine holds counts as a use."""
    engine = SlowToPrepare(torch_engine(), 1000)
    async with start(engine=engine) as service, gateway(redis_url) as queue:
        await load(service, "tone")
        running = asyncio.create_task(answered(queue, job_with(make_job, "tone", regex="[a-z]+")))
        assert await asyncio.to_thread(engine.began.wait, 30)
        with pytest.raises(grpc.aio.AioRpcError, match="1 requests run with adapter 'tone'"):
            await unload(service, "tone")
        engine.go_on.set()
        assert (await asyncio.wait_for(running, 30))[1] == ""
        await unload(service, "tone")


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
