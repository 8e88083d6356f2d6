"""When a process that died is started again."""

from hypothesis import given
from hypothesis import strategies as st

from chassis.start import EXIT_MISCONFIGURED
from stack.restarts import Backoff, Restarts

EXIT_CODES = st.integers(-31, 255).filter(lambda code: code != EXIT_MISCONFIGURED)


def test_the_first_restart_comes_at_once_and_the_pauses_double_up_to_five_seconds() -> None:
    restarts = Restarts()
    pauses = [restarts.pause_after(-9, lived_seconds=0.5) for _ in range(8)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert restarts.count == 8


def test_a_misconfigured_process_is_never_started_again() -> None:
    assert Restarts().pause_after(EXIT_MISCONFIGURED, lived_seconds=1000) is None


def test_a_process_that_lived_long_enough_starts_again_at_once() -> None:
    restarts = Restarts(Backoff(first=0.1, longest=5, settled=20))
    for _ in range(5):
        restarts.pause_after(1, lived_seconds=1)
    assert restarts.pause_after(1, lived_seconds=20) == 0.1
    assert restarts.pause_after(1, lived_seconds=1) == 0.2


@given(st.lists(st.tuples(EXIT_CODES, st.floats(0, 1e6)), max_size=50))
def test_every_pause_is_between_the_first_and_the_longest(deaths: list[tuple[int, float]]) -> None:
    restarts = Restarts()
    for code, lived in deaths:
        pause = restarts.pause_after(code, lived)
        assert pause is not None and 0.1 <= pause <= 5.0
