"""Exports: what a stranger gets, what the verifier says of it, and of one that was altered."""

from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from strongroom.audit.v1 import audit_pb2 as pb
from strongroom.export.package import package
from strongroom.export.tables import quoted
from strongroom.export.take import BrokenOff, Refused, take
from strongroom.verify import verify_export

from chassis.errors import from_rpc_error
from services.audit.export_stream import messages
from services.audit.exporting import Export, LeftOut
from services.audit.index.search import Filter
from services.audit.log.leaf import Kind
from services.audit.records.stored import StoredEntries
from tests.bare_container import bare_python, unavailable

CARD = "6222020200112233445"


async def filled(audit) -> None:
    """r0 ended, r1 refused, r2 open, r3 another caller's; r0 was looked at."""
    async with audit.appending() as gateway, audit.calling("auditor") as stub:
        await gateway.accept("r0", f"my card is {CARD}")
        await gateway.release("r0", 0)
        await gateway.end("r0", "=1+1 <b>four</b>")
        refuse = pb.Refuse(party=pb.Party(tenant="bank", caller="desk"), rule="violence/1", trace_id="0" * 32)
        refuse.fields.add(name="answer_released", content=b'[{"content":"no"}]')
        refuse.fields.add(name="findings", content=b"[]")
        await gateway.send("r1", refuse=refuse)
        await gateway.accept("r2")
        await gateway.accept("r3", party=pb.Party(tenant="bank", caller="other"))
        await stub.GetRecord(pb.GetRecordRequest(record_id="r0", reason="case 7"))
        await level(audit)


async def level(audit) -> None:
    async with asyncio.timeout(60):
        while audit.index.leaves < audit.writer.tree.size:
            await asyncio.sleep(0.01)


async def received(audit, request: pb.ExportRecordsRequest, token: str = "auditor") -> list[pb.ExportRecordsResponse]:
    async with audit.calling(token) as stub:
        return [message async for message in stub.ExportRecords(request)]


async def taken(audit, folder: Path, messages: int | None = None):
    """With `messages`, the stream ends early, and goes on another time."""
    wanted = pb.RecordFilter(caller="desk")
    request = pb.ExportRecordsRequest(filter=wanted, reason="case 7")
    coming = await received(audit, request)

    def ask(asked: pb.ExportRecordsRequest) -> list[pb.ExportRecordsResponse]:
        return coming[:messages]

    return take(folder, "asked", wanted, "case 7", ask, lambda done, total: None)


@pytest.fixture
async def exported(audit, tmp_path) -> Path:
    await filled(audit)
    folder, target = tmp_path / "parts", tmp_path / "export.zip"
    package(folder, await taken(audit, folder), target, {"reason": "case 7", "filter": {"caller": "desk"}})
    assert not folder.exists()
    return target


