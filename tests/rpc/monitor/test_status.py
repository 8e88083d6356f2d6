"""How the stack stands, and its alerts as they come, over the wire."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from strongroom.monitor.v1 import monitor_pb2 as pb
from strongroom.monitor.v1 import monitor_pb2_grpc

from chassis.errors import from_rpc_error
from services.monitor.alerts.feed import MAX_WATCHERS
from stack.alerts import API_KEY_FILE, as_lines, firing_alerts

LOW, FULL = 0.3, 0.99  # of the memory; the rule asks for 30 s above 0.95, and keeps for 30 s


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def firing(status):
    """Audit is not among this monitor's targets, which is an alert of its own: pending here, not firing."""
    return [alert for alert in status.active_alerts if alert.state == pb.ALERT_STATE_FIRING]


async def test_the_status_names_services_figures_and_alerts(traces, monitor):
    await monitor.rounds(40, memory=FULL)
    status = await traces.GetStatus(pb.GetStatusRequest())
    [guard] = status.services
    assert (guard.service, guard.instance, guard.up, guard.problem) == ("guard", "127.0.0.1:1", False, "refused")
    assert not guard.HasField("ready") and not guard.HasField("age")
    figures = {figure.id: figure for figure in status.figures}
    assert figures["memory_used_ratio"].value == pytest.approx(FULL)
    assert figures["memory_used_ratio"].unit == "ratio"
    assert "requests_per_second" not in figures  # nobody told it
    assert status.time.ToNanoseconds() / 1e9 == pytest.approx(monitor.next_round.at)
    assert status.interval.ToNanoseconds() == 2_000_000_000
    [alert] = firing(status)
    assert (alert.id, alert.state, alert.severity) == (
        "memory_low",
        pb.ALERT_STATE_FIRING,
        pb.ALERT_SEVERITY_CRITICAL,
    )
    assert (alert.value, alert.threshold, alert.unit) == (pytest.approx(FULL), 0.95, "ratio")
    assert alert.fired_time.ToNanoseconds() - alert.since_time.ToNanoseconds() == 30_000_000_000
    assert "smaller batch" in alert.remedy.en and "批次" in alert.remedy.zh


async def test_what_has_resolved_is_among_the_recent(traces, monitor):
    await monitor.rounds(40, memory=FULL)
    await monitor.rounds(40, memory=LOW)
    status = await traces.GetStatus(pb.GetStatusRequest())
    assert firing(status) == []
    [alert] = status.recent_alerts
    assert alert.state == pb.ALERT_STATE_RESOLVED and alert.resolved_time.seconds


async def test_a_watcher_hears_what_fires_first_and_then_each_change(traces, monitor):
    call = traces.WatchAlerts(pb.WatchAlertsRequest(), timeout=30)
    news = aiter(call)
    first = await anext(news)
    assert (first.complete, list(first.alerts)) == (True, [])
    await monitor.rounds(40, memory=FULL)
    fired = await anext(news)
    assert (fired.complete, [(a.id, a.state) for a in fired.alerts]) == (
        False,
        [("memory_low", pb.ALERT_STATE_FIRING)],
    )
    late = aiter(traces.WatchAlerts(pb.WatchAlertsRequest(), timeout=30))
    assert [a.id for a in (await anext(late)).alerts] == ["memory_low"]
    await monitor.rounds(40, memory=LOW)
    for each in (news, late):
        assert [(a.id, a.state) for a in (await anext(each)).alerts] == [("memory_low", pb.ALERT_STATE_RESOLVED)]


async def test_a_watch_ends_at_the_callers_deadline(traces):
    call = traces.WatchAlerts(pb.WatchAlertsRequest(), timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_who_leaves_is_forgotten_and_too_many_are_refused(traces, monitor):
    calls = [traces.WatchAlerts(pb.WatchAlertsRequest(), timeout=60) for _ in range(MAX_WATCHERS)]
    await asyncio.gather(*(anext(aiter(call)) for call in calls))
    error = await refused(anext(aiter(traces.WatchAlerts(pb.WatchAlertsRequest(), timeout=60))))
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS")
    assert error.retry_after_seconds
    calls[0].cancel()
    async with asyncio.timeout(20):
        while True:
            try:
                await anext(aiter(traces.WatchAlerts(pb.WatchAlertsRequest(), timeout=60)))
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("token", "allowed"),
    [("key-operator", True), ("key-reviewer", True), ("key-caller", False), ("token-gateway", False)],
)
async def test_operators_and_reviewers_may_look(token, allowed, channel_as):
    stub = monitor_pb2_grpc.MonitorServiceStub(channel_as(token))
    if allowed:
        assert (await stub.GetStatus(pb.GetStatusRequest())).services
        assert (await anext(aiter(stub.WatchAlerts(pb.WatchAlertsRequest(), timeout=20)))).complete
    else:
        assert (await refused(stub.GetStatus(pb.GetStatusRequest()))).code == "PERMISSION_DENIED"
        watching = anext(aiter(stub.WatchAlerts(pb.WatchAlertsRequest(), timeout=20)))
        assert (await refused(watching)).code == "PERMISSION_DENIED"


async def test_the_command_line_shows_what_fires_and_the_remedy(monitor, tmp_path):
    (tmp_path / API_KEY_FILE).write_text("key-reviewer\n")
    assert as_lines(await firing_alerts(monitor.address, tmp_path)) == []
    await monitor.rounds(40, memory=FULL)
    [alert] = await firing_alerts(monitor.address, tmp_path)
    assert (alert.alert, alert.severity, alert.where) == ("memory_low", "critical", "")
    shown = as_lines([alert])
    assert shown[1].startswith("critical: Under 5 % of the memory is free (memory_low), for")
    assert "smaller batch" in shown[2]


@pytest.mark.parametrize("key", ["key-caller", None])
async def test_without_a_key_that_may_ask_the_command_line_knows_of_no_alert(monitor, tmp_path, key):
    if key:
        (tmp_path / API_KEY_FILE).write_text(key)
    assert await firing_alerts(monitor.address, tmp_path) is None
    assert as_lines(None) == []
