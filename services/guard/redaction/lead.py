"""What stands before a number and says what it is, whatever its length."""

import re

from services.guard.redaction import said
from services.guard.redaction.context import (
    ACCOUNT,
    AMOUNT_BEFORE,
    CARD,
    HOTLINE,
    IDENTITY,
    NAMED_TELEPHONE,
    SERIAL,
    SSN,
    TELEPHONE,
)
from services.guard.redaction.stretch import Stretch

_OPENING = re.compile(r"(?:\((?:\+ ?)?|\+ ?\(?)\Z")
_GLUED_BEFORE = re.compile(r"[A-Za-z0-9]*\Z")
HEX_OR_CODE = re.compile(r"[0-9a-f]+|[0-9A-Z]{1,6}|[A-Za-z]{1,2}")


class Lead:
    """Looked at once for all readings that begin at the same digit, each question when it is first asked."""

    def __init__(self, stretch: Stretch, start: int) -> None:
        self._stretch, self._start = stretch, start
        self._opening: int | None = None
        self._words: str | None = None
        self._says_telephone: bool | None = None
        self._names_telephone: bool | None = None
        self._says_card: bool | None = None
        self._names_account: bool | None = None
        self._counts: bool | None = None
        self._code: bool | None = None

    @property
    def opening(self) -> int:
        """Where a bracket or a plus sign before the first digit begins."""
        if self._opening is None:
            self._opening = self._find_opening()
        return self._opening

    def _find_opening(self) -> int:
        text, start = self._stretch.text, self._start
        if text[start - 1 : start] not in ("(", "+", " "):
            return start
        match = _OPENING.search(text, max(self._stretch.start, start - 3), start)
        return match.start() if match else start

    @property
    def words(self) -> str:
        if self._words is None:
            self._words = self._stretch.before(self.opening)
        return self._words

    @property
    def says_telephone(self) -> bool:
        if self._says_telephone is None:
            said_there = self._stretch.says(said.TELEPHONE)
            self._says_telephone = said_there and TELEPHONE.search(self.words[-24:]) is not None
        return self._says_telephone

    @property
    def names_telephone(self) -> bool:
        """Directly, and no public hotline."""
        if self._names_telephone is None:
            said_there = self._stretch.says(said.TELEPHONE)
            named = said_there and NAMED_TELEPHONE.search(self.words[-30:]) is not None
            self._names_telephone = named and not self.hotline
        return self._names_telephone

    @property
    def hotline(self) -> bool:
        return HOTLINE.search(self.words[-16:]) is not None

    @property
    def says_card(self) -> bool:
        if self._says_card is None:
            self._says_card = self._stretch.says(said.CARD) and CARD.search(self.words[-24:]) is not None
        return self._says_card

    @property
    def says_ssn(self) -> bool:
        return self._stretch.says(said.SSN) and SSN.search(self.words[-32:]) is not None

    @property
    def says_identity(self) -> bool:
        return self._stretch.says(said.IDENTITY) and IDENTITY.search(self.words[-24:]) is not None

    @property
    def names_account(self) -> bool:
        if self._names_account is None:
            self._names_account = self._stretch.says(said.ACCOUNT) and ACCOUNT.search(self.words)
        return self._names_account

    @property
    def counts(self) -> bool:
        """An amount, an order, a time stamp: said directly before."""
        if self._counts is None:
            says = self._stretch.says
            self._counts = (says(said.SERIAL) and SERIAL.search(self.words)) or (
                says(said.AMOUNT) and AMOUNT_BEFORE.search(self.words[-26:]) is not None
            )
        return self._counts

    @property
    def code(self) -> bool:
        """Letters that are no word are glued to the first digit."""
        if self._code is None:
            self._code = self._is_code()
        return self._code

    def _is_code(self) -> bool:
        text, start = self._stretch.text, self._start
        if not start or not (text[start - 1].isascii() and text[start - 1].isalnum()):
            return False
        glued = _GLUED_BEFORE.search(text, max(0, start - 32), start)
        return glued is not None and glued.group() != "" and HEX_OR_CODE.fullmatch(glued.group()) is not None
