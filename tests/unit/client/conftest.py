"""A small real stack of fakes on loopback, found through its home folder as a real one is."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from strongroom.audit.v1 import audit_pb2, audit_pb2_grpc
from strongroom.client import Answer
from strongroom.gateway.v1 import gateway_pb2 as pb
from strongroom.gateway.v1 import gateway_pb2_grpc as rpc
from strongroom.guard.v1 import guard_pb2, guard_pb2_grpc
from strongroom.monitor.v1 import monitor_pb2, monitor_pb2_grpc
from strongroom.verify import answer_bytes, request_bytes

API_KEY = "sk-dev_test"
ORIGIN = "dev.fake/1"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class FakeLog:
    """A log of one leaf, signed: enough for a receipt that a verifier accepts."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def _public(self) -> bytes:
        return b"\x01" + self.key.public_key().public_bytes_raw()

    @property
    def _key_hash(self) -> bytes:
        return hashlib.sha256(f"{ORIGIN}\n".encode() + self._public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{ORIGIN}+{self._key_hash.hex()}+{b64(self._public)}"

    def receipt(self, request: Any, answer: Any) -> dict[str, object]:
        fields = {"answer_released": answer_bytes(answer), "request_received": request_bytes(request)}
        salts = {name: bytes([number]) * 32 for number, name in enumerate(fields)}
        leaves = [
            hashlib.sha256(b"\x00" + name.encode() + b"\x00" + salts[name] + data).digest()
            for name, data in fields.items()
        ]
        content = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
        leaf = bytes([1, 5]) + bytes(64) + content
        root = hashlib.sha256(b"\x00" + leaf).digest()
        text = f"{ORIGIN}\n1\n{b64(root)}\n"
        signature = b64(self._key_hash + self.key.sign(text.encode()))
        openings = {
            name: {"index": index, "count": 2, "salt": b64(salts[name]), "siblings": [b64(leaves[1 - index])]}
            for index, name in enumerate(fields)
        }
        return {
            "version": 1, "state": "DURABLE", "environment": "DEVELOPMENT", "request_id": "r-1", "leaf": b64(leaf),
            "tlog_proof": f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}\n— {ORIGIN} {signature}\n", "openings": openings,
        }  # fmt: skip


def refusal(code: int, reason: str, message: str, field_name: str = "", retry_ms: int = 0) -> status_pb2.Status:
    """A failure as the boundary writes it."""
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="strongroom")]
    if field_name:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field_name, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_ms:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_ms)
        details.append(retry)
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code, message=message, details=packed)


@dataclass
class FakeStack:
    """What the fakes answer, and what they were asked. Knows one key."""

    home: Path
    log: FakeLog = field(default_factory=FakeLog)
    text: tuple[str, ...] = ("The vault ", "is closed.")
    reasoning: str = ""
    finish_reason: str = "STOP"
    others: tuple[str, ...] = ()  # answers beside it
    failure: status_pb2.Status | None = None
    breaks_after: int | None = None  # pieces, then the failure
    tampered: bool = False
    traces: list[monitor_pb2.GetTraceResponse] = field(default_factory=list)
    records: list[audit_pb2.RecordSummary] = field(default_factory=list)
    counts: audit_pb2.GetCompletenessResponse = field(default_factory=audit_pb2.GetCompletenessResponse)
    indexed: int = 50  # entries in the index, of 50; it is whole with all of them
    asked: list[Any] = field(default_factory=list)
    waits: bool = False  # a stream goes no further than Started until its caller leaves
    left: threading.Event = field(default_factory=threading.Event)  # set by a caller who left

    def outcome(self, prompt: pb.Prompt) -> pb.Outcome:
        sampling = prompt.sampling
        given = {each.name: getattr(sampling, each.name) for each, _ in sampling.ListFields()}
        if "stop" in given:
            given["stop"] = list(given["stop"])
        request = {
            "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
            "model": prompt.model,
            "adapter": prompt.adapter,
            "parameters": given,
        }
        text = "something else" if self.tampered else "".join(self.text)
        first = {"content": text, "finish_reason": self.finish_reason, "reasoning": self.reasoning}
        others = [{"content": other, "finish_reason": "LENGTH", "reasoning": ""} for other in self.others]
        receipt = self.log.receipt(request, [first, *others])
        ends = [pb.ChoiceEnd(finish_reason=pb.FINISH_REASON_STOP)]
        ends += [pb.ChoiceEnd(finish_reason=pb.FINISH_REASON_LENGTH) for _ in self.others]
        return pb.Outcome(
            request_id="r-1",
            model="tiny",
            finish_reason=pb.FinishReason.Value(f"FINISH_REASON_{self.finish_reason}"),
            usage=pb.Usage(input_tokens=7, output_tokens=4),
            guard=pb.GuardReport(
                verdict=pb.VERDICT_ALLOW,
                findings=[pb.Finding(type="BANK_CARD", start=3, end=19, level="C2", side="prompt")],
            ),
            receipt=pb.Receipt(state=pb.RECEIPT_STATE_DURABLE, document=json.dumps(receipt)),
            trace_id="ab" * 16,
            timings=pb.Timings(total_ms=12.5),
            reasoning_unfinished=bool(self.reasoning and not any(self.text)),
            choices=ends if self.others else [],
        )


