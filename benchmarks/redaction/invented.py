"""Personal data that belongs to nobody: valid by the standards, invented by chance, in the forms people write it in."""

from __future__ import annotations

import hashlib
import ipaddress
import random
import re
from collections.abc import Callable

_REGIONS = ("110101", "310115", "440305", "510107", "330106", "320505", "610113", "420106", "230102", "650102")
_ISSUERS = (
    "622202",
    "621700",
    "622588",
    "623058",
    "6228480",
    "4",
    "51",
    "2221",
    "34",
    "37",
    "36",
    "3528",
    "6011",
    "9558",
)
_LENGTHS = {"34": 15, "37": 15, "36": 14, "4": 16, "51": 16, "2221": 16, "3528": 16, "6011": 16}
_IBAN_PARTS = {
    "DE": "n18",
    "GB": "a4n14",
    "FR": "n23",
    "NL": "a4n10",
    "CH": "n17",
    "ES": "n20",
    "IT": "a1n22",
    "AE": "n19",
}
_AREAS = ("010", "021", "0755", "0571", "028", "0512", "020", "0898")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_PLATE = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_TOKEN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def mobile(chance: random.Random) -> str:
    return f"1{chance.choice('3456789')}{digits(chance, 9)}"


def landline(chance: random.Random) -> str:
    area = chance.choice(_AREAS)
    return f"{area}-{chance.choice('25678')}{digits(chance, 7 if len(area) == 3 or area == '0755' else 6)}"


def resident_id(chance: random.Random) -> str:
    born = f"{chance.randrange(1950, 2008)}{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}"
    body = chance.choice(_REGIONS) + born + digits(chance, 3)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(w * int(d) for w, d in zip(weights, body)) % 11]


def card(chance: random.Random) -> str:
    issuer = chance.choice(_ISSUERS)
    length = _LENGTHS.get(issuer) or chance.choice((16, 19, 19))
    body = issuer + digits(chance, length - 1 - len(issuer))
    total = sum(sum(divmod(int(d) * (1 + (place % 2 == 0)), 10)) for place, d in enumerate(reversed(body)))
    return body + str(-total % 10)


def uscc(chance: random.Random) -> str:
    body = f"{chance.choice(('91', '92', '12', '52'))}{chance.choice(_REGIONS)}MA"
    body += "".join(chance.choices(_USCC, k=7))
    weights = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
    total = sum(weight * _USCC.index(character) for weight, character in zip(weights, body))
    return body + _USCC[-total % 31]


def iban(chance: random.Random) -> str:
    country, parts = chance.choice(list(_IBAN_PARTS.items()))
    body = "".join(
        digits(chance, int(size)) if kind == "n" else "".join(chance.choices(_PLATE, k=int(size)))
        for kind, size in re.findall(r"([an])(\d+)", parts)
    )
    number = int("".join(str(int(c, 36)) for c in f"{body}{country}00"))
    return f"{country}{98 - number % 97:02}{body}"


def email(chance: random.Random) -> str:
    box = chance.choice(("zhang.wei", "li_na", "ops", "j.smith", "billing", "wang-fang", "chen88", "o.brien+news"))
    domain = chance.choice(("example.com", "mail.example.cn", "corp.example.co.uk", "example.org"))
    return f"{box}{chance.randrange(1000)}@{domain}"


def plate(chance: random.Random) -> str:
    head = chance.choice("京沪粤浙川苏鲁豫") + chance.choice("ABCDEF")
    return head + (f"D{digits(chance, 5)}" if chance.random() < 0.3 else chance.choice(_PLATE) + digits(chance, 4))


def ipv4(chance: random.Random) -> str:
    return str(ipaddress.IPv4Address(chance.randrange(0x0B000000, 0xDF000000)))


def ipv6(chance: random.Random) -> str:
    return str(ipaddress.IPv6Address((0x20010DB8 << 96) | chance.getrandbits(64)))


def mac(chance: random.Random) -> str:
    return chance.choice(":-").join(
        [f"{chance.randrange(256):02x}" for _ in range(5)] + [f"{chance.randrange(10, 100)}"]
    )


def bitcoin(chance: random.Random) -> str:
    raw = b"\0" + chance.randbytes(20)
    raw += hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4]
    number, text = int.from_bytes(raw), ""
    while number:
        number, rest = divmod(number, 58)
        text = _BASE58[rest] + text
    return "1" + text


def ethereum(chance: random.Random) -> str:
    return f"0x{chance.getrandbits(160):040x}"


def ssn(chance: random.Random) -> str:
    return f"{chance.randrange(1, 666):03}-{chance.randrange(1, 100):02}-{chance.randrange(1, 10000):04}"


def north_american(chance: random.Random) -> str:
    area, exchange = chance.choice((212, 415, 617, 312, 646, 908)), chance.randrange(220, 999)
    return f"{chance.choice(('({}) {}-{}', '{}-{}-{}', '+1 {} {} {}', '{}.{}.{}'))}".format(
        area, exchange, digits(chance, 4)
    )


def abroad(chance: random.Random) -> str:
    form = chance.choice(("+44 20 7{} {}", "+852 9{} {}", "+49 30 {} {}", "+65 8{} {}", "0044 20 7{} {}"))
    return form.format(digits(chance, 3), digits(chance, 4))


