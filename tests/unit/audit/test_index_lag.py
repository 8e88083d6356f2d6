"""How long the index has been behind is told from what was seen published, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.audit.index.lag import MOST_SEEN, Lag


class Monotonic:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=60))
def test_it_is_the_age_of_the_oldest_leaf_that_is_lacking(steps) -> None:
    """Fails if the newest leaf's age is told, or a leaf's that the index has."""
    monotonic = Monotonic()
    lag, published, indexed = Lag(monotonic), 0, 0
    seen_at: list[float] = []  # by leaf
    for more, taken in steps:
        monotonic.now += 1
        published, indexed = published + more, min(indexed + taken, published + more)
        seen_at += [monotonic.now] * more
        expected = monotonic.now - seen_at[indexed] if indexed < published else 0.0
        assert lag.seconds(published, indexed) == expected


def test_one_that_stands_still_for_days_takes_no_more_memory_and_tells_its_age() -> None:
    """Fails if what was seen is kept whole."""
    monotonic = Monotonic()
    lag = Lag(monotonic)
    for second in range(3 * MOST_SEEN):
        monotonic.now = float(second)
        assert lag.seconds(10 * (second + 1), 0) == second
    assert len(lag._seen) == MOST_SEEN
    assert lag.seconds(30 * MOST_SEEN, 30 * MOST_SEEN) == 0
