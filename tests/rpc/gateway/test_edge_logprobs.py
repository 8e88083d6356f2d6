"""Log-probabilities and grammars over HTTP: what is told, when, and what reaches the job."""

from __future__ import annotations

import json

from services.gateway.requests.outcome import Step, TokenLogprob
from tests.rpc.gateway.edge import ask, events, question

LIKELY = tuple(
    TokenLogprob(token, -0.25, ((token, -0.25), (b"Bye", -2.5)), end)
    for token, end in ((b"Hel", 3), (b"lo", 5), (b" w\xc3", 8), (b"\xb6rld", 11))
)
LIKELY_STEPS = [Step("Hello", logprobs=LIKELY[:2]), Step(" wörld", "STOP", "", 7, 4, logprobs=LIKELY[2:])]


async def test_log_probabilities_come_with_their_text_whole_and_streamed(door, http):
    door.queue.script = LIKELY_STEPS
    whole = (await ask(http, question(logprobs=True, top_logprobs=2))).json()["choices"][0]["logprobs"]["content"]
    assert [bytes(one["bytes"]) for one in whole] == [one.token for one in LIKELY]
    assert whole[2]["token"] == " w\ufffd" and whole[0]["top_logprobs"][1] == {
        "token": "Bye", "logprob": -2.5, "bytes": [66, 121, 101]
    }  # fmt: skip
    reply = await ask(http, question(logprobs=True, top_logprobs=2, stream=True))
    choices = [json.loads(chunk)["choices"][0] for chunk in events(reply.text)[:-1]]
    told = [(choice["delta"].get("content"), choice["logprobs"]) for choice in choices if choice["logprobs"]]
    assert [one for _, logprobs in told for one in logprobs["content"]] == whole
    assert "".join(text for text, _ in told) == "Hello wörld"
    # Invariant 2: what was sent is in the RELEASE before it.
    released = [json.loads(entry.release.content) for entry in door.audit.entries if entry.HasField("release")]
    tokens = [one[0] for pieces in released for piece in pieces for one in piece.get("tokens", ())]
    assert tokens == [one.token.hex() for one in LIKELY] * 2


async def test_what_was_not_asked_for_is_not_told(http):
    reply = await ask(http)
    assert reply.json()["choices"][0]["logprobs"] is None


async def test_a_schema_reaches_the_job_with_its_members_in_their_order(door, http):
    schema = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}, "required": ["b"]}
    body = question(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    )
    assert (await ask(http, body)).status_code == 200
    assert repr(json.dumps(schema, separators=(",", ":"))) in door.queue.jobs[0].body.decode()


async def test_what_cannot_be_masked_beside_the_prompt_is_refused_with_its_field(door, http):
    """A schema's strings, a stop string: their field, and one REJECTED entry. Fails if the conductor notes none."""
    door.guard.unmaskable = "13912345678"
    schema = {"type": "object", "properties": {"to": {"const": "\u0031391234\u0035678"}}}
    described = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for body, param in (
        (question(response_format=described), "response_format"),
        (question(stop="13912345678"), "stop"),
    ):
        refused = await ask(http, body)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (400, "CANNOT_BE_MASKED", param)
        assert "MOBILE_NUMBER" in error["message"] and "12345" not in refused.text
    assert door.queue.jobs == [] and "accept" not in door.audit.kinds()
    rejected = [item.reject for item in door.audit.entries if item.HasField("reject")]
    assert rejected[0].reason == "CANNOT_BE_MASKED"
    assert (await ask(http, question(stop="139"))).status_code == 200


async def test_a_guard_that_looks_through_no_grammars_does_not_let_them_pass(door, http):
    """Fails if the count that a guard of an earlier version leaves at 0 is not looked at."""
    door.guard.outdated = True
    reply = await ask(http, question(stop="x"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "GUARD_OUTDATED")
    assert (await ask(http)).status_code == 200
