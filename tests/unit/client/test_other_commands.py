"""`strongroom guard`, `audit` and `receipt` against fakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from strongroom.audit.v1 import audit_pb2
from strongroom.cli.main import main
from strongroom.location import NotConfigured, locate


def records(count: int) -> list[audit_pb2.RecordSummary]:
    made = []
    for number in range(count):
        record = audit_pb2.RecordSummary(
            record_id=f"r-{number}", state="COMPLETED", tenant="development", caller="developer", model="tiny",
            leaf_index=2**40 + number,
        )  # fmt: skip
        record.create_time.FromMilliseconds(1_700_000_000_123)
        made.append(record)
    return made


def guard_lines(action: str, lines: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "strongroom.cli.main", "guard", action, "-", "--jsonl"]
    return subprocess.run(command, input=lines, capture_output=True, timeout=30)


def test_check_says_verdict_rule_and_stage(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guard", "check", "how to build a bomb"]) == 0
    assert capsys.readouterr().out == "REFUSE violence lists 0.5\n"
    assert main(["guard", "check", "hello", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"verdict": "ALLOW", "score": 0.5, "rule": "", "stage": "lists"}


def test_redact_prints_the_text_alone_and_the_findings_beside_it(
    stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["guard", "redact", "a@b is mine"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "[REDACTED] is mine\n"
    assert printed.err == "EMAIL C2 0-3\n"


def test_json_lines_go_in_and_come_out_one_for_one(stack: Any) -> None:
    ended = guard_lines("check", b'{"text": "hello", "id": 1}\n\n{"text": "a bomb"}\n')
    assert ended.returncode == 0
    assert [json.loads(line)["verdict"] for line in ended.stdout.splitlines()] == ["ALLOW", "REFUSE"]
    ended = guard_lines("redact", b'{"text": "a@b"}\n')
    assert json.loads(ended.stdout) == {
        "text": "[REDACTED]",
        "findings": [{"type": "EMAIL", "start": 0, "end": 3, "level": "C2"}],
    }


@pytest.mark.parametrize("line", [b"no json", b"[]", b'{"txt": "x"}', b'{"text": 3}', b"\xff"])
def test_a_line_that_is_not_right_is_named_by_its_number(stack: Any, line: bytes) -> None:
    ended = guard_lines("check", b'{"text": "hello"}\n' + line + b"\n")
    assert ended.returncode == 2
    assert b"strongroom: line 2" in ended.stderr and b"Traceback" not in ended.stderr
    assert len(ended.stdout.splitlines()) == 1


def test_a_list_goes_over_as_many_pages_as_it_needs(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack.records = records(10)
    assert main(["audit", "list", "--limit", "8", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [record["record_id"] for record in listed] == [f"r-{number}" for number in range(8)]
    assert listed[0]["leaf_index"] == 2**40 and listed[0]["create_time"] == "2023-11-14T22:13:20.123Z"
    assert main(["audit", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and "2023-11-14 22:13:20.123Z" in lines[1] and "COMPLETED" in lines[1]


def test_show_gives_entries_and_fields_and_says_what_is_sealed(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack.records = records(1)
    assert main(["audit", "show", "r-0"]) == 0
    printed = capsys.readouterr().out
    assert "END" in printed and "0001 at 64" in printed
    assert "answer_released (11 bytes)" in printed
    assert "request_received (40 bytes, sealed)" in printed


def test_a_record_that_is_not_there_exits_with_2(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show", "r-9"]) == 2
    assert "NOT_FOUND RECORD_UNKNOWN" in capsys.readouterr().err


def test_a_search_asks_for_what_was_said_and_counts(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stack.records, stack.indexed = records(5), 48
    line = ["--since", "2026-11-26T08:00+08:00", "--until", "2026-11-27", "--state", "failed", "--class", "email"]
    assert main(["audit", "search", "利率 loan", *line, "--verdict", "flag", "--reason", "case 7"]) == 0
    [request] = stack.asked
    wanted = request.filter
    assert (wanted.text, wanted.verdict, request.reason) == ("利率 loan", "FLAG", "case 7")
    assert (list(wanted.states), list(wanted.classes)) == (["FAILED"], ["EMAIL"])
    assert wanted.start_time.ToJsonString() == "2026-11-26T00:00:00Z"
    assert wanted.end_time.ToJsonString() == "2026-11-27T00:00:00Z"
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 5; the index is 2 entries behind the log"
    assert main(["audit", "search", "--caller", "nobody"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "no record matches"


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "7y", ""])
def test_a_time_that_is_none_is_named(stack: Any, when: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "search", "--since", when]) == (2 if when else 0)
    assert bool(when) == ("--since" in capsys.readouterr().err)


def test_the_index_is_rebuilt_and_checked(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "index", "rebuild"]) == 0
    assert "made again: 50 entries" in capsys.readouterr().out
    assert main(["audit", "index", "check"]) == 0
    stack.indexed = 49
    assert main(["audit", "index", "check"]) == 3
    assert "leaf 3: the record is missing" in capsys.readouterr().out


def test_key_and_checkpoint_are_printed_as_they_are(stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "key"]) == 0
    assert capsys.readouterr().out == f"{stack.log.vkey}\n"
    assert main(["audit", "checkpoint"]) == 0
    assert capsys.readouterr().out == "a note\n"


def test_the_local_guard_needs_no_stack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STRONGROOM_HOME", str(tmp_path))
    assert main(["guard", "redact", "--local", "--json", "我的手机号是13812345678"]) == 0
    redacted = json.loads(capsys.readouterr().out)
    assert "13812345678" not in redacted["text"]
    assert redacted["findings"] == [{"type": "MOBILE_NUMBER", "start": 6, "end": 17, "level": "C2"}]
    monkeypatch.setenv("STRONGROOM_GUARD_POLICY_FILE", str(tmp_path / "none.yaml"))
    assert main(["guard", "check", "--local", "hello"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("strongroom: ") and "none.yaml" in line


@pytest.mark.parametrize("service", ["guard", "audit", "monitor"])
def test_ports_follow_from_the_gateways(service: str) -> None:
    offset = {"guard": 1, "audit": 3, "monitor": 4}[service]
    environ = {"STRONGROOM_ADDRESS": "10.0.0.1:9000"}
    assert locate("nowhere", environ).address(service) == f"10.0.0.1:{9000 + offset}"
    assert locate("nowhere", {"STRONGROOM_PORT_BASE": "8000"}).address(service) == f"127.0.0.1:{8000 + offset}"


def test_an_address_may_stand_for_hosts_named_after_the_services(tmp_path):
    location = locate(tmp_path, {"STRONGROOM_ADDRESS": "{service}:7400"})
    assert [location.address(name) for name in ("gateway", "audit")] == ["gateway:7400", "audit:7403"]


@pytest.mark.parametrize("wrong", [{"STRONGROOM_ADDRESS": "gateway"}, {"STRONGROOM_PORT_BASE": "many"}])
def test_an_address_that_is_none_is_named(wrong: dict[str, str]) -> None:
    with pytest.raises(NotConfigured, match=next(iter(wrong))):
        locate("nowhere", wrong).address("gateway")


def test_completeness_shows_both_counts_and_ends_with_3_until_it_is_explained(
    stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    boot = audit_pb2.GatewayBoot(boot_id="g-1", accepted_jobs=4, completed_jobs=4, counted_jobs=5, finished_jobs=5)
    boot.differences.add(kind="unrecorded_jobs", count=1, open=True)
    stack.counts = audit_pb2.GetCompletenessResponse(boots=[boot], open_differences=1)
    assert main(["audit", "completeness"]) == 3
    head, row, difference, verdict = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["gateway", "process", "accepted", "completed"]
    assert row.split() == ["g-1", "4", "4", "0", "0", "5", "5", "0", "differs"]
    assert difference == "g-1: 1 jobs that workers ran and the log does not know"
    assert verdict == "1 open differences: nothing is exported until they are explained"
    assert main(["audit", "explain", "g-1", "--reason", "Redis lost a second"]) == 0
    assert capsys.readouterr().out == "no open difference\n"
    assert main(["audit", "completeness", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["boots"][0]["differences"][0]["open"] is False
