"""Who attends together: everyone once, and those who decode in the groups that look over the fewest tokens."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.batch import Segment
from services.inference.engine.torch_spans import _GROUP_TOKENS, Group, Spans, by_length, neighbouring

ONE_EACH = st.lists(st.integers(1, 1500), min_size=1, max_size=9)
PASSES = st.lists(st.tuples(st.integers(0, 900), st.sampled_from([1, 1, 1, 2, 5, 9, 40])), min_size=1, max_size=12)


def segments_of(passed: list[tuple[int, int]]) -> list[Segment]:
    return [Segment(slot, start, [0] * count) for slot, (start, count) in enumerate(passed)]


def price(groups: list[Group]) -> int:
    return sum(len(group.slots) * group.end + _GROUP_TOKENS for group in groups)


@given(PASSES)
def test_each_row_is_in_one_group_which_looks_as_far_as_its_longest(passed: list[tuple[int, int]]) -> None:
    segments, spans = segments_of(passed), Spans.of(segments_of(passed))
    for groups in (neighbouring(segments), by_length(segments, 1)):
        assert sorted(row for group in groups for row in group.rows) == list(range(len(spans.ids)))
        for group in groups:
            assert [spans.slots[row] for row in group.rows] == [
                slot for slot, count in zip(group.slots, group.counts, strict=True) for _ in range(count)
            ]
            assert group.end == max(segments[slot].end for slot in group.slots)
            assert group.queries == max(group.counts)


@given(ONE_EACH)
def test_no_other_cut_by_length_is_cheaper(ends: list[int]) -> None:
    """Fails if `best` takes the last cut instead of the cheapest."""
    groups, lengths = by_length(segments_of([(end - 1, 1) for end in ends]), 1), sorted(ends)
    ways = (cuts for size in range(len(ends)) for cuts in combinations(range(1, len(ends)), size))
    prices = [
        sum((b - a) * lengths[b - 1] + _GROUP_TOKENS for a, b in pairwise((0, *cuts, len(ends)))) for cuts in ways
    ]
    assert price(groups) == min(prices)


def test_many_that_decode_are_cut_by_length_wherever_their_slots_are() -> None:
    groups = by_length(segments_of([(30 + 800 * (slot % 2), 1) for slot in range(16)]), 1)
    assert sorted((group.end, group.slots) for group in groups) == [(31, [*range(0, 16, 2)]), (831, [*range(1, 16, 2)])]
    assert not any(group.neighbours for group in groups)


def test_few_that_decode_stay_together() -> None:
    [group] = by_length(segments_of([(30, 1), (350, 1), (100, 1), (250, 1)]), 1)
    assert group.own == slice(0, 4) and group.neighbours


def test_those_who_guess_share_a_group_with_those_who_do_not() -> None:
    [group] = by_length(segments_of([(100, 4), (140, 1), (90, 2)]), 1)
    assert (group.counts, group.queries) == ([4, 1, 2], 4)