class _Gateway(rpc.GatewayServiceServicer):
    def __init__(self, stack: FakeStack) -> None:
        self._stack = stack

    def _admit(self, request: Any, context: Any) -> None:
        self._stack.asked.append(request)
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {API_KEY}":
            unknown = refusal(16, "UNKNOWN_CREDENTIAL", "this credential is not known here: check the key")
            context.abort_with_status(rpc_status.to_status(unknown))
        if self._stack.failure and self._stack.breaks_after is None:
            context.abort_with_status(rpc_status.to_status(self._stack.failure))

    def Generate(self, request: pb.GenerateRequest, context: Any) -> Any:
        self._admit(request, context)
        stack = self._stack
        outcome, text = stack.outcome(request.prompt), "".join(stack.text)
        choices = [pb.Choice(text=said, end=end) for said, end in zip((text, *stack.others), outcome.choices)]
        return pb.GenerateResponse(outcome=outcome, text=text, reasoning=stack.reasoning, choices=choices)

    def StreamGenerate(self, request: pb.StreamGenerateRequest, context: Any) -> Any:
        self._admit(request, context)
        if self._stack.waits:  # told before the first event: after it, a caller who left lets nothing run here
            context.add_callback(self._stack.left.set)
        yield pb.StreamGenerateResponse(started=pb.Started(request_id="r-1", model="tiny", trace_id="ab" * 16))
        if self._stack.waits:
            self._stack.left.wait()
        if self._stack.reasoning:
            yield pb.StreamGenerateResponse(delta=pb.Delta(reasoning=self._stack.reasoning))
        for number, piece in enumerate(self._stack.text):
            if number == self._stack.breaks_after and self._stack.failure:
                context.abort_with_status(rpc_status.to_status(self._stack.failure))
            yield pb.StreamGenerateResponse(delta=pb.Delta(text=piece))
        yield pb.StreamGenerateResponse(outcome=self._stack.outcome(request.prompt))

    def GetReceipt(self, request: pb.GetReceiptRequest, context: Any) -> Any:
        return pb.GetReceiptResponse(receipt=self._stack.outcome(self._stack.asked[-1].prompt).receipt)

    def ListModels(self, request: Any, context: Any) -> Any:
        return pb.ListModelsResponse(models=[pb.Model(id="tiny", context_tokens=64, workers=2, engine="echo")])


class _Audit(audit_pb2_grpc.AuditServiceServicer):
    def __init__(self, stack: FakeStack) -> None:
        self._stack = stack

    def GetCheckpoint(self, request: Any, context: Any) -> Any:
        return audit_pb2.GetCheckpointResponse(checkpoint="a note\n", verifier_key=self._stack.log.vkey)

    def ListRecords(self, request: audit_pb2.ListRecordsRequest, context: Any) -> Any:
        start = int(request.page_token or 0)
        end = start + min(request.page_size or 20, 3)  # small pages, so that paging shows
        more = str(end) if end < len(self._stack.records) else ""
        return audit_pb2.ListRecordsResponse(records=self._stack.records[start:end], next_page_token=more)

    def GetCompleteness(self, request: Any, context: Any) -> Any:
        return self._stack.counts

    def ExplainDifferences(self, request: audit_pb2.ExplainDifferencesRequest, context: Any) -> Any:
        for boot in self._stack.counts.boots:
            if boot.boot_id == request.boot_id and request.reason:
                boot.differences[0].open = False
                self._stack.counts.open_differences = 0
        return audit_pb2.ExplainDifferencesResponse(open_differences=self._stack.counts.open_differences)

    def SearchRecords(self, request: audit_pb2.SearchRecordsRequest, context: Any) -> Any:
        self._stack.asked.append(request)
        found = [record for record in self._stack.records if request.filter.caller in ("", record.caller)]
        return audit_pb2.SearchRecordsResponse(
            records=found[:3], count=len(found), indexed_entries=self._stack.indexed, log_entries=50
        )

    def RebuildIndex(self, request: Any, context: Any) -> Any:
        yield audit_pb2.RebuildIndexResponse(done=0, total=50)
        yield audit_pb2.RebuildIndexResponse(done=50, total=50, finished=True)

    def CheckIndex(self, request: Any, context: Any) -> Any:
        yield audit_pb2.CheckIndexResponse(done=20, total=50)
        problems = [] if self._stack.indexed == 50 else ["leaf 3: the record is missing"]
        yield audit_pb2.CheckIndexResponse(done=50, total=50, finished=True, records=7, problems=problems)

    def GetRecord(self, request: audit_pb2.GetRecordRequest, context: Any) -> Any:
        for record in self._stack.records:
            if record.record_id == request.record_id:
                entry = audit_pb2.RecordEntry(kind="END", leaf_index=record.leaf_index, segment="0001", offset=64)
                released = audit_pb2.RecordField(name="answer_released", length=11, masked='[{"content":"…"}]')
                received = audit_pb2.RecordField(name="request_received", length=40, sealed=True)
                return audit_pb2.GetRecordResponse(summary=record, entries=[entry], fields=[released, received])
        return context.abort_with_status(rpc_status.to_status(refusal(5, "RECORD_UNKNOWN", "no such record")))


