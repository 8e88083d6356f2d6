"""What people read of the log, through the commands that they use: found by words and numbers, exported, verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PHONE = "13812345678"
SECRET = "龘靐齉"  # in no policy, no log, no other text


@pytest.fixture(scope="module")
def record(echo_suite: Any) -> str:
    """In the index."""
    answer = echo_suite.json("ask", f"我的手机号是{PHONE}，{SECRET}的利率是多少？", "--max-tokens", "8")
    found: str = answer["request_id"]
    wait_until(lambda: found in ids(echo_suite, "--trace", answer["trace_id"], "--state", "completed"))
    return found


def ids(suite: Any, *options: str) -> list[str]:
    return [record["record_id"] for record in suite.json("audit", "search", *options)]


@pytest.mark.parametrize(
    "options",
    [
        (SECRET,),
        (SECRET[1:], "--verdict", "allow", "--since", "1h"),
        ("--identifier", "138-1234-5678"),
        ("--class", "mobile_number", "--caller", "developer", "--tenant", "development"),
    ],
)
def test_a_record_is_found(echo_suite: Any, record: str, options: tuple[str, ...]) -> None:
    assert ids(echo_suite, *options) == [record]


def test_what_was_masked_is_not_found_by_its_words_and_nothing_lies_in_clear(echo_suite: Any, record: str) -> None:
    assert ids(echo_suite, PHONE) == []
    files = [path for path in (echo_suite.home / "audit").rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        content = path.read_bytes()
        assert PHONE.encode() not in content and SECRET.encode() not in content, path


def test_who_looked_and_why_is_shown_to_the_next(echo_suite: Any, record: str) -> None:
    echo_suite.json("audit", "show", record, "--reason", "case 7")
    wait_until(lambda: "case 7" in [act["reason"] for act in echo_suite.json("audit", "show", record)["acts"]])
    shown = echo_suite.json("audit", "show", record)
    assert shown["policy_digest"] and shown["policy_leaf_index"] is not None and shown["verdict"] == "ALLOW"
    assert PHONE not in str(shown)


def test_records_leave_as_one_file_that_verifies(echo_suite: Any, record: str, tmp_path: Path) -> None:
    target, key = tmp_path / "export.zip", echo_suite.run("audit", "key").stdout.strip()
    made = echo_suite.json("audit", "export", str(target), SECRET, "--reason", "case 7")
    assert (made["records"], made["verifies"]) == (1, True) and list(tmp_path.iterdir()) == [target]
    ended = echo_suite.run(str(target), "--key", key, command="strongroom-verify")
    assert ended.returncode == 0 and "VERIFIES" in ended.stdout, ended.stdout + ended.stderr
    assert PHONE.encode() not in target.read_bytes()


def test_the_index_is_as_the_journal_has_it_before_and_after_it_is_made_again(echo_suite: Any, record: str) -> None:
    for command in ("check", "rebuild", "check"):
        ended = echo_suite.run("audit", "index", command)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ids(echo_suite, SECRET) == [record]


def test_the_running_log_verifies_from_its_url(echo_suite: Any, record: str) -> None:
    url, key = f"http://127.0.0.1:{echo_suite.port_base + 13}/tlog", echo_suite.run("audit", "key").stdout.strip()
    ended = echo_suite.run(url, "--key", key, "--json", command="strongroom-verify")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(ended.stdout)
    assert report["what"] == "url" and report["entries"]["END"] >= 1 and not report["problems"]


def test_an_erasure_leaves_a_certificate_that_verifies(echo_suite: Any, tmp_path: Path) -> None:
    echo_suite.json("ask", "farewell", "--subject", "customer-9", "--max-tokens", "4")
    whose = ("--tenant", "development", "--subject", "customer-9")
    erased = echo_suite.json("audit", "erase", *whose, "--reason", "asked for", "--basis", "GDPR 17")
    target, key = tmp_path / "certificate.zip", echo_suite.run("audit", "key").stdout.strip()
    made = ("audit", "certificate", erased["erasure_id"], str(target))
    wait_until(lambda: echo_suite.run(*made).returncode == 0)  # once the index has it
    ended = echo_suite.run(str(target), "--key", key, command="strongroom-verify")
    assert ended.returncode == 0 and "1 ACT" in ended.stdout, ended.stdout + ended.stderr
