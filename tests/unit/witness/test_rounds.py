"""A log and its witnesses: what is asked when, what is kept of the answers, and what a wrong one leads to."""

from __future__ import annotations

import json
import shutil

from strongroom.verify import ABSENT, ALTERED, VERIFIES, cosigned_at, parse_policy, verify_home, verify_receipt

from chassis.metrics import Metrics
from services.audit.witnesses.asking import Answer
from services.audit.witnesses.kept import COSIGNED, POLICY, Kept
from services.audit.witnesses.metrics import watch_witnesses
from services.witness.key import CosigningKey


def answers(rounds) -> list[Answer | None]:  # type: ignore[no-untyped-def]
    return [standing.answer for standing in rounds.standings]


async def test_every_published_checkpoint_is_cosigned_and_kept(world) -> None:
    rounds = world.rounds()
    for records in (1, 4, 0, 20):
        world.home.grow(records)
        await rounds.look()
        assert [each.newest for each in world.watchers] == [world.home.signed.size] * 2
    kept = (world.home.tlog / COSIGNED).read_text()
    assert kept.startswith(world.home.signed.note)
    assert [cosigned_at(kept, each.key.public) for each in world.watchers] == [int(world.time.now)] * 2
    assert answers(rounds) == [Answer.COSIGNED] * 2


async def test_a_log_that_rests_is_cosigned_again_after_a_while(world) -> None:
    """Else nobody could tell a log that rests from one whose witnesses refuse it."""
    rounds = world.rounds()
    world.home.grow(1)
    await rounds.look()
    asked = world.posts
    await rounds.look()
    assert world.posts == asked
    world.time.now += 61
    await rounds.look()
    kept = (world.home.tlog / COSIGNED).read_text()
    assert cosigned_at(kept, world.watchers[0].key.public) == int(world.time.now)


async def test_a_restarted_audit_finds_out_where_its_witnesses_are(world) -> None:
    world.home.grow(3)
    await world.rounds().look()
    world.home.open()
    world.home.grow(3)
    rounds = world.rounds()
    await rounds.look()
    assert [each.newest for each in world.watchers] == [world.home.signed.size] * 2
    assert Kept(world.home.tlog, world.policy(), world.home.writer.verifier).load() == world.home.writer.cosigned


async def test_nothing_is_kept_before_the_quorum_is_met(world, value_of) -> None:
    rounds, metrics = world.rounds(), Metrics()
    rounds.answered = watch_witnesses(metrics, rounds.standings, lambda: world.home.writer.cosigned)
    world.watchers[1].away = True
    world.home.grow(1)
    await rounds.look()
    assert not (world.home.tlog / COSIGNED).exists() and world.home.writer.cosigned is None
    assert answers(rounds) == [Answer.COSIGNED, Answer.SILENT]
    assert value_of(metrics, "strongroom_audit_witness_answers_total", witness="w2", answer="SILENT") == 1
    assert value_of(metrics, "strongroom_audit_witness_refuses") == 0
    asked = world.posts
    await rounds.look()
    assert world.posts == asked  # the silent one holds nobody up
    world.watchers[1].away = False
    world.time.now += 11
    await rounds.look()
    assert (world.home.tlog / COSIGNED).read_text().startswith(world.home.signed.note)
    assert value_of(metrics, "strongroom_audit_cosigned_entries") == world.home.signed.size
    assert await_ages(metrics, value_of) == world.time.now


def await_ages(metrics, value_of) -> float:  # type: ignore[no-untyped-def]
    return float(value_of(metrics, "strongroom_audit_witness_timestamp_seconds", witness="w2"))


async def test_a_policy_of_any_goes_on_without_one(world) -> None:
    rounds = world.rounds(world.policy("any"))
    world.watchers[0].away = True
    world.home.grow(1)
    await rounds.look()
    assert (world.home.tlog / COSIGNED).read_text().count("\n— ") == 2  # the log's signature, and one cosignature


