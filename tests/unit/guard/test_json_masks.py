"""The arguments of a tool stay JSON where something in them is masked, however they come, or end withheld."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.policy.json_masks import LONGEST_ATOM
from services.guard.policy.loading import load_bundle
from services.guard.policy.output_filter import NO_JSON, OutputFilter, check_whole, rebuild
from services.guard.redaction.finding import Finding
from services.guard.settings import SHIPPED_POLICY

BUNDLE = load_bundle(SHIPPED_POLICY)


def filtered(text: str, cuts: tuple[int, ...] = ()) -> tuple[str, list[Finding], str | None]:
    output_filter, start, released = OutputFilter(BUNDLE, in_json=True), 0, ""
    findings: list[Finding] = []
    for end in (*cuts, len(text), None):
        part = output_filter.finish() if end is None else output_filter.feed(text[start:end])
        start, released = end or 0, released + part.released
        findings += part.findings
    return released, findings, part.withheld


def in_any_pieces(text: str) -> tuple[str, list[Finding], str | None]:
    whole = filtered(text)
    assert filtered(text, tuple(range(1, len(text)))) == whole
    for cut in range(1, len(text)):
        assert filtered(text, (cut,)) == whole, cut
    once = check_whole(BUNDLE, text, in_json=True)
    assert (once.released, list(once.findings), once.withheld) == whole
    return whole


@pytest.mark.parametrize(
    ("arguments", "released"),
    [
        ('{"phone": 13912345678, "n": 5}', {"phone": "[REDACTED]", "n": 5}),
        ('{"phone":13912345678}', {"phone": "[REDACTED]"}),
        ("[13912345678,4111111111111111]", ["[REDACTED]", "[REDACTED]"]),
        ('{"phone": "13912345678", "13912345679": [true, 1.5e3]}', {"phone": "[REDACTED]", "[REDACTED]": [True, 1500]}),
        ("13912345678", "[REDACTED]"),
        ('{"a": "say \\"13912345678\\"\\n", "b": -1}', {"a": 'say "[REDACTED]"\n', "b": -1}),
        ('{"p": "\\u0031\\u0033912345678\\\\"}', {"p": "[REDACTED]\\"}),
        ('{"p": "a\\f13912345678\\b"}', {"p": "a\f[REDACTED]\b"}),
        ('{"inner": "{\\"phone\\": 13912345678}"}', {"inner": '{"phone": [REDACTED]}'}),
        ('{"account": 6222020897949459357, "x": [1, 2]}', {"account": "[REDACTED]", "x": [1, 2]}),
    ],
)
def test_a_masked_number_becomes_a_string_and_a_masked_part_of_a_string_is_escaped(
    arguments: str, released: Any
) -> None:
    """Fails if a mask outside of a string is given without quotes."""
    text, findings, withheld = in_any_pieces(arguments)
    assert withheld is None and findings
    assert json.loads(text) == released


def test_a_number_is_replaced_whole_with_its_sign_and_fraction() -> None:
    """Fails if what stands before or behind the mask in the same number is released beside it."""
    for number in ("-13912345678e0", "13912345678.0", "-4111111111111111", "139,1234,5678"):
        text, _, _ = in_any_pieces(f'{{"电话": [{number}, 7]}}')
        assert json.loads(text) == {"电话": ["[REDACTED]", 7]}


def test_a_label_with_a_quote_is_escaped(edited: Any) -> None:
    bundle = edited(('MOBILE_NUMBER: {mode: redact, label: "[PHONE]"', "MOBILE_NUMBER: {mode: label, label: '<\"\\>'"))
    for arguments in ('{"p": "13912345678"}', '{"p": 13912345678}'):
        assert json.loads(check_whole(bundle, arguments, in_json=True).released) == {"p": '<"\\>'}


def test_a_mask_that_would_leave_no_json_ends_the_answer_withheld() -> None:
    """Fails if `_fits` lets a mask stand that swallows half an escape."""
    arguments = '{"a": 1, "p": "电话\\13912345678", "q": 2}'  # no escape of JSON's: the backslash has no character left
    text, _, withheld = in_any_pieces(arguments)
    assert withheld == NO_JSON
    assert text == '{"a": 1, "p": "电话\\'


def test_a_number_too_long_to_hold_back_is_given_as_it_comes() -> None:
    text = "[" + "7" * (3 * LONGEST_ATOM) + "e1, 13912345678]"
    released, _, withheld = in_any_pieces(text)
    assert withheld == NO_JSON or json.loads(released)
    output_filter = OutputFilter(BUNDLE, in_json=True)
    for _ in range(100):
        output_filter.feed("x" * 100)
        assert output_filter._json is not None and output_filter._json.size <= LONGEST_ATOM


NUMBERS = st.sampled_from(
    [13912345678, 4111111111111111, 6222020897949459357, 1, -5, 1.25, 2023, 95588, 110101199003070000]
)
TEXTS = st.sampled_from(
    ["电话13912345678。", "a\"b\\c", "139 1234 5678", "wang@example.com", "\n\t\u2028", "x", "4111-1111-1111-1111",
     "http://a.b/?p=13912345678&q=1", "王芳", "北京市海淀区中关村大街27号", "13912345678\\", "\b13912345678"]
)  # fmt: skip
SCALARS = NUMBERS | TEXTS | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3))


@settings(max_examples=200, deadline=None)
@given(document=DOCUMENTS, ascii=st.booleans(), spaced=st.booleans(), data=st.data())
def test_invariant_3_any_json_stays_json_in_any_pieces_or_ends_withheld(
    document: Any, ascii: bool, spaced: bool, data: st.DataObject
) -> None:
    """Fails if a span of several numbers, an escape or a label is put in without a look at where it stands."""
    text = json.dumps(document, ensure_ascii=ascii, indent=1 if spaced else None)
    cuts = tuple(sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10))))
    released, findings, withheld = filtered(text)
    assert filtered(text, cuts) == (released, findings, withheld)
    assert filtered(text, tuple(range(1, len(text)))) == (released, findings, withheld)
    if withheld is None:
        json.loads(released)
        assert findings or released == text
    else:
        assert withheld == NO_JSON


def test_invariant_8_a_rebuilt_filter_of_arguments_goes_on_where_the_lost_one_stopped() -> None:
    """Fails if a finding is handed out before the mask of its number, which is held back."""
    text = '{"phone": 13912345678, "card": "4111 1111 1111 1111", "n": [1, 13912345679]}'
    whole, findings, _ = filtered(text)
    for lost_at in range(len(text) + 1):
        first = OutputFilter(BUNDLE, in_json=True)
        before = first.feed(text[:lost_at])
        second = rebuild(BUNDLE, text[:lost_at], len(before.released), in_json=True)
        after = second.feed(text[lost_at:]), second.finish()
        assert before.released + after[0].released + after[1].released == whole
        assert [*before.findings, *after[0].findings, *after[1].findings] == findings
