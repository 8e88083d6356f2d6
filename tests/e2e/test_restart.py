"""An upgrade: every process of a running stack is replaced, and no request is lost by it."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from stack.ports import free_port_base

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TEXT = " ".join(f"word{n}" for n in range(60))  # an answer of some ten seconds at the pace below
SLOW = {"STRONGROOM_INFERENCE_MAX_STEPS_PER_SECOND": "12", "STRONGROOM_GATEWAY_DRAIN_SECONDS": "120"}


@pytest.fixture(scope="module")
def slow_suite(tmp_path_factory: pytest.TempPathFactory, suite_at: Any) -> Any:
    suite = suite_at(tmp_path_factory.mktemp("slow"), free_port_base())
    started = suite.run(
        "up", "--detach", "--engine", "echo", "--workers", "2", environment={**suite.environment, **SLOW}
    )
    assert started.returncode == 0, f"{started.stdout}{started.stderr}\n{suite.logs()}"
    return suite


def pids(suite: Any) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in suite.status()["services"]}


def begun(suite: Any) -> tuple[subprocess.Popen[str], str]:
    """A question whose answer has begun, and how it begins."""
    asking = suite.begin("ask", TEXT, "--max-tokens", "400")
    return asking, os.read(asking.stdout.fileno(), 4096).decode()


def test_an_answer_goes_on_while_everything_but_its_gateway_is_replaced(slow_suite: Any) -> None:
    """Fails if a worker that drains lets go of what it runs before another can claim it."""
    before = pids(slow_suite)
    asking, start = begun(slow_suite)
    ended = slow_suite.run("restart", "monitor", "guard", "inference", "audit")
    assert ended.returncode == 0, ended.stdout + slow_suite.logs()
    rest, errors = asking.communicate(timeout=150)
    assert asking.returncode == 0, errors
    assert (start + rest).strip() == TEXT and "verified offline" in errors
    after = pids(slow_suite)
    assert {name for name in before if before[name] == after[name]} <= {"gateway", "redis"}
    assert slow_suite.verify().returncode == 0


def test_a_gateway_finishes_what_it_holds_before_it_is_replaced(slow_suite: Any) -> None:
    """Fails if the gateway's server is stopped before the conductor has drained."""
    before = slow_suite.pid("gateway")
    asking, start = begun(slow_suite)
    ended = slow_suite.run("restart", "gateway")
    assert ended.returncode == 0, ended.stdout + slow_suite.logs()
    rest, errors = asking.communicate(timeout=150)
    assert asking.returncode == 0, errors
    assert (start + rest).strip() == TEXT and "verified offline" in errors
    assert slow_suite.pid("gateway") != before
    assert slow_suite.run("ask", "and on", "--max-tokens", "4").returncode == 0
    assert all(record["state"] == "COMPLETED" for record in slow_suite.json("audit", "list"))
    assert slow_suite.verify().returncode == 0


def test_a_stop_waits_for_what_runs(slow_suite: Any) -> None:
    """Fails if the supervisor kills the gateway before the time that it was given is over. The module's last."""
    asking, start = begun(slow_suite)
    ended = slow_suite.down()
    rest, errors = asking.communicate(timeout=150)
    assert ended.returncode == 0 and asking.returncode == 0, errors
    assert (start + rest).strip() == TEXT and "verified offline" in errors
    assert slow_suite.run(str(slow_suite.home), command="strongroom-verify").returncode == 0
