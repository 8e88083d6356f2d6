"""A running stack is backed up, its disk is lost, the backup is put back, and the suite goes on with the same log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from strongroom.verify import VERIFIES, verify_home

from stack.ports import free_port_base

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def ask(suite: Any, text: str) -> dict[str, Any]:
    found: dict[str, Any] = suite.json("ask", text, "--max-tokens", "4")
    return found


def test_a_stack_goes_on_from_its_backup_and_not_from_an_older_one(tmp_path: Path, suite_at: Any) -> None:
    suite = suite_at(tmp_path / "home", free_port_base())
    assert suite.up("--engine", "echo").returncode == 0, suite.logs()
    before = [ask(suite, f"question {n}")["request_id"] for n in range(3)]
    older = suite.json("audit", "backup", str(tmp_path / "older"))
    before.append(ask(suite, "one more")["request_id"])
    newest = tmp_path / "newest"
    newest.write_text(suite.run("audit", "checkpoint").stdout)
    taken = suite.json("audit", "backup", str(tmp_path / "backup"))
    after_it = ask(suite, "after the backup")
    key = suite.run("audit", "key").stdout.strip()
    judged = suite.run(str(tmp_path / "backup"), "--key", key, command="strongroom-verify")
    assert judged.returncode == 0, judged.stdout
    assert taken["size"] > older["size"] and taken["keep_also"] == ["keys/audit-provider", "keys/log-signing"]

    suite.down()
    shutil.rmtree(suite.home / "audit")
    refused = suite.run("audit", "restore", str(tmp_path / "older"), "--newest-checkpoint", str(newest))
    assert refused.returncode == 2 and "would contradict what its readers hold" in refused.stderr
    restored = suite.run("audit", "restore", str(tmp_path / "backup"), "--newest-checkpoint", str(newest), "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["root"] == taken["root"] == verify_home(suite.home).root

    guarded = {**suite.environment, "STRONGROOM_AUDIT_NEWEST_CHECKPOINT": str(newest)}
    started = suite.run("up", "--detach", "--engine", "echo", environment=guarded)
    assert started.returncode == 0, started.stdout + suite.logs()
    assert ask(suite, "and on")["receipt"]
    records = {record["record_id"] for record in suite.json("audit", "list", "--limit", "50")}
    assert records > set(before) and after_it["request_id"] not in records
    assert suite.json("audit", "show", before[0])["summary"]["state"] == "COMPLETED"
    # What was answered after the backup is in no copy: its own receipt tells, and stops the next start.
    late = tmp_path / "late"
    late.write_text(after_it["receipt"]["tlog_proof"].partition("\n\n")[2])
    suite.down()
    assert verify_home(suite.home, kept=newest.read_text()).exit_code == VERIFIES
    forked = suite.run(
        "up", "--detach", "--engine", "echo",
        environment={**suite.environment, "STRONGROOM_AUDIT_NEWEST_CHECKPOINT": str(late)},
    )  # fmt: skip
    assert forked.returncode == 1 and "two copies of this log were continued" in forked.stdout
