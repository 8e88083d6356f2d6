"""After a rotation the stack goes on with the same log, and nobody gets in with an old key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stack.ports import free_port_base

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_old_keys_open_nothing_and_the_log_goes_on(tmp_path: Path, suite_at: Any) -> None:
    """Fails if the log's own keys are rotated too, or the old tokens stay listed."""
    suite = suite_at(tmp_path / "home", free_port_base())
    assert suite.up("--engine", "echo").returncode == 0, suite.logs()
    first = suite.json("ask", "before", "--max-tokens", "4")["request_id"]
    key, old = suite.run("audit", "key").stdout, (suite.home / "keys" / "development-api-key").read_text().strip()
    refused = suite.run("keys", str(suite.home / "keys"), "--rotate")
    assert refused.returncode == 2 and "end it first" in refused.stderr

    suite.down()
    assert suite.run("keys", str(suite.home / "keys"), "--rotate").returncode == 0
    assert suite.up("--engine", "echo").returncode == 0, suite.logs()
    second = suite.json("ask", "after", "--max-tokens", "4")["request_id"]
    assert {record["record_id"] for record in suite.json("audit", "list")} >= {first, second}
    assert suite.json("audit", "show", first)["summary"]["state"] == "COMPLETED"
    assert suite.run("audit", "key").stdout == key and suite.verify().returncode == 0
    stale = suite.run("ask", "with the old key", environment={**suite.environment, "STRONGROOM_API_KEY": old})
    assert stale.returncode == 2 and "UNAUTHENTICATED" in stale.stderr
