"""How the stack starts, fails and stops."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_up_in_the_foreground_asks_a_question_and_ctrl_c_stops_everything(stopped_suite: Any) -> None:
    up = stopped_suite.begin("up")
    said: list[str] = []
    try:
        for line in up.stdout:
            said.append(line)
            if "Ctrl-C stops everything" in line:
                break
        pids = [service["pid"] for service in stopped_suite.status()["services"]]
        up.send_signal(signal.SIGINT)
        rest, errors = up.communicate(timeout=60)
    finally:
        up.kill()
    everything = "".join([*said, rest, errors])
    assert up.returncode == 0, everything
    assert "receipt DURABLE, verified offline" in everything and "trace " in everything
    assert str(stopped_suite.port_base) in everything
    assert not any(_lives(pid) for pid in pids)
    assert stopped_suite.run("status").returncode == 3


def test_a_service_that_cannot_start_is_named_with_its_reason_and_its_log(stopped_suite: Any) -> None:
    policy = stopped_suite.home / "policy.yaml"
    policy.write_text("format: 99\n")
    environment = {**stopped_suite.environment, "STRONGROOM_GUARD_POLICY_FILE": str(policy)}
    ended = stopped_suite.run("up", "--detach", environment=environment)
    assert ended.returncode == 1
    assert "guard cannot start" in ended.stdout and str(policy) in ended.stdout
    assert str(stopped_suite.home / "log" / "guard.log") in ended.stdout
    assert stopped_suite.run("status").returncode == 3


def test_a_taken_port_is_named_with_its_holder(stopped_suite: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stopped_suite.port_base + 3))
        other.listen()
        ended = stopped_suite.up()
    assert ended.returncode == 1
    assert f"127.0.0.1:{stopped_suite.port_base + 3}, which audit needs, is taken by pid {os.getpid()}" in ended.stdout


def test_when_the_supervisor_is_killed_the_services_end_and_the_next_up_works(stopped_suite: Any) -> None:
    assert stopped_suite.up().returncode == 0
    os.kill(stopped_suite.pid("supervisor"), signal.SIGKILL)
    again = stopped_suite.up()
    assert again.returncode == 0, again.stdout
    assert stopped_suite.json("status")["ready"]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
