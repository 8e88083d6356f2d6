"""Batch streams over a real connection: batching, order, reconnects, bounds and clean ends."""

import asyncio

import grpc
import pytest
from google.rpc import code_pb2
from strongroom.guard.v1 import guard_pb2 as pb
from strongroom.guard.v1 import guard_pb2_grpc

from chassis.client import connect
from chassis.exchange import MAX_BATCH_ITEMS, MAX_ITEM_BYTES, BatchStream
from chassis.failures import ResourceExhausted, Unavailable
from chassis.replies import Later

NAMES = [str(n) for n in range(600)]


def reply(item, **fields):
    return pb.ItemReply(item_id=item.item_id, **fields)


async def within(awaitable, seconds=10):
    return await asyncio.wait_for(awaitable, seconds)


async def test_a_batch_is_what_already_waits_and_a_lone_item_goes_alone(guard, serve, stream_to, item):
    async with serve() as port:
        stream = await stream_to(port)
        await within(stream.send(item("lone")))
        assert guard.batches == [["lone"]]
        await within(asyncio.gather(*(stream.send(item(name)) for name in NAMES)))
        assert guard.seen[1:] == NAMES
        sizes = [len(batch) for batch in guard.batches[1:]]
        assert sizes == [min(MAX_BATCH_ITEMS, len(NAMES) - at) for at in range(0, len(NAMES), MAX_BATCH_ITEMS)]


async def test_a_batch_stays_under_the_message_bound(guard, serve, stream_to):
    async with serve() as port:
        stream = await stream_to(port)
        big = [pb.Item(filter=pb.Filter(text="x" * 1_500_000)) for _ in range(6)]
        await within(asyncio.gather(*map(stream.send, big)))
        assert len(guard.batches) == 6


async def test_replies_come_in_any_order_each_to_its_own_asker(guard, serve, stream_to, item):
    turns = {name: asyncio.Event() for name in "abc"}

    async def answer(item):
        name = item.screen.request_id
        await turns[name].wait()
        return reply(item, screened=pb.Screened(rule=name))

    guard.answer = answer
    async with serve() as port:
        stream = await stream_to(port)
        waiting = {name: stream.send(item(name)) for name in "abc"}
        for name in "cab":
            turns[name].set()
            assert (await within(waiting[name])).screened.rule == name
        assert stream.pending == 0


async def test_each_reply_has_its_own_status(guard, serve, stream_to, item):
    def answer(item):
        if item.screen.request_id == "bad":
            return reply(item, status=pb.ItemStatus(code=code_pb2.INVALID_ARGUMENT, reason="INVALID_ITEM"))
        return reply(item)

    guard.answer = answer
    async with serve() as port:
        stream = await stream_to(port)
        bad, good = await within(asyncio.gather(stream.send(item("bad")), stream.send(item("good"))))
    assert (bad.status.reason, bad.status.code) == ("INVALID_ITEM", code_pb2.INVALID_ARGUMENT)
    assert not good.HasField("status")


async def test_an_item_whose_handler_fails_does_not_break_the_stream_for_others(guard, serve, stream_to, item, logged):
    async def fails_later(item):
        raise KeyError("6222021234567890123")

    def answer(item):
        match item.screen.request_id:
            case "at once":
                raise KeyError("6222021234567890123")
            case "later":
                return fails_later(item)
        return reply(item)

    guard.answer = answer
    async with serve() as port:
        stream = await stream_to(port)
        lost = [stream.send(item("at once")), stream.send(item("later"))]
        await within(stream.send(item("fine")))
        assert stream.connected.is_set() and not any(future.done() for future in lost)
    assert [line["exception"] for line in logged() if "item of a batch" in line["event"]] == ["KeyError"] * 2
    assert "6222021234567890123" not in str(logged())


async def test_a_service_that_cannot_go_on_ends_the_stream_with_its_word_and_the_items_come_again(
    guard, serve, stream_to, item, logged
):
    """Audit does so when its journal failed: items it cannot vouch for stay unanswered, whatever else still runs."""
    broken = True

    async def never(item):
        await asyncio.Event().wait()

    def answer(item):
        if not broken:
            return reply(item)
        if item.screen.request_id == "held":
            return never(item)
        raise Unavailable("the journal failed", reason="JOURNAL_FAILED")

    guard.answer = answer
    async with serve() as port:
        stream = await stream_to(port)
        replies = [stream.send(item("held")), stream.send(item("refused"))]
        await within(_disconnected(stream))
        broken = False
        await within(asyncio.gather(*replies))
    assert "no stream to guard: UNAVAILABLE; trying again" in [line["event"] for line in logged()]


