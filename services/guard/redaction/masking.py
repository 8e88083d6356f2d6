"""What stands in the place of personal data: a fixed word, a label, or a partial mask after JR/T 0171 annex A."""

from dataclasses import dataclass

MODES = ("redact", "label", "partial")
REDACTED = "[REDACTED]"

# Visible characters at the head and at the tail of a number, JR/T 0171-2020 annex A.
_SHOWN = {"MOBILE_NUMBER": (3, 4), "BANK_CARD": (6, 4)}
_SHOWN_OF_MAILBOX = 3


@dataclass(frozen=True)
class Masking:
    """How one class of personal data is masked, and its JR/T 0171 level."""

    entity: str
    mode: str
    label: str
    level: str

    def mask(self, value: str) -> str:
        """`value` is in its plain form: digits only, or an address in ASCII punctuation."""
        if self.mode == "label":
            return self.label
        if self.mode == "partial":
            return _partial_address(value) if "@" in value else _partial_number(value, *_SHOWN[self.entity])
        return REDACTED

    def mask_of_open_match(self) -> str:
        """For a match whose end is not known yet, of which therefore nothing is shown."""
        return self.label if self.mode == "label" else REDACTED


def _partial_number(digits: str, head: int, tail: int) -> str:
    hidden = max(len(digits) - head - tail, 4)
    return f"{digits[:head]}{'*' * hidden}{digits[-tail:]}"


def _partial_address(address: str) -> str:
    mailbox, _, domain = address.rpartition("@")
    shown = mailbox[:_SHOWN_OF_MAILBOX] if len(mailbox) > _SHOWN_OF_MAILBOX else mailbox[:1]
    return f"{shown}***@{domain}"
