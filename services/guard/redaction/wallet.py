"""Addresses of crypto wallets: Base58Check (Bitcoin, Tron), Bech32 (Bitcoin), 0x and forty digits (Ethereum)."""

import hashlib
import re

from services.guard.redaction.shape import Shape
from services.guard.redaction.stretch import Stretch

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKS = (1, 0x2BC830A3)  # Bech32, Bech32m

_LEGACY = re.compile(r"(?<![0-9A-Za-z])(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|T[1-9A-HJ-NP-Za-km-z]{33})(?![0-9A-Za-z])")
_SEGWIT = re.compile(r"(?<![0-9A-Za-z])(?:bc1[02-9ac-hj-np-z]{11,71}|BC1[02-9AC-HJ-NP-Z]{11,71})(?![0-9A-Za-z])")
_ETHEREUM = re.compile(r"(?<![0-9A-Za-z])0[xX][0-9A-Fa-f]{40}(?![0-9A-Za-z])")


def _base58(match: re.Match[str], stretch: Stretch) -> str | None:
    number = 0
    for character in match.group():
        number = number * 58 + _BASE58.index(character)
    try:
        raw = number.to_bytes(25)
    except OverflowError:
        return None
    check = hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4]
    return match.group() if check == raw[21:] else None


def _bech32(match: re.Match[str], stretch: Stretch) -> str | None:
    address = match.group().lower()
    values = [3, 3, 0, 2, 3, *(_BECH32.index(character) for character in address[3:])]  # "bc", expanded
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            check ^= generator if top >> bit & 1 else 0
    return address if check in _CHECKS else None


def _ethereum(match: re.Match[str], stretch: Stretch) -> str | None:
    return match.group()


WALLETS = (
    Shape("CRYPTO_WALLET", "base58check", _LEGACY, _base58, least=26, digits=1),
    Shape("CRYPTO_WALLET", "bech32", _SEGWIT, _bech32, screen="bc1|BC1"),
    Shape("CRYPTO_WALLET", "ethereum", _ETHEREUM, _ethereum, screen="0[xX]"),
)
