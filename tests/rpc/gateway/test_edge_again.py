"""Idempotency keys over HTTP: told again, still running, or somebody else's."""

from __future__ import annotations

import pytest

from tests.rpc.gateway.edge import ask

QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


async def test_an_idempotency_key_in_use_is_409_with_the_request_that_holds_it(door, http):
    door.audit.refusing = "IDEMPOTENCY_CONFLICT"
    reply = await ask(http, QUESTION, headers={"Idempotency-Key": "k"})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert error["strongroom"]["request_id"] == "other" and reply.headers["x-should-retry"] == "false"
    long = await ask(http, QUESTION, headers={"Idempotency-Key": "k" * 200})
    assert (long.status_code, long.json()["error"]["param"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("stream", [False, True])
async def test_under_an_idempotency_key_a_finished_answer_is_told_again(door, http, told_before, stream):
    door.audit.refusing, door.audit.told = "IDEMPOTENCY_CONFLICT", told_before
    reply = await ask(http, {**QUESTION, "stream": stream}, headers={"Idempotency-Key": "k"})
    assert reply.status_code == 200 and reply.headers["x-request-id"] == "other" and door.queue.jobs == []
    assert '"told before"' in reply.text and '"reasoning_content":"so"' in reply.text
    assert '"read_back":true' in reply.text
    assert "chatcmpl-other" in reply.text and '"request_id":"other"' in reply.text


async def test_a_key_whose_request_still_runs_is_409_with_its_id_and_a_time_to_come_back(door, http, told_before):
    door.audit.refusing, door.audit.told = "IDEMPOTENCY_CONFLICT", told_before
    door.audit.running = True
    reply = await ask(http, QUESTION, headers={"Idempotency-Key": "k"})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (409, "REQUEST_STILL_RUNNING")
    assert error["strongroom"]["request_id"] == "other" and error["param"] == "Idempotency-Key"
    assert reply.headers["retry-after"] == "1" and "x-should-retry" not in reply.headers
