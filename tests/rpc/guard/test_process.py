"""The guard as a process: it starts with a right policy, reloads at SIGHUP, and does not start with a wrong one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.guard.settings import SHIPPED_POLICY


@pytest.fixture
def home(tmp_path: Path) -> Path:
    keys = tmp_path / "home" / "keys"
    keys.mkdir(parents=True)
    (keys / "credentials.json").write_text(json.dumps({"credentials": []}))
    (keys / "service-guard").write_text("token")
    (keys / "token").write_bytes(bytes(32))
    (keys / "token").chmod(0o600)
    return tmp_path / "home"


def environment(home: Path, port_base: int, policy: Path) -> dict[str, str]:
    return os.environ | {
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_PORT_BASE": str(port_base),
        "STRONGROOM_TRACES_ADDRESS": "off",
        "STRONGROOM_GUARD_POLICY_FILE": str(policy),
    }


@pytest.fixture
def process(home: Path, free_port_base: int, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(SHIPPED_POLICY.read_bytes())
    started = subprocess.Popen(
        [sys.executable, "-m", "services.guard"],
        env=environment(home, free_port_base, policy),
        stderr=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.wait()


def get(port: int, path: str) -> dict[str, object]:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as reply:
                return dict(json.load(reply))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def policy_until(port: int, key: str, wanted: object) -> dict[str, object]:
    for _ in range(400):
        policy = get(port, "/policy")
        if policy[key] == wanted:
            return policy
        time.sleep(0.02)
    raise AssertionError(f"{key} is still {policy[key]!r}")


def test_sighup_reloads_and_a_bad_file_is_named_and_left_out(
    process: subprocess.Popen[str], free_port_base: int, tmp_path: Path
) -> None:
    http, file = free_port_base + 11, tmp_path / "policy.yaml"
    assert get(http, "/readyz")["ready"] is True
    file.write_text(file.read_text().replace('version: "1.0.0"', 'version: "2.0.0"'))
    process.send_signal(signal.SIGHUP)
    second = policy_until(http, "version", "2.0.0")
    file.write_text("format: 1\n")
    process.send_signal(signal.SIGHUP)
    for _ in range(400):
        if (third := get(http, "/policy"))["problems"]:
            break
        time.sleep(0.02)
    assert third["problems"] and third["digest"] == second["digest"]
    assert get(http, "/readyz")["ready"] is True
    process.terminate()
    assert process.wait(20) == 0


def test_invariant_7_a_wrong_policy_file_means_no_start(home: Path, free_port_base: int, tmp_path: Path) -> None:
    """Fails when __main__ falls back to the shipped policy."""
    policy = tmp_path / "wrong.yaml"
    policy.write_text(SHIPPED_POLICY.read_text().replace("mode: redact", "mode: hide"))
    ended = subprocess.run(
        [sys.executable, "-m", "services.guard"],
        env=environment(home, free_port_base, policy),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 78
    assert f"{policy}: redaction.MOBILE_NUMBER.mode: is 'hide'" in ended.stderr


def test_invariant_7_no_start_without_the_key_of_reversible_tokens(home: Path, free_port_base: int) -> None:
    """Fails when __main__ makes a key of its own: two replicas would not have the same."""
    (home / "keys" / "token").unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "services.guard"],
        env=environment(home, free_port_base, SHIPPED_POLICY),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 78 and str(home / "keys" / "token") in ended.stderr
