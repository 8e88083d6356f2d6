"""What stands in the place of personal data: a fixed word, a label, a partial mask after JR/T 0171 annex A, a token."""

from dataclasses import dataclass

from services.guard.redaction.classes import BY_NAME, DataClass
from services.guard.redaction.tokens import Tokens

TOKEN = "token"
MODES = ("redact", "label", "partial", TOKEN)
REDACTED = "[REDACTED]"
_LEAST_HIDDEN = 4
_SHOWN_OF_MAILBOX = 3
_WITHOUT_PARTS = DataClass("", "C2", "")


@dataclass(frozen=True)
class Masking:
    """How one class of personal data is masked, and its JR/T 0171 level."""

    entity: str
    mode: str
    label: str
    level: str
    tokens: Tokens | None = None  # the conversation's, in a prompt; an answer has none, and masks what it invents

    def mask(self, value: str | None) -> str:
        """`value` is in its plain form: digits only, or an address in ASCII punctuation. None: its end is not known
        yet, so that nothing of it may be shown."""
        if self.mode == "label":
            return self.label
        if self.mode == "partial" and value is not None:
            return _partial(self.entity, value)
        if self.tokens is not None and value is not None:
            return self.tokens.token(self.entity, value)
        return REDACTED


def _partial(entity: str, value: str) -> str:
    if entity == "EMAIL_ADDRESS":
        mailbox, _, domain = value.rpartition("@")
        shown = mailbox[:_SHOWN_OF_MAILBOX] if len(mailbox) > _SHOWN_OF_MAILBOX else mailbox[:1]
        return f"{shown}***@{domain}"
    if entity == "IP_ADDRESS" and value.count(".") == 3:
        return value.rpartition(".")[0].rpartition(".")[0] + ".*.*"
    known = BY_NAME.get(entity, _WITHOUT_PARTS)
    head, tail = known.head, known.tail
    if entity == "PERSON_NAME":
        return value[:1] + "*" * max(1, len(value) - 1)
    if len(value) - head - tail < _LEAST_HIDDEN:  # too short to show both ends
        head, tail = 0, max(0, min(tail, len(value) - _LEAST_HIDDEN))
    hidden = max(len(value) - head - tail, _LEAST_HIDDEN)
    return f"{value[:head]}{'*' * hidden}{value[len(value) - tail :] if tail else ''}"
