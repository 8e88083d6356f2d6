"""Completeness over the wire: who may see the counts, who may say why they differ, and what is left of it."""

from __future__ import annotations

import json

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from strongroom.audit.v1 import audit_pb2 as pb


async def differing(audit) -> None:
    """One answer, of which a worker counted two."""
    async with audit.appending() as gateway, audit.calling("inference") as worker:
        await gateway.accept("r1")
        await gateway.end("r1")
        detail = json.dumps({"worker": "w1", "jobs": 2, "finished": 2, "tokens": 2}).encode()
        await worker.RecordAct(pb.RecordActRequest(action="JOBS_COUNTED", target="boot-1", detail=detail))


async def refused(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def reason(error: grpc.aio.AioRpcError) -> str:
    info, status = error_details_pb2.ErrorInfo(), rpc_status.from_call(error)
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason


async def test_a_difference_is_shown_and_open_until_a_person_says_why(audit) -> None:
    await differing(audit)
    async with audit.calling("reviewer") as reviewer:
        found = await reviewer.GetCompleteness(pb.GetCompletenessRequest())
        [boot] = found.boots
        assert (boot.boot_id, boot.accepted_jobs, boot.completed_jobs, boot.counted_jobs) == ("boot-1", 1, 1, 2)
        assert (boot.recorded_tokens, boot.counted_tokens, boot.workers) == (1, 2, 1)
        assert [(each.kind, each.count, each.open) for each in boot.differences] == [("unrecorded_jobs", 1, True)]
        assert found.open_differences == 1
        request = pb.ExplainDifferencesRequest(boot_id="boot-1", reason="a job ran twice after Redis had lost a second")
        assert (await reviewer.ExplainDifferences(request)).open_differences == 0
        found = await reviewer.GetCompleteness(pb.GetCompletenessRequest())
        assert [each.open for each in found.boots[0].differences] == [False]
    act = audit.writer.stored.leaf(audit.writer.tree.size - 1)
    assert (act.header["actor"], act.header["action"], act.header["target"]) == (
        "reviewer", "DIFFERENCE_EXPLAINED", "boot-1",
    )  # fmt: skip
    assert "Redis had lost" in act.parts["detail"].decode()


async def test_nobody_else_may_explain_and_nothing_else_can_be(audit) -> None:
    await differing(audit)
    request = pb.ExplainDifferencesRequest(boot_id="boot-1", reason="because")
    for token in ("caller", "operator", "inference"):
        async with audit.calling(token) as stub:
            assert (await refused(stub.ExplainDifferences(request))).code() is grpc.StatusCode.PERMISSION_DENIED
    async with audit.calling("reviewer") as reviewer:
        silent = await refused(reviewer.ExplainDifferences(pb.ExplainDifferencesRequest(boot_id="boot-1", reason=" ")))
        assert silent.code() is grpc.StatusCode.INVALID_ARGUMENT
        request.boot_id = "boot-2"
        assert reason(await refused(reviewer.ExplainDifferences(request))) == "NO_DIFFERENCE"
    assert audit.writer.open_differences() != []
