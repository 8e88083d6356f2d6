"""`strongroom adapters` against two fake workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from strongroom.cli.main import main
from strongroom.inference.v1 import inference_pb2 as pb
from strongroom.inference.v1 import inference_pb2_grpc as rpc

DIGEST = b"d" * 32


class Worker(rpc.InferenceServiceServicer):
    """Keeps what it is told to load; refuses another digest."""

    def __init__(self) -> None:
        self.loaded: dict[str, pb.Adapter] = {}

    def LoadAdapter(self, request: pb.LoadAdapterRequest, context: Any) -> pb.LoadAdapterResponse:
        if request.digest not in (b"", DIGEST):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "adapter tone has another digest")
        self.loaded[request.name] = pb.Adapter(name=request.name, digest=DIGEST, rank=4, layers=2)
        return pb.LoadAdapterResponse(adapter=self.loaded[request.name])

    def UnloadAdapter(self, request: pb.UnloadAdapterRequest, context: Any) -> pb.UnloadAdapterResponse:
        if request.name not in self.loaded:
            context.abort(grpc.StatusCode.NOT_FOUND, f"adapter {request.name!r} is not loaded")
        del self.loaded[request.name]
        return pb.UnloadAdapterResponse()

    def ListAdapters(self, request: pb.ListAdaptersRequest, context: Any) -> pb.ListAdaptersResponse:
        return pb.ListAdaptersResponse(adapters=self.loaded.values())


@pytest.fixture
def workers(stack: Any, tmp_path: Path) -> Iterator[list[Worker]]:
    made, servers = [Worker(), Worker()], []
    for name, worker in zip(("inference", "inference-1"), made):
        server = grpc.server(ThreadPoolExecutor(2))
        rpc.add_InferenceServiceServicer_to_server(worker, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        (tmp_path / "run" / f"{name}.json").write_text(json.dumps({"grpc": address}))
        servers.append(server)
    yield made
    for server in servers:
        server.stop(None).wait()


def test_every_worker_is_told(workers: list[Worker], capsys: pytest.CaptureFixture[str]) -> None:
    """Fails if `run` asks the first worker alone: a job may go to any."""
    assert main(["adapters", "load", "tone", "--digest", DIGEST.hex()]) == 0
    assert all("tone" in worker.loaded for worker in workers)
    assert capsys.readouterr().out.splitlines() == [
        f"{name}  tone  sha256:{DIGEST.hex()}  rank 4, 2 layers" for name in ("inference", "inference-1")
    ]
    assert main(["adapters", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each[0]["worker"] for each in listed] == ["inference", "inference-1"]
    assert main(["adapters", "unload", "tone"]) == 0
    assert not any(worker.loaded for worker in workers)
    assert main(["adapters", "list"]) == 0
    assert "inference-1  no adapter is loaded" in capsys.readouterr().out


def test_what_a_worker_refuses_is_an_exit_status(workers: list[Worker], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters", "load", "tone", "--digest", "00" * 32]) != 0
    assert "another digest" in capsys.readouterr().err
    assert main(["adapters", "unload", "absent"]) != 0
    with pytest.raises(SystemExit):
        main(["adapters", "load", "tone", "--digest", "short"])
