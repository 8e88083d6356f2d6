"""Filters between pieces: each piece once, bounded in number, pinned to the policy that screened."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.open_filters import FilterKey, FilterLost, OpenFilters, Piece
from services.guard.policy.shelf import KEPT_SECONDS, PolicyShelf, PolicyUnknown


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf(bundle: PolicyBundle, tmp_path: Path, clock: Clock) -> PolicyShelf:
    return PolicyShelf(bundle, tmp_path, clock)


@pytest.fixture
def filters(shelf: PolicyShelf, clock: Clock) -> OpenFilters:
    return OpenFilters(shelf, most=3, idle_seconds=60, clock=clock)


KEY = FilterKey("r-1", 0, 1)
PIECES = [Piece(0, "电话139"), Piece(1, "12345678"), Piece(2, "。", last=True)]


def test_pieces_go_through_one_filter(filters: OpenFilters, bundle: PolicyBundle) -> None:
    answers = [filters.take(KEY, bundle.digest, piece) for piece in PIECES]
    assert [answer.released for answer in answers] == ["电话", "", "[REDACTED]。"]


def test_a_piece_sent_again_is_answered_again_identically(filters: OpenFilters, bundle: PolicyBundle) -> None:
    for piece in PIECES:
        assert filters.take(KEY, bundle.digest, piece) == filters.take(KEY, bundle.digest, piece)


def test_requests_choices_and_channels_have_filters_of_their_own(filters: OpenFilters, bundle: PolicyBundle) -> None:
    for key in (KEY, FilterKey("r-1", 1, 1), FilterKey("r-1", 0, 2)):
        assert filters.take(key, bundle.digest, PIECES[0]).released == "电话"


@pytest.mark.parametrize("piece", [Piece(1, "x"), Piece(7, "x")])
def test_a_piece_without_its_filter_says_so(filters: OpenFilters, bundle: PolicyBundle, piece: Piece) -> None:
    with pytest.raises(FilterLost):
        filters.take(KEY, bundle.digest, piece)


def test_a_gap_in_the_pieces_is_a_lost_filter(filters: OpenFilters, bundle: PolicyBundle) -> None:
    filters.take(KEY, bundle.digest, PIECES[0])
    with pytest.raises(FilterLost):
        filters.take(KEY, bundle.digest, PIECES[2])


def test_the_whole_text_makes_the_filter_anew(filters: OpenFilters, bundle: PolicyBundle) -> None:
    filters.take(KEY, bundle.digest, PIECES[0])
    again = Piece(1, "电话13912345678", rebuild=True, released=2)
    assert filters.take(KEY, bundle.digest, again).released == ""
    assert filters.take(KEY, bundle.digest, PIECES[2]).released == "[REDACTED]。"


def test_a_rebuilt_filter_may_end_with_the_same_piece(filters: OpenFilters, bundle: PolicyBundle) -> None:
    again = Piece(2, "电话13912345678。", last=True, rebuild=True, released=2)
    assert filters.take(KEY, bundle.digest, again).released == "[REDACTED]。"


def test_invariant_6_the_number_is_bounded_and_the_idlest_goes(filters: OpenFilters, bundle: PolicyBundle) -> None:
    """Fails when OpenFilters.keep does not pop what is over the bound."""
    for number in range(4):
        filters.take(FilterKey(f"r-{number}", 0, 1), bundle.digest, PIECES[0])
    assert len(filters) == 3
    with pytest.raises(FilterLost):
        filters.take(FilterKey("r-0", 0, 1), bundle.digest, PIECES[1])


def test_an_idle_filter_expires(filters: OpenFilters, bundle: PolicyBundle, clock: Clock) -> None:
    filters.take(KEY, bundle.digest, PIECES[0])
    clock.now += 61
    with pytest.raises(FilterLost):
        filters.take(KEY, bundle.digest, PIECES[1])
    assert len(filters) == 0


def test_a_filter_stays_with_the_policy_that_screened(
    filters: OpenFilters, shelf: PolicyShelf, bundle: PolicyBundle, edited: Callable[..., PolicyBundle]
) -> None:
    later = edited(('version: "1.0.0"', 'version: "1.0.1"'), ("mode: redact", "mode: label"))
    filters.take(KEY, bundle.digest, PIECES[0])
    shelf.enforce(later)
    filters.take(KEY, bundle.digest, PIECES[1])
    assert filters.take(KEY, bundle.digest, PIECES[2]).released == "[REDACTED]。"
    other = FilterKey("r-2", 0, 1)
    assert filters.take(other, later.digest, Piece(0, "电话13912345678。", last=True)).released == "电话[PHONE]。"


def test_a_policy_is_kept_for_a_day_after_it_was_in_force(
    shelf: PolicyShelf, bundle: PolicyBundle, clock: Clock, edited: Callable[..., PolicyBundle]
) -> None:
    later = edited(('version: "1.0.0"', 'version: "1.0.1"'))
    shelf.enforce(later)
    assert shelf.get(b"") is later
    clock.now += KEPT_SECONDS - 1
    assert shelf.get(bundle.digest) is bundle
    clock.now += 2
    with pytest.raises(PolicyUnknown):
        shelf.get(bundle.digest)
    assert shelf.get(later.digest) is later


def test_an_unknown_policy_is_never_replaced_by_another(filters: OpenFilters) -> None:
    with pytest.raises(PolicyUnknown):
        filters.take(KEY, b"x" * 32, PIECES[0])


def test_kept_policies_survive_a_restart_unless_altered(
    shelf: PolicyShelf, bundle: PolicyBundle, tmp_path: Path, clock: Clock, edited: Callable[..., PolicyBundle]
) -> None:
    later = edited(('version: "1.0.0"', 'version: "1.0.1"'))
    restarted = PolicyShelf(later, tmp_path, clock)
    assert restarted.get(bundle.digest).document == bundle.document
    kept = tmp_path / f"{bundle.digest.hex()}.yaml"
    kept.write_bytes(kept.read_bytes().replace("炸弹".encode(), "气球".encode()))
    os.utime(kept, (clock.now, clock.now))
    with pytest.raises(PolicyUnknown):
        PolicyShelf(later, tmp_path, clock).get(bundle.digest)
