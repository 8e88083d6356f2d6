"""Numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.page.numbers import amount, clock, day
from services.monitor.page.words import Words


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "seconds", "–"),
        (math.nan, "", "–"),
        (math.inf, "seconds", "–"),
        (0, "", "0"),
        (3, "", "3"),
        (0.85, "", "0.85"),
        (128_431, "", "128,431"),
        (42.34, "/s", "42.3 /s"),
        (0, "seconds", "0 s"),
        (0.00042, "seconds", "420 µs"),
        (0.0042, "seconds", "4.20 ms"),
        (0.251, "seconds", "251 ms"),
        (1.839, "seconds", "1.84 s"),
        (31, "seconds", "31 s"),
        (198, "seconds", "3.3 min"),
        (0.4, "age", "0 sec"),
        (12.4, "age", "12 sec"),
        (119, "age", "119 sec"),
        (120, "age", "2 min"),
        (9_000, "age", "2.5 h"),
        (12 * 86_400, "age", "12 d"),
        (0, "ratio", "0 %"),
        (0.00001, "ratio", "<0.01 %"),
        (0.0052, "ratio", "0.52 %"),
        (0.914, "ratio", "91 %"),
        (1.6, "ratio", "160 %"),
        (512, "bytes", "512 B"),
        (98_000_000, "bytes", "93.5 MiB"),
        (3 * 1024**4, "bytes", "3 TiB"),
    ],
)
def test_a_number_has_its_unit_and_as_many_digits_as_matter(value, unit, shown):
    assert str(amount(value, unit)) == shown


@given(st.floats(), st.sampled_from(["", "/s", "seconds", "ratio", "bytes", "tokens", "age"]))
def test_whatever_was_measured_can_be_shown(value, unit):
    assert amount(value, unit).number


def test_an_age_is_said_in_the_readers_language():
    assert Words("en").with_unit(amount(12, "age")) == "12 s"
    assert Words("zh").with_unit(amount(9_000, "age")) == "2.5 小时"


def test_times_are_utc():
    assert (day(1_790_000_000), clock(1_790_000_000)) == ("2026-09-21", "14:13:20")
