"""Classes take turns by weight, and none waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from services.inference.worker.turns import WEIGHTS, Turns

CLASSES = st.sets(st.sampled_from(sorted(WEIGHTS)), min_size=1)


def test_twelve_turns_of_busy_classes_follow_the_weights() -> None:
    assert Turns().share(12, set(WEIGHTS)) == {"interactive": 8, "standard": 3, "batch": 1}


def test_one_turn_at_a_time_gives_the_same_and_starts_with_the_urgent() -> None:
    turns = Turns()
    order = [name for _ in range(12) for name in turns.share(1, set(WEIGHTS))]
    assert order[0] == "interactive"
    assert {name: order.count(name) for name in WEIGHTS} == dict(WEIGHTS)


@given(st.integers(0, 40), CLASSES)
def test_every_turn_is_given_and_only_to_classes_that_were_named(count: int, among: set[str]) -> None:
    shares = Turns().share(count, among)
    assert sum(shares.values()) == count
    assert set(shares) <= among


@given(st.lists(st.tuples(st.integers(1, 5), CLASSES), max_size=30))
def test_no_class_that_stays_busy_starves(history: list[tuple[int, set[str]]]) -> None:
    turns = Turns()
    for count, among in history:
        turns.share(count, among | {"batch"})
    assert "batch" in turns.share(sum(WEIGHTS.values()) * 2, set(WEIGHTS))


def test_no_class_no_turns() -> None:
    assert Turns().share(5, set()) == {}
