"""Texts made to hurt: each is answered, whole and in pieces, in bounded memory."""

import json
from collections.abc import Callable

import pytest

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.output_filter import OutputFilter
from services.guard.redaction.redactor import Redactor, redact

NESTED = '{"a":' * 1000 + '"13912345678"' + "}" * 1000


def test_ten_million_digits_are_one_number_that_is_none(bundle: PolicyBundle) -> None:
    redactor = Redactor(bundle.maskings)
    piece, taken = "7" * 10_000, 0
    for _ in range(1_000):
        redactor.push(piece)
        taken += len(redactor.emit(redactor.received).text)
        assert redactor.size < 25_000
    redactor.end()
    assert taken + len(redactor.emit(redactor.received).text) == 10_000_000


def test_many_candidates_are_all_found(bundle: PolicyBundle) -> None:
    text = "电话13912345678，" * 5_000
    redaction = redact(bundle.maskings, text)
    assert len(redaction.findings) == 5_000
    assert "139" not in redaction.text


@pytest.mark.parametrize(
    "text",
    [
        "\ud800电话13912345678\udfff",  # lone surrogates
        b"\xff\xfe 13912345678 \xc0\x80".decode("utf-8", "surrogateescape"),
        "هاتف ١٣٩١٢٣٤٥٦٧٨ شكرا",  # a third language, and its digits
        "टेलीफोन 13912345678",
        NESTED,
        json.dumps({"text": json.dumps({"phone": "13912345678"})}),
    ],
)
def test_what_is_no_proper_text_is_redacted_all_the_same(bundle: PolicyBundle, text: str) -> None:
    redaction = redact(bundle.maskings, text)
    assert [finding.entity for finding in redaction.findings] == ["MOBILE_NUMBER"]
    assert redaction.text.count("[REDACTED]") == 1


@pytest.mark.parametrize(
    "unit",
    [
        "1 ",
        "1-",
        "4111 ",
        "a@",
        "a.",
        "@b.c",
        "-----BEGIN ",
        "eyJ",
        "\\u0031",
        "%31",
        "\u200b1",
        "[(+",
        "一三",
        "0x",
        "::1",
        "1.1.",
        "A1",
    ],
)
def test_state_stays_bounded_however_long_it_goes_on(
    bundle: PolicyBundle, unit: str, size_of: Callable[[OutputFilter], int]
) -> None:
    """Fails if a stretch may be longer than FRAME, or what is settled is never forgotten."""
    output_filter = OutputFilter(bundle)
    for _ in range(60):
        output_filter.feed(unit * 40)
        assert size_of(output_filter) < 9_000


def test_a_private_key_is_swallowed_to_its_end_and_no_further(bundle: PolicyBundle) -> None:
    body = "\n".join("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7" for _ in range(40))
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    for step in (len(key) + 99, 1, 17):
        output_filter, text = OutputFilter(bundle), f"the key:\n{key}\nplease rotate it, 请更换"
        out = "".join(output_filter.feed(text[at : at + step]).released for at in range(0, len(text), step))
        assert out + output_filter.finish().released == "the key:\n[REDACTED]\nplease rotate it, 请更换"
