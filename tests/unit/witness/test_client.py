"""Both clients against a gateway whose receipts and proofs come from a real log, which is rewritten behind it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from strongroom.client import OFF, AsyncClient, Client, KnownCheckpoints, LogRewritten, Question
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc


class Gateway(rpc.GatewayServiceServicer):
    """What the real one passes on from audit."""

    def __init__(self, home: Any) -> None:
        self._home = home
        self.proofs = 0

    def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        self._home.grow(1)
        return pb.GenerateResponse(
            outcome=pb.Outcome(request_id=self.newest, receipt=self._receipt(self._home.receipts[-1]))
        )

    def GetReceipt(self, request: pb.GetReceiptRequest, context: Any) -> pb.GetReceiptResponse:
        return pb.GetReceiptResponse(receipt=self._receipt(self._home.writer.records.receipt(request.request_id)[1]))

    def GetConsistencyProof(self, request: pb.GetConsistencyProofRequest, context: Any) -> Any:
        self.proofs += 1
        try:
            return pb.GetConsistencyProofResponse(hashes=self._home.writer.consistency(request.old_size, request.size))
        except IndexError:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the log holds fewer entries")

    @property
    def newest(self) -> str:
        return str(json.loads(self._home.receipts[-1])["request_id"])

    @staticmethod
    def _receipt(document: str) -> pb.Receipt:
        return pb.Receipt(state=pb.RECEIPT_STATE_DURABLE, document=document)


@pytest.fixture
def gateway(home) -> Iterator[Gateway]:
    servicer, server = Gateway(home), grpc.server(ThreadPoolExecutor(1))
    rpc.add_GatewayServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined]
    server.start()
    yield servicer
    server.stop(0).wait()


class Awaited:
    """AsyncClient, called as Client is."""

    def __init__(self, **given: Any) -> None:
        self._given = given

    def _run(self, word: str, *arguments: Any) -> Any:
        async def call() -> Any:
            async with AsyncClient(**self._given) as client:
                return await getattr(client, word)(*arguments)

        return asyncio.run(call())

    def ask(self, *arguments: Any) -> Any:
        return self._run("ask", *arguments)

    def receipt(self, *arguments: Any) -> Any:
        return self._run("receipt", *arguments)


@pytest.mark.parametrize("kind", [Client, Awaited])
def test_a_receipt_has_to_continue_what_was_seen(gateway, home, tmp_path, kind) -> None:
    """Fails if either client keeps a checkpoint without the proof, or asks for none."""
    home.grow(3)
    home.close()
    shutil.copytree(home.folder, tmp_path / "older", ignore=shutil.ignore_patterns("lock"))
    home.open()
    known = KnownCheckpoints(home.writer.verifier_key, tmp_path / "known")
    client = kind(address=gateway.address, api_key="key", retry=OFF, known=known)
    first = client.receipt(gateway.newest)
    assert first["state"] == "DURABLE" and gateway.proofs == 0
    client.ask(Question.of("What?"))
    home.grow(2)
    client.receipt(gateway.newest)
    assert gateway.proofs == 2  # from what was kept, and from what the answer brought
    kept = known.newest

    home.close()
    shutil.rmtree(home.folder)
    shutil.copytree(tmp_path / "older", home.folder)
    home.boot, home.receipts = "rewritten", []
    home.open()
    home.grow(20)
    with pytest.raises(LogRewritten, match="does not continue the first"):
        client.receipt(gateway.newest)
    assert known.newest == kept


def test_without_a_memory_nothing_is_asked(gateway, home) -> None:
    home.grow(1)
    with Client(address=gateway.address, api_key="key", retry=OFF) as client:
        client.receipt(gateway.newest)
        home.grow(1)
        client.receipt(gateway.newest)
    assert gateway.proofs == 0