class _Guard(guard_pb2_grpc.GuardServiceServicer):
    def CheckText(self, request: guard_pb2.CheckTextRequest, context: Any) -> Any:
        refused = "bomb" in request.text
        verdict = guard_pb2.VERDICT_REFUSE if refused else guard_pb2.VERDICT_ALLOW
        rule = "violence" if refused else ""
        return guard_pb2.CheckTextResponse(verdict=verdict, score=0.5, rule=rule, stage="lists")

    def RedactText(self, request: guard_pb2.RedactTextRequest, context: Any) -> Any:
        finding = guard_pb2.Finding(type="EMAIL", start=0, end=3, level="C2")
        return guard_pb2.RedactTextResponse(text="[REDACTED]" + request.text[3:], findings=[finding])


class _Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    """Answers each time with the next trace it was given; the last one stays."""

    def __init__(self, stack: FakeStack) -> None:
        self._stack = stack

    def GetTrace(self, request: monitor_pb2.GetTraceRequest, context: Any) -> Any:
        self._stack.asked.append(request)
        if not self._stack.traces:
            context.abort_with_status(rpc_status.to_status(refusal(5, "TRACE_UNKNOWN", "no such trace")))
        return self._stack.traces.pop(0) if len(self._stack.traces) > 1 else self._stack.traces[0]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStack]:
    """The fakes, running; the environment points at their home and nowhere else."""
    fake = FakeStack(tmp_path)
    server = grpc.server(ThreadPoolExecutor(4))
    adding: list[tuple[Callable[..., None], object]] = [
        (rpc.add_GatewayServiceServicer_to_server, _Gateway(fake)),
        (audit_pb2_grpc.add_AuditServiceServicer_to_server, _Audit(fake)),
        (guard_pb2_grpc.add_GuardServiceServicer_to_server, _Guard()),
        (monitor_pb2_grpc.add_MonitorServiceServicer_to_server, _Monitor(fake)),
    ]
    for add, servicer in adding:
        add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    (tmp_path / "run").mkdir()
    for name in ("gateway", "guard", "audit", "monitor"):
        (tmp_path / "run" / f"{name}.json").write_text(json.dumps({"grpc": f"127.0.0.1:{port}"}))
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "development-api-key").write_text(f"{API_KEY}\n")
    for name in ("STRONGROOM_ADDRESS", "STRONGROOM_API_KEY", "STRONGROOM_PORT_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STRONGROOM_HOME", str(tmp_path))
    yield fake
    server.stop(None).wait()


@pytest.fixture
def failing() -> Callable[..., status_pb2.Status]:
    """Makes a failure: code number, reason, message, field, retry in ms."""
    return refusal


@pytest.fixture
def answer() -> Callable[..., Answer]:
    """Makes an answer of which a test names what matters to it."""
    usual: dict[str, Any] = {
        "request_id": "r-1", "model": "tiny", "text": "So.", "reasoning": "", "finish_reason": "STOP",
        "input_tokens": 1, "output_tokens": 1, "verdict": "ALLOW", "rule": "", "receipt_state": "DURABLE",
        "receipt": {}, "trace_id": "", "timings": {},
    }  # fmt: skip
    return lambda **named: Answer(**{**usual, **named})