async def test_after_a_reconnect_unanswered_items_are_sent_again_in_order_and_taken_once(guard, serve, stream_to, item):
    """The receiver keeps a set of what it took, as audit and guard do: nothing is lost, nothing is taken twice."""
    taken, held = [], ("b", "d", "e")

    async def never(item):
        await asyncio.Event().wait()

    def answer(item):
        name = item.screen.request_id
        if name not in taken:
            taken.append(name)
        return never(item) if name in held else reply(item)

    guard.answer = answer
    async with serve() as port:
        stream = await stream_to(port)
        replies = {name: stream.send(item(name)) for name in "abcde"}
        await within(asyncio.gather(replies["a"], replies["c"]))
    assert not any(replies[name].done() for name in held)
    await within(_disconnected(stream))
    replies["f"] = stream.send(item("f"))
    held = ()
    before = len(guard.seen)
    async with serve(f"127.0.0.1:{port}"):
        await within(asyncio.gather(*replies.values()))
    assert guard.seen[before:] == ["b", "d", "e", "f"]
    assert taken == ["a", "b", "c", "d", "e", "f"]


async def _disconnected(stream):
    while stream.connected.is_set():
        await asyncio.sleep(0.01)


async def test_a_forgotten_item_is_not_sent_again(guard, serve, stream_to, item):
    async def never(item):
        await asyncio.Event().wait()

    guard.answer = never
    async with serve() as port:
        stream = await stream_to(port)
        first = item("first")
        stream.send(first)
        last = stream.send(item("last"))
        await within(_seen(guard, 2))
    stream.forget(first.item_id)
    guard.answer = reply
    async with serve(f"127.0.0.1:{port}"):
        await within(last)
    assert guard.seen == ["first", "last", "last"]


async def test_work_that_waited_before_the_neighbour_came_is_done_when_it_comes(serve, stream_to, item):
    async with serve() as port:
        pass
    stream = await stream_to(port, wait=False)
    early = stream.send(item("early"))
    async with serve(f"127.0.0.1:{port}"):
        await within(early)


async def test_new_work_is_refused_at_once_while_the_neighbour_is_away(serve, stream_to, item):
    async with serve() as port:
        pass
    stream = await stream_to(port, wait=False)
    with pytest.raises(Unavailable) as refusal:
        stream.require_connected()
    assert refusal.value.reason == "GUARD_UNAVAILABLE"
    assert refusal.value.retry_after_seconds == 1.0
    async with serve(f"127.0.0.1:{port}"):
        await within(stream.connected.wait())
        stream.require_connected()
    await within(_disconnected(stream))
    with pytest.raises(Unavailable):
        stream.require_connected()


async def test_a_refused_stream_never_counts_as_connected_and_says_so_once(serve, stream_to, logged):
    async with serve() as port:
        stream = await stream_to(port, token="token-of-audit", wait=False)
        with pytest.raises(asyncio.TimeoutError):
            await within(stream.connected.wait(), 0.5)  # several attempts
    [line] = [line for line in logged() if "no stream to guard: PERMISSION_DENIED" in line["event"]]
    assert line["level"] == "warning"


async def test_over_the_bound_of_waiting_items_the_next_is_refused(guard, serve, stream_to, item):
    async def never(item):
        await asyncio.Event().wait()

    guard.answer = never
    async with serve() as port:
        stream = await stream_to(port, max_pending=3)
        for name in "abc":
            stream.send(item(name))
        with pytest.raises(ResourceExhausted) as refusal:
            stream.send(item("d"))
        assert (refusal.value.reason, refusal.value.retry_after_seconds) == ("GUARD_BACKLOG", 1.0)
        assert stream.pending == 3


async def test_an_item_too_large_for_any_message_is_refused_before_it_breaks_the_stream(serve, stream_to, item):
    async with serve() as port:
        stream = await stream_to(port)
        with pytest.raises(ResourceExhausted, match=str(MAX_ITEM_BYTES)):
            stream.send(pb.Item(filter=pb.Filter(text="x" * MAX_ITEM_BYTES)))
        await within(stream.send(item("small")))


