"""Tokens there and back through the guard's own screening and filter: a model that repeats its prompt word by word."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.requests.outcome import Finding
from services.gateway.requests.question import Message
from services.gateway.requests.restoring import Restoring, hidden_in
from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.loading import parse_bundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.policy.screening import Message as Asked
from services.guard.policy.screening import screen
from services.guard.redaction.tokens import Tokens
from services.guard.settings import SHIPPED_POLICY

TEXTS = [
    "请致电王芳，手机13912345678，卡号6222 0208 9794 9459 357，邮箱wang.fang@example.com。",
    "Call +86 139-1234-5678 or (010) 6655-4433; card ４１１１ １１１１ １１１１ １１１１, IP 10.20.30.40!",
    '{"iban": "GB29 NWBK 6016 1331 9268 19", "id": "11010119900307109X"}',
    "订单号127843885213于2023-10-15支付100元，车牌京A·D12345。",
    "api_key = sk-abcdefghijklmnop1234567890, 出生日期：1990年3月7日",
]


@pytest.fixture(scope="module")
def reversible() -> PolicyBundle:
    """Every class by tokens."""
    return parse_bundle(re.sub(r"mode: \w+", "mode: token", SHIPPED_POLICY.read_text()).encode(), "reversible.yaml")


def there_and_back(bundle: PolicyBundle, text: str, cuts: tuple[int, ...], conversation: bytes = b"one") -> str:
    """What the caller gets of an answer that is the prompt as the model saw it, cut there."""
    screened = screen(bundle, [Asked("user", text)], tokens=Tokens(b"k" * 32, conversation))
    seen = screened.messages[-1].content
    found = [
        Finding(f.entity, f.start, f.end, f.level, "prompt", told.message, f.rule, token=f.token)
        for told in screened.findings
        for f in [told.finding]
    ]
    assert found == [] or seen != text
    restoring = Restoring(hidden_in([Message("user", text)], found))
    output_filter, start, out = OutputFilter(bundle), 0, ""
    for end in (*(cut for cut in cuts if cut < len(seen)), len(seen)):
        out += restoring.feed(output_filter.feed(seen[start:end]).released, False)
        start = end
    return out + restoring.feed(output_filter.finish().released, True)


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_prompt_held_comes_back_as_it_was(reversible: PolicyBundle, text: str) -> None:
    """Fails if a recognizer of the output filter takes a token, or a part of one, for data."""
    assert there_and_back(reversible, text, ()) == text
    assert there_and_back(reversible, text, tuple(range(1, 400))) == text


@settings(max_examples=60, deadline=None)
@given(text=st.sampled_from(TEXTS), cuts=st.sets(st.integers(1, 300), max_size=8))
def test_it_does_so_in_any_pieces(reversible: PolicyBundle, text: str, cuts: set[int]) -> None:
    assert there_and_back(reversible, text, tuple(sorted(cuts))) == text


def test_a_token_of_another_conversation_stays_a_token(reversible: PolicyBundle) -> None:
    """Invariant 3. Fails if tokens are put back by their value's class and place instead of by their letters."""
    other = screen(reversible, [Asked("user", "电话13912345678")], tokens=Tokens(b"k" * 32, b"two"))
    token = other.findings[0].finding.token
    text = f"电话13912345678，别处的{token}。"
    assert there_and_back(reversible, text, (7, 12)) == text
