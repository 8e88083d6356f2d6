"""The classes of personal data that the guard knows, and their levels by JR/T 0171-2020."""

from typing import NamedTuple


class DataClass(NamedTuple):
    """`level`: C3 is what opens an account (credentials), C2 what identifies a person or their money, C1 what is kept
    inside a firm. `head` and `tail`: what a partial mask shows at either end, after annex A."""

    entity: str
    level: str
    label: str
    head: int = 0
    tail: int = 0


CLASSES = (
    DataClass("MOBILE_NUMBER", "C2", "[PHONE]", 3, 4),
    DataClass("LANDLINE_NUMBER", "C2", "[PHONE]", 0, 4),
    DataClass("PHONE_NUMBER", "C2", "[PHONE]", 0, 4),
    DataClass("RESIDENT_ID", "C2", "[ID]", 6, 4),
    DataClass("PASSPORT_NUMBER", "C2", "[PASSPORT]", 1, 3),
    DataClass("TRAVEL_PERMIT", "C2", "[PERMIT]", 1, 3),
    DataClass("US_SSN", "C2", "[SSN]", 0, 4),
    DataClass("USCC", "C1", "[USCC]", 4, 4),
    DataClass("BANK_CARD", "C2", "[CARD]", 6, 4),
    DataClass("ACCOUNT_NUMBER", "C2", "[ACCOUNT]", 0, 4),
    DataClass("IBAN", "C2", "[IBAN]", 4, 4),
    DataClass("SWIFT_CODE", "C1", "[SWIFT]", 4, 0),
    DataClass("CRYPTO_WALLET", "C2", "[WALLET]", 4, 4),
    DataClass("SECRET", "C3", "[SECRET]"),
    DataClass("EMAIL_ADDRESS", "C2", "[EMAIL]"),
    DataClass("IP_ADDRESS", "C2", "[IP]"),
    DataClass("MAC_ADDRESS", "C2", "[MAC]"),
    DataClass("LICENCE_PLATE", "C2", "[PLATE]", 2, 2),
    DataClass("DATE_OF_BIRTH", "C2", "[BIRTH]"),
    DataClass("PERSON_NAME", "C2", "[NAME]", 1, 0),
    DataClass("POSTAL_ADDRESS", "C2", "[ADDRESS]", 6, 0),
)
BY_NAME = {one.entity: one for one in CLASSES}
ENTITIES = tuple(BY_NAME)