async def test_closing_a_stream_fails_what_is_unanswered_and_leaves_no_task(guard, serve, item):
    async def never(item):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item.screen.request_id)

    ended: list[str] = []
    guard.answer = never
    async with serve() as port, connect(f"127.0.0.1:{port}", "token-of-the-gateway") as channel:
        stub = guard_pb2_grpc.GuardServiceStub(channel)
        stream = BatchStream("guard", stub.Exchange, lambda i: pb.ExchangeRequest(items=i), lambda m: m.replies)
        before = asyncio.all_tasks()
        async with stream:
            waiting = stream.send(item("a"))
            await within(_seen(guard, 1))
        assert [task for task in asyncio.all_tasks() - before if "BatchStream" in str(task.get_coro())] == []
        with pytest.raises(Unavailable, match="closed"):
            await waiting
        await within(guard.left.wait())
        assert ended == ["a"]
        assert [task for task in asyncio.all_tasks() - before if "answering" in str(task.get_coro())] == []


async def _seen(guard, count):
    while len(guard.seen) < count:
        await asyncio.sleep(0.01)


async def test_a_future_given_as_reply_is_left_to_its_owner(guard, serve, stream_to, item):
    """Audit replies with the future of a commit group; a caller that leaves must not cancel the group."""
    committed = asyncio.get_running_loop().create_future()
    guard.answer = lambda item: committed
    async with serve() as port:
        stream = await stream_to(port)
        stream.send(item("a"))
        await within(_seen(guard, 1))
    await within(guard.left.wait())
    assert not committed.cancelled()
    committed.set_result(None)


async def test_replies_given_later_come_in_any_order_in_one_batch_and_the_stream_ends_after_the_last(guard, stub):
    """Fails if a Later is not counted as owed: the stream would end before its reply."""
    later = {name: Later() for name in "abc"}
    guard.answer = lambda item: later[item.screen.request_id]
    call = stub.Exchange()
    items = [pb.Item(item_id=n, screen=pb.Screen(request_id=name)) for n, name in enumerate("abc")]
    await call.write(pb.ExchangeRequest(items=items))
    await call.done_writing()
    await within(_seen(guard, 3))
    later["c"].give(reply(items[2]))
    later["a"].give(reply(items[0]))
    assert [r.item_id for r in (await within(call.read())).replies] == [2, 0]
    later["b"].give(reply(items[1]))
    assert [r.item_id for r in (await within(call.read())).replies] == [1]
    assert await within(call.read()) is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_reply_that_is_given_after_its_call_has_ended_is_nobodys(guard, serve, stream_to, item):
    later = Later()
    guard.answer = lambda item: later
    async with serve() as port:
        stream = await stream_to(port)
        asked = item("a")
        stream.send(asked)
        await within(_seen(guard, 1))
    await within(guard.left.wait())
    later.give(reply(asked))


def test_a_reply_cannot_be_given_before_start_returns():
    with pytest.raises(RuntimeError, match="return the reply itself"):
        Later().give("early")


async def test_a_draining_server_answers_what_it_has_begun(guard, serve, stream_to, item):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(item):
        begun.set()
        await go_on.wait()
        return reply(item)

    guard.answer = answer
    serving = serve(grace_seconds=10)
    port = await serving.__aenter__()
    stream = await stream_to(port)
    waiting = stream.send(item("a"))
    await within(begun.wait())
    stopping = asyncio.create_task(serving.__aexit__(None, None, None))
    await asyncio.sleep(0.02)
    go_on.set()
    assert (await within(waiting)).item_id == 1
    await within(stopping)


async def test_a_handler_that_does_not_say_that_it_is_there_is_not_trusted(guard, serve, stream_to):
    async def pieces():
        yield pb.ExchangeResponse()

    guard.pieces = pieces()
    async with serve() as port:
        stream = await stream_to(port, wait=False)
        with pytest.raises(asyncio.TimeoutError):
            await within(stream.connected.wait(), 0.3)


async def test_the_stream_ends_when_the_caller_has_no_more_to_ask(stub):
    call = stub.Exchange()
    await call.write(pb.ExchangeRequest(items=[pb.Item(item_id=7)]))
    await call.done_writing()
    assert [r.item_id for r in (await call.read()).replies] == [7]
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