async def test_an_export_verifies_in_a_bare_python_and_shows_what_is_masked(audit, exported, tmp_path) -> None:
    with zipfile.ZipFile(exported) as archive:
        archive.extractall(tmp_path / "out")
    out, key = tmp_path / "out", audit.writer.verifier_key
    for path in (exported, out):
        command = [sys.executable, "-I", "-S", out / "strongroom_verify.py", path, "--key", key, "--json"]
        ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, cwd=tmp_path)
        report = json.loads(ended.stdout)
        assert (ended.returncode, report["problems"], report["what"]) == (0, [], "export")
        assert report["entries"] == {"ACCEPTED": 2, "ACT": 1, "END": 1, "REFUSED": 1} and report["opened"] == 7
    everything = b"".join(path.read_bytes() for path in out.iterdir())
    assert CARD.encode() not in everything and b"13800138000" not in everything
    with (out / "records.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["record_id"] for row in rows] == ["r2", "r1", "r0"]
    assert [row["state"] for row in rows] == ["OPEN", "REFUSED", "COMPLETED"]
    assert rows[2]["answer"] == "'=1+1 <b>four</b>" and rows[2]["request"] == "user: masked"
    assert "&lt;b&gt;four" in (out / "records.html").read_text() and "<b>four" not in (out / "records.html").read_text()
    [act] = map(json.loads, (out / "trail.jsonl").read_text().splitlines())
    assert (act["record_id"], act["reason"], json.loads(act["header"])["actor"]) == ("r0", "case 7", "auditor")


@pytest.mark.skipif(bool(unavailable()), reason=unavailable())
async def test_show_4_a_callers_records_and_trail_verify_in_a_bare_container(audit, exported, tmp_path) -> None:
    """What the examiner has: the ZIP, and a Python. No network, no package, no file of ours."""
    (tmp_path / "given").mkdir()
    (tmp_path / "root").mkdir()
    given = exported.rename(tmp_path / "given" / "quarter.zip")
    with zipfile.ZipFile(given) as archive:
        archive.extract("strongroom_verify.py", tmp_path / "given")

    def bare(*arguments: str) -> subprocess.CompletedProcess[str]:
        return bare_python(tmp_path / "root", tmp_path / "given", *arguments)

    seen = "import os, socket; print(sorted(os.listdir('/given')), socket.if_nameindex(), os.path.exists('/home'))"
    looked = await asyncio.to_thread(bare, "-c", seen)
    assert looked.stdout == "['quarter.zip', 'strongroom_verify.py'] [(1, 'lo')] False\n", looked.stderr
    command = ("/given/strongroom_verify.py", "/given/quarter.zip", "--key", audit.writer.verifier_key)
    verified = await asyncio.to_thread(bare, *command)
    assert verified.returncode == 0 and "VERIFIES" in verified.stdout, verified.stdout + verified.stderr
    whole = given.read_bytes()
    with zipfile.ZipFile(given) as archive:
        at = archive.getinfo("trail.jsonl").header_offset + 100  # within its content
    given.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
    assert (await asyncio.to_thread(bare, *command)).returncode == 3


async def test_a_flipped_bit_in_any_file_of_an_export_is_found(exported, tmp_path) -> None:
    with zipfile.ZipFile(exported) as archive:
        archive.extractall(tmp_path / "out")
    out = tmp_path / "out"
    for path in sorted(out.iterdir()):
        if path.name == "manifest.json":
            continue
        whole = path.read_bytes()
        for at in range(0, len(whole), max(len(whole) // 5, 1)):
            path.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
            report = verify_export(out)
            assert report.exit_code == 3 and path.name in {problem.file for problem in report.problems}, (path.name, at)
        path.write_bytes(whole)
    assert verify_export(out).exit_code == 0


@pytest.mark.parametrize(
    ("altered", "told"),
    [
        (lambda line: line["fields"].update(answer_released="[]"), "answer_released"),
        (lambda line: line["entries"][-1].update(header=line["entries"][-1]["header"] + " "), "header"),
        (lambda line: line["entries"][-1].update(leaf_index=0), "not in the log"),
        (lambda line: line["entries"][-1].update(kind="REFUSED"), "another kind"),
        (lambda line: line["entries"][-1]["openings"]["findings"].update(salt=""), "bytes instead of 32"),
        (lambda line: line.clear(), "not what a line is"),
    ],
)
async def test_a_record_that_was_altered_with_its_manifest_is_found_by_its_proof(
    exported, tmp_path, altered, told
) -> None:
    """Fails if the verifier believes the manifest."""
    with zipfile.ZipFile(exported) as archive:
        archive.extractall(tmp_path / "out")
    path, manifest = tmp_path / "out" / "records.jsonl", tmp_path / "out" / "manifest.json"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    altered(lines[-1])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = json.loads(manifest.read_text())
    about["files"]["records.jsonl"] = sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(about))
    report = verify_export(tmp_path / "out")
    assert report.exit_code == 3 and told in str(report.problems[0])


async def test_what_can_no_longer_be_read_is_left_out_and_counted(audit) -> None:
    """Fails if a record that matches is passed over in silence. What is here found by the index goes before it is read:
    one is erased, a byte of another is damaged."""
    async with audit.appending() as gateway, audit.calling("administrator") as officer:
        for record, subject in (("erased", "C"), ("damaged", "D"), ("newest", "D")):
            await gateway.accept(record, party=pb.Party(subject=subject))
            await gateway.end(record, "4")
        await level(audit)
        signed = audit.writer.checkpoint_of(audit.index.leaves)
        export = Export(audit.index.store, audit.writer.stored, audit.writer.tree, signed)
        coming = export.records(Filter(), None)
        assert b'"record_id":"newest"' in next(coming).record
        await officer.Erase(pb.EraseRequest(tenant="bank", subject="C", reason="asked for", basis="GDPR 17"))
        [end] = [at for at in range(signed.size) if is_end(audit.writer.stored, at, "damaged")]
        damage(audit, audit.writer.stored.leaf(end).entry.ciphertext)
        assert list(coming) == []
    assert export.left_out == LeftOut(erased=1, unreadable=1)
    *_, last = messages(iter(()), export.left_out)
    assert (last.end.records, last.erased, last.unreadable) == (0, 1, 1)


def is_end(stored: StoredEntries, at: int, record: str) -> bool:
    clear = stored.clear(at)
    return (clear.kind, clear.record_id) == (Kind.END, record)


def damage(audit, content: bytes) -> None:
    """Flips a bit in the middle of these bytes, wherever the journal has them."""
    for path in (audit.home / "audit" / "journal").glob("*.journal"):
        at = path.read_bytes().find(content)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + len(content) // 2)
                file.write(bytes((content[len(content) // 2] ^ 1,)))


async def test_a_package_says_how_many_records_it_leaves_out(audit, tmp_path) -> None:
    await filled(audit)
    done, target = await taken(audit, tmp_path / "parts"), tmp_path / "export.zip"
    assert done.left_out == {"erased": 0, "unreadable": 0}
    done.left_out = {"erased": 2, "unreadable": 1}
    manifest = package(tmp_path / "parts", done, target, {"reason": "case 7", "filter": {}})
    assert manifest["left_out"] == done.left_out
    assert "3 records that match and are left out: 2 erased, 1 unreadable" in verify_export(target).not_covered
    with zipfile.ZipFile(target) as archive:
        assert "3 records that matched are not here" in archive.read("README.txt").decode()
        assert "2 erased on order" in archive.read("records.html").decode()


async def test_what_was_left_out_before_an_export_broke_off_is_counted_once(tmp_path) -> None:
    def answer(token: str, erased: int, *, end: bool = False) -> pb.ExportRecordsResponse:
        message = pb.ExportRecordsResponse(page_token=token, erased=erased)
        if end:
            message.end.SetInParent()
        return message

    first, wanted = [answer("9", 2), answer("5", 3)], pb.RecordFilter()
    with pytest.raises(BrokenOff):
        take(tmp_path / "parts", "asked", wanted, "case 7", lambda request: first, lambda done, total: None)
    rest = [answer("2", 1), answer("", 4, end=True)]
    done = take(tmp_path / "parts", "asked", wanted, "case 7", lambda request: rest, lambda done, total: None)
    assert done.left_out == {"erased": 7, "unreadable": 0}


async def test_an_act_of_another_record_is_found(exported, tmp_path) -> None:
    with zipfile.ZipFile(exported) as archive:
        archive.extractall(tmp_path / "out")
    path = tmp_path / "out" / "trail.jsonl"
    path.write_text(path.read_text().replace('"record_id":"r0"', '"record_id":"r1"'))
    report = verify_export(tmp_path / "out")
    assert "the act was done to another record" in "; ".join(map(str, report.problems))


async def test_an_export_that_broke_off_goes_on_where_it_ended(audit, tmp_path) -> None:
    async with audit.appending() as gateway:
        for n in range(3):
            await gateway.accept(f"r{n}")
            await gateway.end(f"r{n}", "long " * 60_000)  # a message for each record
        await level(audit)
    parts = tmp_path / "parts"
    with pytest.raises(BrokenOff):
        await taken(audit, parts, messages=2)
    state = json.loads((parts / "state.json").read_text())
    with (parts / "records.jsonl").open("ab") as file:
        file.write(b'{"half of')  # what came of the next one
    request = pb.ExportRecordsRequest(filter=pb.RecordFilter(caller="desk"), reason="case 7", page_token=state["token"])
    request.checkpoint_size = int(state["checkpoint"].split("\n")[1])
    rest = await received(audit, request)
    asked: list[pb.ExportRecordsRequest] = []

    def ask(again: pb.ExportRecordsRequest) -> list[pb.ExportRecordsResponse]:
        asked.append(again)
        return rest

    done = take(parts, "asked", pb.RecordFilter(), "case 7", ask, lambda done, total: None)
    assert asked == [request]  # the filter of the first time, and its checkpoint
    lines = [json.loads(line)["record_id"] for line in (parts / "records.jsonl").read_text().splitlines()]
    assert lines == ["r2", "r1", "r0"] and done.lines == {"records.jsonl": 3, "trail.jsonl": 0}
    with pytest.raises(Refused, match="something else"):
        take(parts, "other", pb.RecordFilter(), "case 8", ask, lambda done, total: None)


async def test_an_export_is_recorded_before_and_after(audit) -> None:
    await filled(audit)
    await received(audit, pb.ExportRecordsRequest(reason="case 7"), "examiner")
    leaves = map(audit.writer.stored.leaf, range(audit.writer.tree.size))
    acts = [leaf.header for leaf in leaves if leaf.clear.kind is Kind.ACT]
    assert [(act["actor"], act["action"]) for act in acts[-2:]] == [
        ("examiner", "EXPORT_STARTED"),
        ("examiner", "RECORDS_EXPORTED"),
    ]


@pytest.mark.parametrize("token", ["gateway", "caller", "reviewer", "operator", "administrator"])
async def test_only_auditors_and_examiners_export(audit, token) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await received(audit, pb.ExportRecordsRequest(reason="x"), token)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_export_needs_a_reason(audit) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await received(audit, pb.ExportRecordsRequest(reason=" "))
    assert from_rpc_error(refused.value).field == "reason"


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", " =1", "＝1", "　=1"])
def test_no_cell_is_a_formula(cell) -> None:
    assert quoted(cell) == f"'{cell}" and quoted("1=1") == "1=1"
