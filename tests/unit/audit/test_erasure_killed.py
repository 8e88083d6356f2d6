"""kill -9 at every step of an erasure: after the next start it is finished or was never begun, and nothing between."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from strongroom.verify import VERIFIES, verify_home

from services.audit.custody.orders import Erase, Scope
from tests.unit.audit.killed_erasure import opened

ROOT = Path(__file__).parents[3]
# In the order in which an erasure comes to them; some more than once.
STEPS = [
    "custody.sealed.partial is written",
    "custody.sealed is put in place",
    "an entry is appended",
    "an entry is durable",
    "subjects.next.partial is written",
    "subjects.next is put in place",
    "erased.jsonl is written",
    "tenant.next.partial is written",
    "tenant.next is put in place",
    "subjects.jsonl is put in place",
    "tenant.json is put in place",
]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.unit.audit.killed_erasure", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_process_was_killed_at_each_named_step_three_times_or_more(killed) -> None:
    """Fails if a step is added that nobody is killed at: its name is not in the list."""
    assert all(each["killed"] for each in killed)
    times = Counter(each["step"] for each in killed)
    assert set(times) == set(STEPS) and min(times.values()) >= 3


async def test_invariant_8_an_erasure_that_was_killed_is_finished_or_not_begun_and_never_half(killed, desk) -> None:
    """Fails if `flush` appends to erased.jsonl only once the new table is in place, or `_finish` renames the key before
    its table."""
    finished = Counter[bool]()
    for each in killed:
        home, said = Path(str(each["home"])), f"{each['subject'] or 'a tenant'}, killed before: {each['step']}"
        assert verify_home(home).exit_code == VERIFIES, said
        writer = opened(home)
        book, keys = writer.custody.book, writer.custody.keys
        for order in book.orders.values():
            assert isinstance(order, Erase)
            assert len({keys.erased(key_id) for key_id in order.key_ids}) == 1, f"half of the keys: {said}"
        async with desk.custodian(writer) as custodian:
            for order in list(book.orders.values()):
                assert await custodian._carried_out_soon(order), said
        certified = [header for action, header in desk.acts(writer) if action.endswith("_ERASED")]
        scope = desk.scope(writer, str(each["subject"])) if each["subject"] else Scope("bank")
        state = {"ERASED" if certified else "COMPLETED"}
        assert len(certified) <= 1 and not book.orders, said
        assert bool(keys.keys_of(*scope)) is not bool(certified), said
        assert writer.records.record("r0").summary.state in state, said
        assert bool(writer.records.record("r0").fields) is not bool(certified), said
        assert bool(writer.records.record("r1").fields) is bool(each["subject"] or not certified), said
        writer.stop()
        writer.close()
        left = {path.suffix for path in (home / "audit" / "keys").rglob("*") if path.is_file()}
        assert not left & {".next", ".partial"}, said
        assert verify_home(home).exit_code == VERIFIES, said
        finished[bool(certified)] += 1
    assert finished[True] and finished[False]
