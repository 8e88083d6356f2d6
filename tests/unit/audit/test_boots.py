"""What is remembered of gateway boots is bounded, and the boots that append keep it."""

from __future__ import annotations

from services.audit.records.boots import REMEMBERED_SEQUENCES, Boots


def appended(boots: Boots, boot: str, count: int) -> None:
    first = boots.next(boot)
    for sequence in range(first, first + count):
        boots.advance(boot, sequence)
        boots.located(boot, sequence, 10 * sequence)


def test_a_boot_keeps_the_places_of_its_newest_entries() -> None:
    boots, count = Boots(0.0), 3 * REMEMBERED_SEQUENCES
    appended(boots, "a", count)
    assert boots.location("a", count - REMEMBERED_SEQUENCES) == 10 * (count - REMEMBERED_SEQUENCES)
    assert (boots.location("a", 0), boots.location("a", count)) == (None, None)


def test_invariant_6_many_boots_together_keep_no_more_than_a_bound() -> None:
    """Fails if nothing is forgotten of a boot for as long as it is known: a mebibyte each, of thousands."""
    boots = Boots(0.0, in_all=100)
    appended(boots, "live", 5)
    for number in range(40):
        appended(boots, f"gone-{number}", 10)
        appended(boots, "live", 1)
        assert sum(len(boot.locations) for boot in boots._boots.values()) == boots._located <= 100
    assert [boots.location("live", sequence) for sequence in range(45)] == [10 * sequence for sequence in range(45)]
    assert boots.location("gone-0", 9) is None and boots.location("gone-39", 0) == 0
    assert boots.next("gone-0") == 10, "its numbers go on without a gap all the same"
    appended(boots, "gone-0", 3)
    assert [boots.location("gone-0", sequence) for sequence in (9, 10, 12)] == [None, 100, 120]


def test_what_forgotten_boots_kept_is_no_longer_counted() -> None:
    boots = Boots(0.0)
    for number in range(4_100):
        appended(boots, f"b{number}", 1)
    boots.forget_oldest({"b0"})
    assert boots._located == 4_096 and boots.location("b0", 0) == 0 and boots.location("b1", 0) is None
