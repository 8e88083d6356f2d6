"""Jobs with a true ticket, made the way gateway and audit make them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
from strongroom.inference.v1 import inference_pb2 as pb

TICKET_KEY = b"t" * 32
DEADLINE_MS = 2_000_000


def ticketed(body: pb.JobBody, request_id: str, key: bytes = TICKET_KEY, expires_ms: int = DEADLINE_MS) -> pb.Job:
    """Audit's side written out a second time, from the layout and not from the code under test."""
    data = body.SerializeToString()
    message = b""
    for part in (
        b"strongroom acceptance ticket v1",
        b"dev.log",
        request_id.encode(),
        expires_ms.to_bytes(8, "big"),
        hashlib.sha256(data).digest(),
    ):
        message += len(part).to_bytes(4, "big") + part
    job = pb.Job(body=data)
    job.ticket.log_origin = "dev.log"
    job.ticket.expire_time.FromMilliseconds(expires_ms)
    job.ticket.mac = hmac.new(key, message, "sha256").digest()
    return job


@pytest.fixture
def make_job() -> Callable[..., pb.Job]:
    def make(request_id: str = "r-1", text: str = "hello", ticket_of: str = "", **ticket: object) -> pb.Job:
        body = pb.JobBody(request_id=request_id, gateway_boot_id="g-1", model="m", priority="interactive")
        body.messages.add(role="user", content=text)
        body.deadline_time.FromMilliseconds(DEADLINE_MS)
        return ticketed(body, ticket_of or request_id, **ticket)

    return make


@pytest.fixture
def ticket_key() -> bytes:
    return TICKET_KEY
