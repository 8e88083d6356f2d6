"""Texts of the kinds that a guard meets, the same each time; the numbers in them are made up and belong to no one."""

from __future__ import annotations

import random

LENGTH = 2000  # characters
ENGLISH = (
    "A forward contract is a private agreement between two parties, settled at its end; a futures contract is "
    "standardised, traded on an exchange, and settled every day through a clearing house. Whoever hedges a known "
    "exposure often prefers the first, because it can be cut to size, and pays for it with the risk of the other side. "
)
CHINESE = (
    "远期合约是双方私下订立的协议，到期时才结算；期货合约则是标准化的，在交易所买卖，并通过清算所每日结算。"
    "需要对冲已知风险的企业往往选择前者，因为条款可以按需要商定，但要承担对手方违约的风险。"
)
SEED = 20251123


def _filled(text: str) -> str:
    return (text * (LENGTH // len(text) + 1))[:LENGTH]


def _card(chance: random.Random) -> str:
    """Sixteen digits whose last one is right (Luhn)."""
    digits = [4, *(chance.randrange(10) for _ in range(14))]
    doubled = sum(sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits))
    return "".join(map(str, digits)) + str(-doubled % 10)


def _personal(chance: random.Random) -> str:
    mobile = f"139{chance.randrange(10**8):08d}"
    return f"联系人电话{mobile}，卡号{_card(chance)}；or write to user{chance.randrange(1000)}@example.com. "


def _row(chance: random.Random) -> str:
    return " ".join(f"{chance.randrange(10**6):,}.{chance.randrange(100):02d}" for _ in range(6)) + "\n"


def texts() -> dict[str, str]:
    """Each of LENGTH characters."""
    chance = random.Random(SEED)
    return {
        "English": _filled(ENGLISH),
        "Chinese": _filled(CHINESE),
        "personal data": "".join(_personal(chance) for _ in range(40))[:LENGTH],
        "table of digits": "".join(_row(chance) for _ in range(60))[:LENGTH],
    }
