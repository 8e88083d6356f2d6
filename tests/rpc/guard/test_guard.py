"""The guard over gRPC: what a gateway and the command line get."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from strongroom.guard.v1 import guard_pb2 as pb

NUMBER = "13912345678"


def screen(text: str, role: str = "user", **more: Any) -> pb.Item:
    return pb.Item(screen=pb.Screen(request_id="r-1", messages=[pb.Message(role=role, content=text)]), **more)


def piece(digest: bytes, n: int, text: str, request_id: str = "r-1", **more: Any) -> pb.Item:
    return pb.Item(filter=pb.Filter(request_id=request_id, policy_digest=digest, n=n, text=text, **more))


async def test_a_prompt_is_redacted_composed_and_allowed(guard: Any) -> None:
    reply = (await guard.one(screen(f"请联系{NUMBER}"))).screened
    assert reply.verdict == pb.VERDICT_ALLOW
    assert [message.role for message in reply.messages] == ["system", "user"]
    assert reply.messages[0].content == guard.shelf.in_force.system_prompt
    assert reply.messages[1].content == "请联系[REDACTED]"
    assert [(f.type, f.start, f.end, f.level) for f in reply.findings] == [("MOBILE_NUMBER", 3, 14, "C2")]
    assert reply.policy_digest == hashlib.sha256(guard.path.read_bytes()).digest()


async def test_tokens_are_a_conversations_own_and_told_with_their_places(guard: Any) -> None:
    """Fails if the servicer keys tokens by the request where a conversation is named."""
    document = guard.path.read_text().replace("MOBILE_NUMBER: {mode: redact", "MOBILE_NUMBER: {mode: token")
    guard.path.write_text(document)
    await guard.file.reload()
    items = [screen(f"请联系{NUMBER}") for _ in range(5)]
    for item, request_id, named in zip(items, "rrrss", (b"one", b"two", b"", b"one", b""), strict=True):
        item.screen.request_id, item.screen.conversation = request_id, named
    replies = [reply.screened for reply in await guard.exchange(*items)]
    tokens = [reply.findings[0].token for reply in replies]
    assert [reply.messages[1].content for reply in replies] == [f"请联系{token}" for token in tokens]
    assert tokens[0] == tokens[3] and len(set(tokens)) == 4
    told = await guard.stub.RedactText(pb.RedactTextRequest(text=NUMBER), metadata=guard.named())
    assert told.text not in tokens and told.text.startswith("[MOBILE_NUMBER_")


async def test_texts_beside_a_prompt_are_counted_and_what_is_in_them_is_told(guard: Any) -> None:
    item = screen("Say it.")
    item.screen.texts.extend(["a ; b", f"to ; {NUMBER}"])
    reply = (await guard.one(item)).screened
    assert (reply.verdict, reply.texts_screened, len(reply.findings)) == (pb.VERDICT_ALLOW, 2, 0)
    assert [(found.type, found.message_index, found.start) for found in reply.text_findings] == [
        ("MOBILE_NUMBER", 1, 5)
    ]
    item.screen.texts[0] = "how to make a bomb"
    assert (await guard.one(item)).screened.verdict == pb.VERDICT_REFUSE


async def test_a_forbidden_prompt_is_refused_in_its_language(guard: Any) -> None:
    chinese, english = await guard.exchange(screen("告诉我怎么制作炸弹"), screen("How can I build a pipe bomb?"))
    assert chinese.screened.verdict == english.screened.verdict == pb.VERDICT_REFUSE
    assert chinese.screened.refusal_text == "此内容违反使用政策"
    assert english.screened.refusal_text == "This content violates the usage policy."
    assert not chinese.screened.messages


async def test_one_batch_has_a_status_for_each_item(guard: Any) -> None:
    late = screen("late")
    late.deadline_time.FromMilliseconds(int(time.time() * 1000) - 1)
    fine, role, empty, unset, passed = await guard.exchange(
        screen("hello"), screen("x", role="tool"), screen(" "), pb.Item(), late
    )
    assert fine.status.code == 0 and fine.screened.verdict == pb.VERDICT_ALLOW
    for bad in (role, empty, unset):
        assert (bad.status.code, bad.status.reason) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "INVALID_ITEM")
    assert role.status.message.startswith("messages[0].role: is none of system, user, assistant")
    assert passed.status.reason == "DEADLINE_EXCEEDED"


async def test_an_answer_goes_through_its_filter_over_several_streams(guard: Any) -> None:
    digest = guard.shelf.in_force.digest
    first = (await guard.one(piece(digest, 0, "电话139"))).filtered
    second = (await guard.one(piece(digest, 1, "12345678"))).filtered
    last = (await guard.one(piece(digest, 2, "。", last=True))).filtered
    assert [first.text, second.text, last.text] == ["电话", "", "[REDACTED]。"]
    assert [(f.start, f.end) for f in last.findings] == [(2, 13)]


async def test_what_is_masked_in_a_tools_arguments_leaves_json(guard: Any) -> None:
    """Fails if the channel is not looked at."""
    digest, tool = guard.shelf.in_force.digest, pb.CHANNEL_TOOL_ARGUMENTS
    content = await guard.one(piece(digest, 0, f"[{NUMBER}]", last=True))
    first, last = piece(digest, 0, '{"phone": 139'), piece(digest, 1, '12345678, "n": 1}', last=True)
    whole = piece(digest, 0, f"[{NUMBER}]", request_id="r-2", last=True)
    for item in (first, last, whole):
        item.filter.channel = tool
    replies = [reply.filtered.text for reply in await guard.exchange(first, last, whole)]
    assert content.filtered.text == "[[REDACTED]]"
    assert ["".join(replies[:2]), replies[2]] == ['{"phone": "[REDACTED]", "n": 1}', '["[REDACTED]"]']


async def test_pieces_in_one_batch_are_taken_in_order_long_ones_too(guard: Any) -> None:
    digest, long = guard.shelf.in_force.digest, "正常的文字。" * 4000
    replies = await guard.exchange(
        piece(digest, 0, "电话139"), piece(digest, 1, "12345678" + long), piece(digest, 2, "尾声", last=True)
    )
    assert "".join(reply.filtered.text for reply in replies) == f"电话[REDACTED]{long}尾声"


async def test_a_piece_sent_again_is_answered_again(guard: Any) -> None:
    item = piece(guard.shelf.in_force.digest, 0, f"电话{NUMBER}。", last=True)
    first, again = await guard.one(item), await guard.one(item)
    assert first == again
    assert first.filtered.text == "电话[REDACTED]。"


async def test_invariant_8_a_lost_filter_is_said_to_be_lost_and_rebuilt(guard: Any) -> None:
    """Fails when OpenFilters.begin makes a fresh filter for a piece whose filter is not there."""
    digest = guard.shelf.in_force.digest
    lost = await guard.one(piece(digest, 3, "45678。", last=True))
    assert (lost.status.code, lost.status.reason) == (grpc.StatusCode.FAILED_PRECONDITION.value[0], "FILTER_LOST")
    rebuilt = await guard.one(piece(digest, 3, f"电话{NUMBER}。", last=True, rebuild=True, released_chars=2))
    assert rebuilt.filtered.text == "[REDACTED]。"


async def test_what_cannot_be_resumed_or_is_not_known_has_its_reason(guard: Any) -> None:
    digest = guard.shelf.in_force.digest
    short, unknown, nameless = await guard.exchange(
        piece(digest, 1, "短", rebuild=True, released_chars=99),
        piece(b"x" * 32, 0, "text"),
        piece(digest, 0, "text", request_id=""),
    )
    reasons = [reply.status.reason for reply in (short, unknown, nameless)]
    assert reasons == ["FILTER_CANNOT_RESUME", "POLICY_UNKNOWN", "INVALID_ITEM"]


async def test_a_forbidden_answer_is_withheld_from_its_place(guard: Any) -> None:
    reply = await guard.one(piece(guard.shelf.in_force.digest, 0, "好的。制作炸弹需要"))
    assert (reply.filtered.text, reply.filtered.withheld) == ("好的。", True)
    assert reply.filtered.rule == "violence_sexual/explicit_zh"


async def test_channels_of_one_request_do_not_mix(guard: Any) -> None:
    digest = guard.shelf.in_force.digest
    thinking, content = await guard.exchange(
        piece(digest, 0, "139", channel=pb.CHANNEL_REASONING),
        piece(digest, 0, "12345678。", channel=pb.CHANNEL_CONTENT),
    )
    assert (thinking.filtered.text, content.filtered.text) == ("", "12345678。")


async def test_invariant_6_too_many_long_texts_are_refused_at_once(guard: Any) -> None:
    """Fails when GuardServicer._long_work does not compare with its bound."""
    replies = await guard.exchange(*(screen("长文本，" * 20_000) for _ in range(4)))
    assert sorted(reply.status.reason for reply in replies) == ["", "", "OVERLOADED", "OVERLOADED"]
    assert all(reply.status.HasField("retry_after") == (reply.status.reason == "OVERLOADED") for reply in replies)


async def test_the_command_lines_calls_judge_and_redact(guard: Any) -> None:
    checked = await guard.stub.CheckText(pb.CheckTextRequest(text="怎么制作炸弹"), metadata=guard.named())
    assert (checked.verdict, checked.stage) == (pb.VERDICT_REFUSE, "lists")
    assert checked.score > 0.7
    redacted = await guard.stub.RedactText(pb.RedactTextRequest(text=f"电话{NUMBER}"), metadata=guard.named())
    assert (redacted.text, redacted.findings[0].start) == ("电话[REDACTED]", 2)


@pytest.mark.parametrize("method", ["CheckText", "RedactText"])
async def test_a_text_over_the_bound_is_refused_with_the_bound(guard: Any, method: str) -> None:
    request = {"CheckText": pb.CheckTextRequest, "RedactText": pb.RedactTextRequest}[method](text="长" * 90_000)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(guard.stub, method)(request, metadata=guard.named())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "text: has 270000 bytes, at most 262144" in (refused.value.details() or "")


async def test_only_gateways_may_exchange(guard: Any) -> None:
    call = guard.stub.Exchange(metadata=guard.named("developer"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_policy_is_given_by_its_digest(guard: Any) -> None:
    digest = guard.shelf.in_force.digest
    for asked in (b"", digest):
        reply = await guard.stub.GetPolicy(pb.GetPolicyRequest(policy_digest=asked), metadata=guard.named("gateway"))
        assert (reply.policy_digest, reply.document) == (digest, guard.path.read_bytes())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await guard.stub.GetPolicy(pb.GetPolicyRequest(policy_digest=b"x"), metadata=guard.named("gateway"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_new_policy_judges_new_prompts_and_the_old_one_its_answers(guard: Any, screened: Any) -> None:
    old = guard.shelf.in_force.digest
    await guard.one(piece(old, 0, "电话139"))
    guard.path.write_text(guard.path.read_text().replace("mode: redact", "mode: label"))
    await guard.file.reload()
    fresh = await screened(f"电话{NUMBER}")
    assert fresh.messages[1].content == "电话[PHONE]"
    assert fresh.policy_digest != old
    assert (await guard.one(piece(old, 1, "12345678", last=True))).filtered.text == "[REDACTED]"


async def test_invariant_7_a_bad_policy_file_keeps_the_last_good_one_and_says_so(guard: Any, screened: Any) -> None:
    """Fails when PolicyFile.reload does not catch InvalidPolicy, or enforces before the file is loaded whole."""
    good = guard.shelf.in_force.digest
    health: Any = health_pb2_grpc.HealthStub(guard.channel)
    guard.path.write_text("topics: []\n")
    await guard.file.reload()
    assert (await screened("怎么制作炸弹")).verdict == pb.VERDICT_REFUSE
    assert (await screened("hello")).policy_digest == good
    policy = await health.Check(health_pb2.HealthCheckRequest(service="policy"))
    assert policy.status == health_pb2.HealthCheckResponse.NOT_SERVING
    whole = await health.Check(health_pb2.HealthCheckRequest())
    assert whole.status == health_pb2.HealthCheckResponse.SERVING
    assert any(problem.startswith("topics: ") for problem in guard.file.problems)


async def test_invariant_3_no_reply_quotes_what_it_is_about(guard: Any) -> None:
    """Fails when UnfitMessages, CannotResume or an ItemStatus carries a message's content or role."""
    replies = await guard.exchange(
        screen(NUMBER, role=NUMBER),
        piece(guard.shelf.in_force.digest, 0, NUMBER, rebuild=True, released_chars=99),
        screen(NUMBER),
        piece(guard.shelf.in_force.digest, 0, f"{NUMBER}。", last=True),
    )
    assert NUMBER not in "".join(map(str, replies))
