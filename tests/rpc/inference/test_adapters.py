"""Adapters through the worker's own service: loaded while it serves, asked for by a job, and what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import torch
from safetensors.torch import save_file
from strongroom.inference.v1 import inference_pb2 as pb

from services.inference.engine.opening import EngineSettings
from services.inference.engine.torch_opening import assemble
from services.inference.models.device import Device
from services.inference.models.loading import LoadedModel
from services.inference.models.prompt import Prompt

OPERATOR = (("authorization", "Bearer operator-token"),)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters" / "tone"
    folder.mkdir(parents=True)
    path = "base_model.model.model.layers.1.self_attn.v_proj.lora_"
    torch.manual_seed(0)
    save_file(
        {f"{path}A.weight": torch.randn(4, 96), f"{path}B.weight": torch.randn(32, 4)},
        folder / "adapter_model.safetensors",
    )
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "firm/base"}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return tmp_path


@pytest.fixture
async def service(
    redis_url: str, worker: Any, serve: Any, home: Path, tiny_model: Callable[[str], Any], tiny_tokenizer: Any
) -> AsyncIterator[Any]:
    model = LoadedModel(
        model=copy.deepcopy(tiny_model("llama")), prompt=Prompt(tiny_tokenizer), name="echo", revision="", digest="",
        device=Device(name="cpu", reason="test"), dtype=torch.float32, parameters=0,
    )  # fmt: skip
    engine = assemble(model, EngineSettings(slots=2, context_tokens=600))
    async with worker(redis_url, engine=engine, home=home) as running, serve(running) as service:
        yield service


async def load(service: Any, name: str, **fields: Any) -> pb.Adapter:
    answer = await service.LoadAdapter(pb.LoadAdapterRequest(name=name, **fields), metadata=OPERATOR)
    found: pb.Adapter = answer.adapter
    return found


async def answered(queue: Any, job: pb.Job) -> tuple[list[int], str]:
    reply = await queue.submit(job)
    ids: list[int] = []
    while True:
        for delta in await reply.next():
            ids += delta.token_ids
            if delta.finish:
                return ids, delta.failure


def job_with(make_job: Any, adapter: str, adapter_digest: bytes = b"") -> pb.Job:
    """Each a request of its own: a ticket is good for one."""
    job: pb.Job = make_job(
        f"r-{uuid4().hex}", text="hello", max_tokens=8, adapter=adapter, adapter_digest=adapter_digest
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
        listed = await service.ListAdapters(pb.ListAdaptersRequest(), metadata=OPERATOR)
        assert list(listed.adapters) == [loaded]
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
    from chassis.failures import Unimplemented

    async with worker(redis_url) as running:
        with pytest.raises(Unimplemented, match="echo runs no adapters"):
            await running.adapters.load("tone")
