"""Reversible tokens: one for a value in a conversation, another in another one, and none that a recognizer sees."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.loading import load_bundle, parse_bundle
from services.guard.policy.output_filter import Filtered
from services.guard.policy.screening import Message, Screening, screen
from services.guard.redaction.classes import ENTITIES
from services.guard.redaction.redactor import redact, redact_prompt
from services.guard.redaction.tokens import ALPHABET, Tokens, check_letter
from services.guard.settings import SHIPPED_POLICY

BUNDLE = load_bundle(SHIPPED_POLICY)
TOKENS = Tokens(b"k" * 32, b"one")
TOKEN = re.compile(r"\[([A-Z_]+)_([A-Z]{10})([A-Z])\]")


@pytest.fixture(scope="module")
def reversible() -> PolicyBundle:
    """The shipped policy with tokens for telephone numbers and names."""
    document = SHIPPED_POLICY.read_text()
    for entity in ("MOBILE_NUMBER", "PERSON_NAME"):
        document = re.sub(rf"({entity}: {{ *mode: )\w+", r"\1token", document)
    assert document.count("mode: token") == 2
    return parse_bundle(document.encode(), "reversible.yaml")


def screened(bundle: PolicyBundle, *texts: str, tokens: Tokens = TOKENS) -> Screening:
    return screen(bundle, [Message("user", text) for text in texts], tokens=tokens)


def test_a_value_has_one_token_however_it_is_written_and_in_every_message(reversible: PolicyBundle) -> None:
    told = screened(reversible, "电话13912345678，或 139-1234-5678", "call +86 １３９１２３４５６７８")
    tokens = {found.finding.token for found in told.findings}
    (token,) = tokens
    assert TOKEN.fullmatch(token)
    assert told.messages[1].content == f"电话{token}，或 {token}"
    assert told.messages[2].content == f"call {token}"


def test_another_conversation_another_value_and_another_class_have_other_tokens(reversible: PolicyBundle) -> None:
    """Fails if `tokens_of` leaves the conversation out, or `token` the class."""
    others = Tokens(b"k" * 32, b"two"), Tokens(b"K" * 32, b"one"), TOKENS
    asked = [("MOBILE_NUMBER", "13912345678")] * 3 + [("MOBILE_NUMBER", "13912345679"), ("BANK_CARD", "13912345678")]
    made = {tokens.token(*one)[-12:] for tokens, one in zip([*others, TOKENS, TOKENS], asked, strict=True)}
    assert len(made) == 5


def test_a_class_without_tokens_keeps_its_mode_beside_one_that_has_them(reversible: PolicyBundle) -> None:
    told = screened(reversible, "电话13912345678，邮箱wang@example.com")
    assert [bool(found.finding.token) for found in told.findings] == [True, False]
    assert told.messages[1].content.endswith("，邮箱[REDACTED]")


def test_what_an_answer_invents_is_masked_and_given_no_token(
    reversible: PolicyBundle, feed: Callable[..., Filtered]
) -> None:
    answer = feed(reversible, "电话13912345678，谢谢", (5,))
    assert answer.released == "电话[REDACTED]，谢谢"
    assert [found.token for found in answer.findings] == [""]


CONTEXTS = (
    "客户{}的手机", "Dear {}, please call", "SWIFT {} account", "账号{}，谢谢", "护照{}号", "password: {}",
    "api_key={}", "住在{}附近", "Mr. {} lives at {} in London", "王{}", "name is {} and", "{}{}", '"{}"',
    "Visit {} Street",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(entity=st.sampled_from(ENTITIES), value=st.text(min_size=1, max_size=30), context=st.sampled_from(CONTEXTS))
def test_no_recognizer_takes_a_token_for_data(entity: str, value: str, context: str) -> None:
    """Fails if a digit or a vowel is let into the alphabet."""
    text = context.replace("{}", TOKENS.token(entity, value))
    assert redact(BUNDLE.maskings, text, BUNDLE.table).text == text
    assert redact_prompt(BUNDLE.maskings, text, BUNDLE.table).text == text


@given(st.text(alphabet=ALPHABET, min_size=10, max_size=10), st.integers(0, 9), st.sampled_from(ALPHABET))
def test_one_letter_read_wrong_never_fits_the_check_letter(letters: str, place: int, wrong: str) -> None:
    altered = letters[:place] + wrong + letters[place + 1 :]
    assert (check_letter(altered) == check_letter(letters)) == (altered == letters)