async def test_a_witness_that_does_not_know_the_log_says_so(world, new_watcher) -> None:
    world.watchers.append(new_watcher("w3"))
    rounds = world.rounds(world.policy("any"))
    world.home.grow(1)
    await rounds.look()
    assert answers(rounds) == [Answer.COSIGNED, Answer.COSIGNED, Answer.STRANGER]


async def test_a_receipt_is_cosigned_once_its_entry_is(world) -> None:
    rounds, home = world.rounds(), world.home
    home.grow(2)
    record = json.loads(home.receipts[0])["request_id"]
    assert json.loads(home.writer.records.receipt(record)[1])["state"] == "DURABLE"
    await rounds.look()
    receipt = home.writer.records.receipt(record)[1]
    assert json.loads(receipt)["state"] == "COSIGNED"
    home.grow(1)
    later = json.loads(home.receipts[-1])["request_id"]
    assert json.loads(home.writer.records.receipt(later)[1])["state"] == "DURABLE"
    policy = world.policy().text
    assert verify_receipt_bytes(receipt, home, policy) == ""
    assert "not cosigned" in verify_receipt_bytes(home.receipts[0], home, policy)
    forged = receipt.replace(world.watchers[0].key.name, "witness.example/w9")
    assert "not cosigned" in verify_receipt_bytes(forged, home, policy)


def verify_receipt_bytes(receipt, home, policy) -> str:  # type: ignore[no-untyped-def]
    """The problem that the verifier finds with the checkpoint; these records' own bytes are no requests."""
    found = verify_receipt("?", None, receipt, home.writer.verifier_key, policy)
    return "" if "request_received" in found.problem else found.problem


async def test_the_folder_verifies_under_the_policy_and_says_since_when(world) -> None:
    home, rounds = world.home, world.rounds()
    home.grow(5)
    policy = parse_policy(world.policy().text)
    assert verify_home(home.folder, policy=policy).exit_code == ABSENT
    await rounds.look()
    report = verify_home(home.folder, policy=policy, since=world.time.now)
    assert (report.exit_code, report.cosigned, report.not_covered) == (VERIFIES, report.size, [])
    assert report.witnesses == {"w1": world.time.now, "w2": world.time.now}
    assert verify_home(home.folder, policy=policy, since=world.time.now + 1).exit_code == ABSENT
    home.grow(1)
    assert any("not cosigned by witnesses yet" in line for line in verify_home(home.folder).not_covered)
    other = parse_policy(f"witness w {other_key()}\nquorum w\n")
    assert verify_home(home.folder, policy=other).exit_code == ABSENT


def other_key() -> str:
    return CosigningKey("witness.example/other", bytes(32)).vkey


async def test_one_flipped_bit_in_what_is_kept_is_found(world, tmp_path) -> None:
    """Show 1 of cosignatures and policy. Fails if the kept policy's first line is not compared with the rest."""
    world.home.grow(1)
    await world.rounds().look()
    world.home.close()
    target = tmp_path / "copy"
    shutil.copytree(world.home.folder, target)
    for name in (COSIGNED, POLICY):
        path = target / "audit" / "tlog" / name
        whole = path.read_bytes()
        for at in range(0, len(whole), 5):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            report = verify_home(target)
            assert report.exit_code == ALTERED, (name, at)
            assert "checkpoint.cosigned" in {problem.file.rpartition("/")[2] for problem in report.problems}
        path.write_bytes(whole)
    assert verify_home(target).exit_code == VERIFIES
    (target / "audit" / "tlog" / POLICY).unlink()
    assert verify_home(target).exit_code == ALTERED


async def test_another_policy_never_stands_beside_the_old_cosignatures(world) -> None:
    world.home.grow(1)
    await world.rounds().look()
    await world.rounds(world.policy("any")).look()
    assert verify_home(world.home.folder).exit_code == VERIFIES
    assert b"group asked any" in (world.home.tlog / POLICY).read_bytes()
    assert Kept(world.home.tlog, world.policy(), world.home.writer.verifier).load() is None
