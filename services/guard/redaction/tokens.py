"""Reversible tokens: what stands in a prompt for a value, the same throughout a conversation and in no other one."""

import hmac
import secrets

# No vowel makes a word of them, no digit a number: no recognizer and no list looks at what they spell.
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
LETTERS = 10  # of HMAC: 43 bits
_PURPOSE = b"strongroom reversible tokens v1"


class Tokens:
    """Those of one conversation. None is stored: the same value gives the same token again, and whoever has the key may
    ask for a value's token, never for a token's value."""

    def __init__(self, key: bytes, conversation: bytes) -> None:
        self._key = hmac.digest(key, _PURPOSE + conversation, "sha256")

    def token(self, entity: str, value: str) -> str:
        """`value` in its plain form: however it was written, it has one token."""
        code = hmac.digest(self._key, f"{entity}\0{value}".encode(errors="surrogatepass"), "sha256")
        letters, left = "", int.from_bytes(code)
        for _ in range(LETTERS):
            left, place = divmod(left, len(ALPHABET))
            letters += ALPHABET[place]
        return f"[{entity}_{letters}{check_letter(letters)}]"


def passing() -> Tokens:
    """For a text that belongs to no conversation: nothing can be made of its tokens afterwards."""
    return Tokens(secrets.token_bytes(32), b"")


def check_letter(letters: str) -> str:
    """As ISO 7064's hybrid systems do: another letter in any one place gives another check letter."""
    size = len(ALPHABET)
    product = size
    for letter in letters:
        product = ((product + ALPHABET.index(letter)) % size or size) * 2 % (size + 1)
    return ALPHABET[(size + 1 - product) % size]
