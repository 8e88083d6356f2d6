"""News of alerts for whoever watches, the slow ones included."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.monitor.alerts.alert import Alert, State
from services.monitor.alerts.feed import MAX_UNREAD, MAX_WATCHERS, AlertFeed, TooManyWatchers
from services.monitor.definition.loading import shipped

RULE = shipped().rule("queue_deep")


def alert(priority: str = "batch", state: State = State.FIRING) -> Alert:
    return Alert(rule=RULE, key=(priority,), state=state, value=300, since=1, fired=2)


async def test_the_first_news_is_all_that_fires_and_then_come_changes():
    firing = [alert("batch")]
    feed = AlertFeed(lambda: list(firing))
    with feed.watching() as watcher:
        first = await watcher.news()
        assert (first.complete, [a.id for a in first.alerts]) == (True, ["queue_deep/batch"])
        feed.publish([alert("standard")])
        second = await watcher.news()
        assert (second.complete, [a.id for a in second.alerts]) == (False, ["queue_deep/standard"])


async def test_there_is_no_news_until_something_changes():
    feed = AlertFeed(list)
    with feed.watching() as watcher:
        await watcher.news()
        feed.publish([])
        waiting = asyncio.create_task(watcher.news())
        await asyncio.sleep(0)
        assert not waiting.done()
        feed.publish([alert()])
        assert (await waiting).alerts


async def test_a_reader_who_was_away_hears_the_last_state_once():
    feed = AlertFeed(list)
    with feed.watching() as watcher:
        await watcher.news()
        for _ in range(1000):
            feed.publish([alert()])
            feed.publish([replace(alert(), state=State.RESOLVED)])
        [only] = (await watcher.news()).alerts
        assert only.state is State.RESOLVED


async def test_invariant_6_a_reader_who_fell_far_behind_gets_all_that_fires_instead():
    """Fails if `tell` only ever adds."""
    firing = [alert("batch")]
    feed = AlertFeed(lambda: list(firing))
    with feed.watching() as watcher:
        await watcher.news()
        for n in range(MAX_UNREAD * 10):
            feed.publish([alert(f"p{n}")])
            assert len(watcher._unread) <= MAX_UNREAD
        news = await watcher.news()
        assert news.complete and list(news.alerts) == firing


async def test_so_many_may_watch_and_who_leaves_makes_room():
    feed = AlertFeed(list)
    opened = [feed.watching() for _ in range(MAX_WATCHERS)]
    for each in opened:
        each.__enter__()
    with pytest.raises(TooManyWatchers), feed.watching():
        pass
    opened[0].__exit__(None, None, None)
    with feed.watching():
        assert len(feed) == MAX_WATCHERS
