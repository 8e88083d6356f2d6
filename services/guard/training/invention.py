"""Invents names, addresses and what stands beside them, from word lists of our own."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

Filler = Callable[[random.Random], str]


@cache
def words(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(word for line in lines if not line.startswith("#") for word in line.replace(";", " ").split())


@cache
def pieces(kind: str) -> tuple[str, ...]:
    lines = (Path(__file__).parent / "words" / "inventions.txt").read_text(encoding="utf-8").splitlines()
    return next(tuple(line.partition("=")[2].split("|")) for line in lines if line.startswith(f"{kind}="))


def anything(chance: random.Random, kind: str) -> str:
    return chance.choice(pieces(kind))


@cache
def surnames(folder: Path) -> tuple[str, ...]:
    """Single characters first, as they are listed, then the compound ones."""
    listed = words(folder / "chinese_surnames.txt")
    single = dict.fromkeys("".join(word for word in listed if len(word) > 2))
    return (*single, *(word for word in listed if len(word) == 2))


@cache
def given(folder: Path) -> str:
    return "".join(dict.fromkeys("".join(words(folder / "chinese_given.txt"))))


def _early(chance: random.Random, items: Sequence[str]) -> str:
    """An item; those listed first are the usual ones."""
    return items[int(len(items) * chance.random() ** 2)]


def chinese_name(folder: Path, chance: random.Random) -> str:
    listed = surnames(folder)
    compound = [name for name in listed if len(name) > 1]
    single = listed[: len(listed) - len(compound)]
    surname = chance.choice(compound) if chance.random() < 0.03 else single[int(len(single) * chance.random() ** 2.5)]
    count = 1 if chance.random() < 0.28 else 2
    return surname + "".join(_early(chance, given(folder)) for _ in range(count))


def chinese_address(folder: Path, chance: random.Random) -> str:
    places = words(folder / "chinese_divisions.txt")
    municipal, provinces, cities = places[:4], places[4:34], places[34:]
    pick = chance.random
    parts = []
    if pick() < 0.8:
        if pick() < 0.3:
            parts.append(chance.choice(municipal) + ("市" if pick() < 0.8 else ""))
        else:
            parts.append(chance.choice(provinces) + "省" if pick() < 0.5 else "")
            parts.append(chance.choice(cities) + ("市" if pick() < 0.9 else ""))
        parts.append(anything(chance, "districts") + ("区" if pick() < 0.85 else "县"))
    if pick() < 0.15:
        parts.append(anything(chance, "estates") + chance.choice(("镇", "街道", "村", "乡")))
    if pick() < 0.85:
        ending = chance.choice(("路", "路", "路", "街", "大道", "巷", "大街", "东路", "西路", "北街", "弄"))
        parts.append(anything(chance, "roads") + ending + f"{chance.randint(1, 1999)}号")
    if pick() < 0.4:
        parts.append(anything(chance, "estates") + anything(chance, "estate_endings"))
    parts.append(_chinese_unit(chance) if len(parts) < 3 or pick() < 0.6 else "")
    return "".join(parts)


def _chinese_unit(chance: random.Random) -> str:
    number = chance.randint
    return chance.choice(
        (
            f"{number(1, 40)}栋{number(1, 4)}单元{number(101, 3302)}室",
            f"{number(1, 40)}号楼{number(101, 2802)}室",
            f"{number(1, 40)}幢{number(101, 2802)}",
            f"{chance.choice('ABCDEF')}座{number(2, 40)}层",
            f"{number(2, 40)}楼",
            f"{number(101, 2802)}室",
            f"{number(1, 40)}栋{number(101, 2802)}房",
        )
    )


def invented(chance: random.Random) -> str:
    middle = chance.choice(("", "", "a", "o", "e", "li", "ma", "ti", "ra", "no", "de", "vi"))
    return anything(chance, "name_starts") + middle + anything(chance, "name_endings")


def _surname(folder: Path, chance: random.Random) -> str:
    if chance.random() < 0.5:
        return invented(chance)
    return chance.choice(words(folder / "western_surnames.txt")).replace("de", "De")


def western_name(folder: Path, chance: random.Random) -> str:
    listed = words(folder / "western_given.txt")
    first = invented(chance) if chance.random() < 0.4 else chance.choice(listed)
    kind = chance.random()
    if kind < 0.1:
        return first
    if kind < 0.16:
        return _surname(folder, chance)
    initial = chance.choice("ABCDEFGHJKLMNPRSTVWZ")
    middle = f" {initial}." if kind < 0.25 else f" {initial}" if kind < 0.34 else ""
    particle = chance.choice((" van", " de", " van der", " von", " De", " Van")) if kind > 0.97 else ""
    return f"{first}{middle}{particle} {_surname(folder, chance)}"


def _street(folder: Path, chance: random.Random) -> str:
    pick = chance.random()
    if pick < 0.4:
        second = " " + anything(chance, "streets") if chance.random() < 0.15 else ""
        return f"{anything(chance, 'streets')}{second} {anything(chance, 'street_endings')}"
    root = invented(chance)
    if pick < 0.55:
        return f"{root} {anything(chance, 'street_endings')}"
    if pick < 0.75:
        return root + anything(chance, "street_endings_glued")
    if pick < 0.88:
        return f"{anything(chance, 'street_words_before')} {root}"
    return f"{root} {anything(chance, 'street_words_after')}"


def town_name(folder: Path, chance: random.Random) -> str:
    pick = chance.random()
    if pick < 0.4:
        name = chance.choice(words(folder / "places.txt"))
    else:
        name = invented(chance) + (anything(chance, "town_endings") if pick < 0.55 else "")
    name = (
        chance.choice(("St ", "San ", "New ", "Upper ", "Bad ", "West ", "Santa ", "Los ")) + name
        if chance.random() < 0.08
        else name
    )
    return name.upper() if chance.random() < 0.2 else name


def western_address(folder: Path, chance: random.Random) -> str:
    pick = chance.random()
    if pick > 0.97:
        corner = f"the corner of {_street(folder, chance)} {chance.randint(1, 200)} and {_street(folder, chance)}"
        return corner.replace(f" {chance.randint(1, 200)}", "")
    number = chance.randint(1, chance.choice((99, 999, 9999, 99999)))
    if pick < 0.06:
        return _military(chance)
    if pick < 0.12:
        head = f"P.O. Box {number}"
    elif pick < 0.62:
        head = f"{number} {_street(folder, chance)}"
    elif pick < 0.8:
        head = f"{_street(folder, chance)} {chance.randint(1, 300)}"
    else:
        head = f"{number} {_street(folder, chance)} {chance.randint(1, 300)}"
    gap = chance.choice((", ", ", ", ", ", "\n", "\n ", " ", ",\n"))
    parts = [head]
    if chance.random() < 0.45:
        word = chance.choice(("Apt", "Apt.", "Suite", "Flat", "Unit", "Apartment", "#", "Floor"))
        parts.append(f"{word} {chance.randint(1, 999)}")
    parts += _town(folder, chance)
    text = parts[0]
    for part in parts[1:]:
        text += (gap if chance.random() < 0.85 else " ") + part
    return text.lower() if chance.random() < 0.03 else text


def _military(chance: random.Random) -> str:
    post = f"{chance.choice(('APO', 'FPO', 'DPO'))} {chance.choice(('AA', 'AE', 'AP'))} {chance.randint(10000, 99999)}"
    first = chance.choice(("PSC {}, Box {}", "Unit {} Box {}", "CMR {}, Box {}")).format(
        chance.randint(1, 9999), chance.randint(1, 9999)
    )
    return first + chance.choice(("\n", ", ")) + post


def _town(folder: Path, chance: random.Random) -> list[str]:
    places = words(folder / "places.txt")
    city = town_name(folder, chance)
    code = f"{chance.randint(0, 99999):05d}"
    state = "".join(chance.choice("ABCDEFGHIKLMNOPRSTUVWY") for _ in range(2))
    postcode = f"{state[0]}{chance.randint(1, 20)} {chance.randint(1, 9)}{state}"
    country = chance.choice(pieces("countries") if chance.random() < 0.4 else places)
    return chance.choice(
        (
            [city, f"{state} {code}"],
            [city, state, code],
            [f"{city} {state} {code}"],
            [f"{code} {city}"],
            [f"{code} {city}", country],
            [city, f"{country} {code}"],
            [city, country],
            [city],
            [f"{city} {postcode}"],
            [city, postcode],
            [city, f"{state} {code}", country],
        )
    )


def _digits(chance: random.Random, size: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(size))


def _telephone(chance: random.Random) -> str:
    return chance.choice(
        (
            "1" + chance.choice("3578") + _digits(chance, 9),
            f"1{chance.choice('3578')}{_digits(chance, 1)}-{_digits(chance, 4)}-{_digits(chance, 4)}",
            f"0{_digits(chance, 2)}-{_digits(chance, 8)}",
            f"({_digits(chance, 3)}) {_digits(chance, 3)}-{_digits(chance, 4)}",
            f"+44 {_digits(chance, 4)} {_digits(chance, 6)}",
            f"{_digits(chance, 3)}.{_digits(chance, 3)}.{_digits(chance, 4)}",
            f"0{_digits(chance, 3)} {_digits(chance, 3)} {_digits(chance, 2)} {_digits(chance, 2)}",
            f"{_digits(chance, 4)} {_digits(chance, 4)}",
            f"+{_digits(chance, 2)} (0){_digits(chance, 1)} {_digits(chance, 3)} {_digits(chance, 3)}",
            f"+1 {_digits(chance, 3)} {_digits(chance, 3)} {_digits(chance, 4)}",
        )
    )


def shared(folder: Path) -> dict[str, Filler]:
    mail = lambda chance: invented(chance).lower() + chance.choice(("@mail.example", "@corp.example"))
    return {
        "TEL": _telephone,
        "ID": lambda chance: _digits(chance, 18),
        "NUM": lambda chance: _digits(chance, chance.randint(5, 19)),
        "AMT": lambda chance: (
            f"{chance.randint(100, 9999999):,}" if chance.random() < 0.5 else str(chance.randint(10, 99999))
        ),
        "MAIL": mail,
        "SSN": lambda chance: chance.choice("- ").join((_digits(chance, 3), _digits(chance, 2), _digits(chance, 4))),
        "CARD": lambda chance: chance.choice(("", " ", "-")).join(_digits(chance, 4) for _ in range(4)),
        "IBAN": lambda chance: " ".join(
            [chance.choice(("GB", "DE", "FR", "NL")) + _digits(chance, 2)] + [_digits(chance, 4) for _ in range(3)]
        ),
        "CITY": lambda chance: chance.choice(words(folder / "places.txt")),
        "C": lambda chance: chinese_name(folder, chance),
        "F": lambda chance: western_name(folder, chance),
        "G": lambda chance: (
            invented(chance) if chance.random() < 0.4 else chance.choice(words(folder / "western_given.txt"))
        ),
    }


def chinese(folder: Path) -> Mapping[str, Filler]:
    date = lambda chance: f"{chance.randint(1960, 2026)}年{chance.randint(1, 12)}月{chance.randint(1, 28)}日"
    return shared(folder) | {
        "P": lambda chance: chinese_name(folder, chance),
        "A": lambda chance: chinese_address(folder, chance),
        "DATE": date,
        "BANK": lambda chance: anything(chance, "banks"),
        "ORG": lambda chance: anything(chance, "firms"),
    }


def western(folder: Path) -> Mapping[str, Filler]:
    return shared(folder) | {
        "P": lambda chance: western_name(folder, chance),
        "L": lambda chance: (
            chance.choice(words(folder / "western_given.txt")) + chance.choice(("", " " + _surname(folder, chance)))
        ).lower(),
        "A": lambda chance: western_address(folder, chance),
        "DATE": lambda chance: f"{chance.randint(1, 28)} {anything(chance, 'months')} {chance.randint(1960, 2026)}",
        "ORG": lambda chance: f"{invented(chance)} {anything(chance, 'company_endings')}",
        "NO": lambda chance: _digits(chance, chance.randint(2, 5)),
        "ST": lambda chance: _street(folder, chance) + (f" {chance.randint(1, 200)}" if chance.random() < 0.7 else ""),
        "UN": lambda chance: f"{chance.choice(('Apt.', 'Suite', 'Unit', 'Flat'))} {chance.randint(1, 999)}",
        "ZIP": lambda chance: _digits(chance, 5),
        "TOWN": lambda chance: town_name(folder, chance),
    }
