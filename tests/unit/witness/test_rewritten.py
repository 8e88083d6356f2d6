"""The last 100 records dropped and signed again with the real key: the witness, audit's start, the verifier and the
client, each by itself, catch it."""

from __future__ import annotations

import json
import shutil

import pytest
from strongroom.failures import InvalidRequest
from strongroom.known import LOG_SHORTER, KnownCheckpoints, LogRewritten
from strongroom.verify import ABSENT, ALTERED, VERIFIES, parse_policy, verify_home

from services.audit.known_checkpoints import LogDiverged
from services.audit.witnesses.asking import Answer
from services.audit.witnesses.kept import COSIGNED
from services.witness.memory import origin_hash

RECORDS, DROPPED = 120, 100


@pytest.fixture
async def rewritten(world, tmp_path, known):  # type: ignore[no-untyped-def]
    """The home as it was 100 records earlier, whose witnesses and client have seen those since."""
    home = world.home
    home.grow(RECORDS - DROPPED)
    await world.rounds().look()
    shutil.copytree(home.folder, tmp_path / "older", ignore=shutil.ignore_patterns("lock"))
    home.grow(DROPPED)
    await world.rounds().look()
    follow(known, home)
    home.close()
    shutil.rmtree(home.folder)
    shutil.copytree(tmp_path / "older", home.folder)
    home.boot, home.receipts = "rewritten", []
    return world


@pytest.fixture
def known(home, tmp_path) -> KnownCheckpoints:
    return KnownCheckpoints(home.writer.verifier_key, tmp_path / "known")


def follow(known: KnownCheckpoints, home) -> None:  # type: ignore[no-untyped-def]
    """What the client does with a receipt that it asks for."""
    receipt = json.loads(home.writer.records.receipt(json.loads(home.receipts[-1])["request_id"])[1])
    for link in known.links(receipt):
        with link.asked():
            link.check(proof_of(home, link))
    known.keep(receipt)


def proof_of(home, link) -> list[bytes]:  # type: ignore[no-untyped-def]
    """As the servicer answers."""
    try:
        return home.writer.consistency(link.old.size, link.new.size)  # type: ignore[no-any-return]
    except IndexError:
        raise InvalidRequest("short", reason=LOG_SHORTER) from None


async def test_the_witnesses_refuse_it_while_it_is_shorter_and_when_it_is_longer(rewritten) -> None:
    """Fails if `ask` answers a conflict with the size that the witness names by asking for less, or if a witness takes
    a proof from any size that it has cosigned."""
    home, seen = rewritten.home, rewritten.watchers[0].newest
    home.open()
    for records in (1, RECORDS):
        home.grow(records)
        rounds = rewritten.rounds()
        await rounds.look()
        wanted = Answer.BEHIND if home.signed.size < seen else Answer.FORKED
        assert [each.answer for each in rounds.standings] == [wanted] * 2
        assert all(standing.answer.refuses for standing in rounds.standings)
    assert home.signed.size > seen
    assert [each.newest for each in rewritten.watchers] == [seen] * 2


async def test_audit_does_not_start_on_it_if_a_witness_can_be_asked(rewritten) -> None:
    home, [watcher, _] = rewritten.home, rewritten.watchers
    note = watcher.memory.note(origin_hash(json_origin(home)))
    with pytest.raises(LogDiverged, match=rf"the witness w1 has seen covers {watcher.newest} entries"):
        home.open(witnessed={"w1": note})
    assert verify_home(home.folder).size < watcher.newest  # nothing was signed


def json_origin(home) -> str:  # type: ignore[no-untyped-def]
    return str((home.tlog / "log.vkey").read_text().partition("+")[0])


async def test_what_the_log_did_not_sign_keeps_it_from_no_start(rewritten, home) -> None:
    note = rewritten.watchers[0].memory.note(origin_hash(json_origin(home)))
    home.open(witnessed={"w1": note.replace("\n", "\n9", 1), "w2": "nonsense"})


async def test_the_verifier_refuses_it(rewritten) -> None:
    """By what is absent: the witnesses cosign it no more, and what they cosigned since it does not hold."""
    home, policy = rewritten.home, parse_policy(rewritten.policy().text)
    newest = rewritten.watchers[0].memory.note(origin_hash(json_origin(home)))
    then = rewritten.time.now
    home.open()
    home.grow(RECORDS)
    rewritten.time.now += 3600
    await rewritten.rounds().look()
    home.close()
    report = verify_home(home.folder, policy=policy, since=rewritten.time.now - 300)
    assert (report.exit_code, report.problems) == (ABSENT, []), report.problems
    assert max(report.witnesses.values()) == then  # all that whoever asks for no age is shown
    (home.tlog / COSIGNED).unlink()
    assert verify_home(home.folder, policy=policy).exit_code == ABSENT
    (home.tlog / COSIGNED).write_text(newest)
    assert verify_home(home.folder, policy=policy).exit_code == ALTERED
    assert verify_home(home.folder, kept=newest).exit_code == ALTERED
    (home.tlog / COSIGNED).unlink()
    assert verify_home(home.folder).exit_code == VERIFIES  # without witness or memory nobody can tell


@pytest.mark.parametrize("records", [1, RECORDS])
async def test_the_client_refuses_its_next_receipt(rewritten, known, tmp_path, records) -> None:
    """Shorter or longer than what it saw. Fails if `links` compares with newer checkpoints only."""
    home, before = rewritten.home, known.newest
    home.open()
    home.grow(records)
    for client in (known, KnownCheckpoints(home.writer.verifier_key, tmp_path / "known")):  # another process
        with pytest.raises(LogRewritten, match="does not continue the first"):
            follow(client, home)
        assert client.newest == before  # it stays as the proof


async def test_what_an_answer_brought_is_proved_with_the_next_receipt(home, known) -> None:
    """Fails if `saw` replaces what is kept before it is proved."""
    home.grow(3)
    follow(known, home)
    kept = known.newest
    home.grow(2)
    known.saw(json.loads(home.receipts[-1]))
    assert known.newest == kept
    home.grow(1)
    links = known.links(json.loads(home.receipts[-1]))
    assert len(links) == 2
    follow(known, home)
    assert known.newest != kept and known.links(json.loads(home.receipts[-1])) == []
