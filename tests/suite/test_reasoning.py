"""Reasoning with the whole suite: masked, withheld, receipted, and the same after a worker's death."""

from __future__ import annotations

import asyncio
import json

from strongroom.verify import verify_receipt

MOBILE = "13812345678"


async def test_reasoning_is_masked_receipted_and_kept_apart(suite):
    """The stop string makes a mobile number of what was none in the prompt: only the answer's filter can find it."""
    text = f"<think> see {MOBILE}9 </think> done"
    answer = await suite.ask(text, max_tokens=16)
    assert (answer.reasoning.strip(), answer.text) == (f"see {MOBILE}9", "done")
    masked = await suite.ask(f"<think> see {MOBILE}9876", max_tokens=16, stop=["9876"])
    assert (masked.reasoning, masked.text) == ("see [REDACTED]", "") and masked.outcome.reasoning_unfinished
    [found] = masked.outcome.guard.findings
    assert (found.type, found.side, found.start) == ("MOBILE_NUMBER", "reasoning", len("see "))
    key = (suite.home / "audit" / "tlog" / "log.vkey").read_text().strip()
    parameters = {"max_tokens": 16, "temperature": 0.0}
    request = {"messages": [{"role": "user", "content": text}], "parameters": parameters}
    released = {"content": answer.text, "reasoning": answer.reasoning, "finish_reason": "STOP"}
    receipt = json.loads(answer.outcome.receipt.document)
    assert verify_receipt(request, released, receipt, key)
    assert not verify_receipt(request, {**released, "reasoning": ""}, receipt, key)


async def test_reasoning_may_not_say_what_an_answer_may_not(suite):
    words = "the moon landing was faked in a studio and nobody ever went there"
    plain, thought = await suite.ask(words, max_tokens=64), await suite.ask(f"<think>{words}</think> so", max_tokens=64)
    assert plain.outcome.finish_reason == thought.outcome.finish_reason == 5, "WITHHELD"
    assert thought.text == "" and "landing" not in thought.reasoning


async def test_invariant_8_a_worker_that_dies_while_it_reasons_changes_no_character(suite):
    """Fails if the gateway begins its split anew when another claim goes on with the answer."""
    reasoning, content = " ".join(f"why{n}" for n in range(40)), " ".join(f"so{n}" for n in range(20))
    question = f"<think> {reasoning} </think> {content}"
    async with suite.stream(question, seconds=90, max_tokens=200) as (answer, pieces):
        async with asyncio.timeout(60):
            reading = asyncio.create_task(_all(pieces))
            while "why9" not in answer.reasoning:
                await asyncio.sleep(0.02)
            suite.kill("inference")
            assert "so0" not in answer.text, "it was killed too late"
            suite.start("inference")
            await reading
    assert answer.error is None and (answer.reasoning.strip(), answer.text) == (reasoning, content)


async def _all(pieces):
    async for _ in pieces:
        pass