def passport(chance: random.Random) -> str:
    return chance.choice(
        (f"E{digits(chance, 8)}", f"G{digits(chance, 8)}", f"E{chance.choice(_PLATE)}{digits(chance, 7)}")
    )


def permit(chance: random.Random) -> str:
    return chance.choice("HMC") + digits(chance, 8)


def account(chance: random.Random) -> str:
    return digits(chance, chance.choice((10, 12, 14, 17)))


def api_key(chance: random.Random) -> str:
    def token(count: int) -> str:
        return "".join(chance.choices(_TOKEN, k=count - 1)) + chance.choice("0123456789")

    return chance.choice(
        (
            f"sk-{token(48)}",
            f"ghp_{token(36)}",
            f"AKIA{''.join(chance.choices(_TOKEN[:26], k=14))}37",
            f"xoxb-{digits(chance, 11)}-{token(24)}",
        )
    )


def jwt(chance: random.Random) -> str:
    return f"eyJhbGciOiJIUzI1NiJ9.eyJ{''.join(chance.choices(_TOKEN, k=40))}.{''.join(chance.choices(_TOKEN, k=43))}"


def birth(chance: random.Random) -> str:
    year, month, day = chance.randrange(1950, 2005), chance.randrange(1, 13), chance.randrange(1, 29)
    return chance.choice(
        (
            f"{year}年{month}月{day}日",
            f"{year}-{month:02}-{day:02}",
            f"{year}/{month}/{day}",
            f"{day:02}/{month:02}/{year}",
        )
    )


WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
CHINESE = str.maketrans("0123456789", "〇一二三四五六七八九")


def grouped(value: str, sizes: tuple[int, ...], sign: str) -> str:
    parts, at = [], 0
    for size in (*sizes, len(value)):
        parts.append(value[at : at + size])
        at += size
    return sign.join(part for part in parts if part)


Form = Callable[[str], str]
_FORMS: dict[str, Form] = {
    "plain": lambda value: value,
    "full-width": lambda value: value.translate(WIDE),
    "invisible": lambda value: "\u200b".join(filter(None, (value[:4], value[4:9], value[9:]))),
}


def forms(label: str) -> dict[str, Form]:
    """The forms in which values of a class are written."""
    of_class: dict[str, dict[str, Form]] = {
        "MOBILE_NUMBER": {
            **{sign: lambda v, sign=sign: grouped(v, (3, 4), sign) for sign in (" ", "-", ".", "·")},  # type: ignore[misc]
            "+86": lambda v: f"+86 {v}",
            "(+86)": lambda v: f"(+86){v}",
            "86-": lambda v: f"86-{grouped(v, (3, 4), '-')}",
            "Chinese digits": lambda v: v.translate(CHINESE),
            "spelled out": lambda v: "-".join(v),
            "lines": lambda v: grouped(v, (3, 4), "\n"),
        },
        "BANK_CARD": {
            **{sign: lambda v, sign=sign: grouped(v, (4, 4, 4, 4), sign) for sign in (" ", "-")},  # type: ignore[misc]
        },
        "RESIDENT_ID": {
            **{sign: lambda v, sign=sign: grouped(v, (6, 8), sign) for sign in (" ", "-")},  # type: ignore[misc]
            "lower": str.lower,
        },
        "IBAN": {
            "spaced": lambda v: grouped(v, (4,) * 8, " "),
            "lower": str.lower,
        },
        "USCC": {"lower": str.lower, "spaced": lambda v: grouped(v, (8, 9), " ")},
        "EMAIL_ADDRESS": {
            "full-width": lambda v: v.replace("@", "＠").replace(".", "．"),
            "upper": str.upper,
            "escaped": lambda v: v.replace("@", "%40"),
        },
        "LICENCE_PLATE": {"dotted": lambda v: f"{v[:2]}·{v[2:]}", "spaced": lambda v: f"{v[:2]} {v[2:]}"},
        "PASSPORT_NUMBER": {"lower": str.lower},
    }
    own = of_class.get(label, {})
    if label in _UNSPLIT:
        return {"plain": _FORMS["plain"], **own}
    return {**_FORMS, **own}


_UNSPLIT = frozenset(
    {"SECRET", "DATE_OF_BIRTH", "SWIFT_CODE", "PHONE_NUMBER", "LANDLINE_NUMBER", "US_SSN", "EMAIL_ADDRESS"}
)

VALUES: dict[str, tuple[Callable[[random.Random], str], ...]] = {
    "MOBILE_NUMBER": (mobile,),
    "LANDLINE_NUMBER": (landline,),
    "RESIDENT_ID": (resident_id,),
    "BANK_CARD": (card,),
    "USCC": (uscc,),
    "IBAN": (iban,),
    "EMAIL_ADDRESS": (email,),
    "LICENCE_PLATE": (plate,),
    "IP_ADDRESS": (ipv4, ipv6),
    "MAC_ADDRESS": (mac,),
    "CRYPTO_WALLET": (bitcoin, ethereum),
    "US_SSN": (ssn,),
    "PHONE_NUMBER": (north_american, abroad),
    "PASSPORT_NUMBER": (passport,),
    "TRAVEL_PERMIT": (permit,),
    "ACCOUNT_NUMBER": (account,),
    "SECRET": (api_key, jwt),
    "DATE_OF_BIRTH": (birth,),
}
