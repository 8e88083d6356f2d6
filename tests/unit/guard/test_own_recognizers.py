"""Recognizers that a policy brings along: found at every cut, and refused at load where they cost too much or miss."""

import pytest

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.loading import InvalidPolicy, parse_bundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.redaction.redactor import redact
from services.guard.settings import SHIPPED_POLICY

OWN = """
recognizers:
  - name: EMPLOYEE_NUMBER
    pattern: 'EMP-[0-9]{6}'
    context: [工号, Employee]
    mode: label
    level: C2
    label: "[EMPLOYEE]"
    finds: ["工号EMP-204711离职", "employee EMP-000017"]
    passes: ["EMP-2047", "批次EMP-204711"]
"""


def with_own(own: str) -> PolicyBundle:
    return parse_bundle(SHIPPED_POLICY.read_bytes() + own.encode(), "own.yaml")


def test_a_class_of_ones_own_is_masked_the_same_at_every_cut() -> None:
    """Fails if the output filter is made without the bundle's table."""
    bundle, text = with_own(OWN), "请查工号EMP-204711和电话13912345678，EMP-204712。"
    whole = redact(bundle.maskings, text, bundle.table)
    assert whole.text == "请查工号[EMPLOYEE]和电话[REDACTED]，[EMPLOYEE]。"
    for cut in range(len(text) + 1):
        output_filter = OutputFilter(bundle)
        out = output_filter.feed(text[:cut]).released + output_filter.feed(text[cut:]).released
        assert out + output_filter.finish().released == whole.text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("EMP-[0-9]{6}", "EMP-[0-9]+", "matches 5 to any number of characters; let it match 4 to 64"),
        ("EMP-[0-9]{6}", "[0-9]{3}", "matches 3 to 3 characters"),
        ("EMP-[0-9]{6}", "(EMP-[0-9]{6}", "is no RE2 pattern"),
        ("EMP-[0-9]{6}", "(?=E)EMP-[0-9]{6}", "is no RE2 pattern"),
        ("EMP-[0-9]{6}", "(?:[a-z]?[\\\\p{L}]?){32}", "pattern"),
        ("EMP-[0-9]{6}", "EMP-[0-9]{7}", "recognizers[0].finds[0]: is not found"),
        ("工号EMP-204711离职", "工号甲乙丙丁离职", "recognizers[0].finds[0]: is not found"),
        ('"EMP-2047"', '"工号EMP-204799"', "recognizers[0].passes[0]: is found"),
        ("EMPLOYEE_NUMBER", "BANK_CARD", "BANK_CARD is a class already"),
        ("EMPLOYEE_NUMBER", "employee", "recognizers[0].name: is 'employee'"),
        ("level: C2", "level: C4", "recognizers[0].level: is 'C4'"),
        ("    passes:", "    misses:", "recognizers[0].passes: is missing"),
    ],
)
def test_what_is_wrong_with_one_is_named_at_load(old: str, new: str, said: str) -> None:
    assert old in OWN
    with pytest.raises(InvalidPolicy) as refused:
        with_own(OWN.replace(old, new))
    assert said in str(refused.value)


def test_a_pattern_that_blows_up_elsewhere_takes_no_longer_here() -> None:
    """(a|a)*-like patterns are exponential where matching backtracks; ours is bounded in width, and RE2 is linear."""
    own = OWN.replace("EMP-[0-9]{6}", "(?:(?:a|a|a1)(?:a|a|a1)){2,10}x").replace(
        '"工号EMP-204711离职", "employee EMP-000017"', '"工号 a1a1a1a1x"'
    )
    bundle = with_own(own)
    text = "工号 " + "a1" * 5_000
    assert redact(bundle.maskings, text, bundle.table).findings == ()
