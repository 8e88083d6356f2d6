"""Invents what is taken for a person and is none: firms, products, methods called after somebody, ordinary prose."""

import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from services.guard.training.invention import Filler, anything, invented, shared, town_name, western_name, words


@cache
def listed(folder: Path, kind: str) -> tuple[str, ...]:
    """The words of one kind that stand beside names."""
    lines = (folder / "western_words.txt").read_text(encoding="utf-8").splitlines()
    return next(tuple(line.partition(":")[2].split()) for line in lines if line.startswith(f"{kind}:"))


@cache
def known(folder: Path, chinese: bool) -> tuple[str, ...]:
    """Firms and markets that there are, in Latin letters and in Chinese characters."""
    lines = (folder / "firms.txt").read_text(encoding="utf-8").splitlines()
    names = [name for line in lines if not line.startswith("#") for name in line.split(";")]
    return tuple(name for name in names if (name[0] >= "\u4e00") == chinese)


@cache
def like_persons(folder: Path) -> tuple[str, ...]:
    """Firms, methods and laws called like somebody who would hardly be a customer: none that many people are called."""
    lines = (folder / "like_persons.txt").read_text(encoding="utf-8").splitlines()
    return tuple(name for line in lines if not line.startswith("#") for name in line.split(";"))


@cache
def _terms(folder: Path) -> tuple[str, ...]:
    """Ordinary words that nobody is called by."""
    names = {name.lower() for kind in ("given", "surnames") for name in words(folder / f"western_{kind}.txt")}
    return tuple(word for word in words(folder / "business_words.txt") if word not in names)


def root(folder: Path, chance: random.Random) -> str:
    """What a firm is called: an ordinary word, an invention, a founder, a place, two words."""
    pick = chance.random()
    if pick < 0.25:
        return chance.choice(words(folder / "ordinary_words.txt")).capitalize()
    if pick < 0.6:
        return invented(chance)
    if pick < 0.7:
        return chance.choice(words(folder / "western_surnames.txt"))
    if pick < 0.8:
        return town_name(folder, chance)
    first = invented(chance) if pick < 0.9 else chance.choice(words(folder / "ordinary_words.txt")).capitalize()
    return f"{first} {anything(chance, 'root_endings')}"


def trade(folder: Path, chance: random.Random) -> str:
    return chance.choice(listed(folder, "company")).capitalize()


def western_firm(folder: Path, chance: random.Random) -> str:
    """The trade or the legal form says that it is a firm, or both do."""
    name, pick = root(folder, chance), chance.random()
    if pick < 0.06:
        return f"{name} & {root(folder, chance)}"
    if chance.random() < 0.1:  # somebody's given name, which only what follows makes a firm's
        name = chance.choice(words(folder / "western_given.txt"))
    if pick < 0.2:
        return f"{name} {anything(chance, 'firm_forms')}"
    second = f" {trade(folder, chance)}" if pick < 0.3 else ""
    form = f" {anything(chance, 'firm_forms')}" if pick > 0.85 else ""
    return f"{name} {trade(folder, chance)}{second}{form}"


def product(folder: Path, chance: random.Random) -> str:
    if chance.random() < 0.4:
        return chance.choice(listed(folder, "brand")).capitalize()
    return root(folder, chance).partition(" ")[0]


def _version(chance: random.Random) -> str:
    numbers = [str(chance.randint(0, 21)) for _ in range(chance.choice((1, 2, 2, 3)))]
    return chance.choice(("", "", "v")) + ".".join(numbers)


def method(folder: Path, chance: random.Random) -> str:
    """An act, a model or a ratio, called after one or two people."""
    names = [chance.choice((invented(chance), chance.choice(words(folder / "western_surnames.txt")))) for _ in "12"]
    called = chance.choice((names[0], names[0], " ".join(names), "-".join(names)))
    kind = chance.choice(listed(folder, "method"))
    return f"{called} {kind.capitalize() if chance.random() < 0.5 else kind}"


def _quarter(chance: random.Random) -> str:
    part, year = chance.choice(("Q1", "Q2", "Q3", "Q4", "H1", "H2")), chance.randint(2015, 2026)
    return chance.choice((f"{part} {year}", f"{year}{part}", f"{year} {part}", f"FY{year}", f"{part[1]}{part[0]}25"))


def _of(chance: random.Random, kind: str, size: int) -> str:
    return "".join(chance.choices(anything(chance, kind), k=size))


def _hash(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(160):040x}"
    if chance.random() < 0.5:
        return digits[: chance.choice((8, 12, 32, 40))]
    joined = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))
    return joined.upper() if chance.random() < 0.2 else joined


def chinese_root(chance: random.Random) -> str:
    return _of(chance, "firm_characters", 2)


def chinese_firm(folder: Path, chance: random.Random) -> str:
    name, pick = chinese_root(chance), chance.random()
    place = chance.choice(words(folder / "chinese_divisions.txt")) if pick < 0.15 else ""
    trade = anything(chance, "chinese_sectors")
    return place + name + trade + (anything(chance, "chinese_forms") if chance.random() < 0.3 else "")


def western(folder: Path) -> Mapping[str, Filler]:
    return shared(folder) | {
        "FIRM": lambda chance: western_firm(folder, chance),
        "ROOT": lambda chance: root(folder, chance),
        "KNOWN": lambda chance: chance.choice(known(folder, chinese=False)),
        "VB": lambda chance: anything(chance, "predicates"),
        "PROD": lambda chance: product(folder, chance),
        "VER": _version,
        "METHOD": lambda chance: method(folder, chance),
        "SEC": lambda chance: trade(folder, chance),
        "t": lambda chance: chance.choice(_terms(folder)),
        "G2": lambda chance: chance.choice(words(folder / "general_words.txt")).capitalize(),
        "GN": lambda chance: chance.choice(words(folder / "western_given.txt")),
        "FN": lambda chance: western_name(folder, chance),
        "BOTH": lambda chance: chance.choice(listed(folder, "both")).capitalize(),
        "TOWN": lambda chance: town_name(folder, chance),
        "T": lambda chance: chance.choice(_terms(folder)).capitalize(),
        "Q": _quarter,
        "HASH": _hash,
        "PCT": lambda chance: f"{chance.randint(1, 99)}{chance.choice(('%', '.5%', ' percent'))}",
    }


def chinese(folder: Path) -> Mapping[str, Filler]:
    return shared(folder) | {
        "FIRM": lambda chance: chinese_firm(folder, chance),
        "ROOT": chinese_root,
        "SEC": lambda chance: anything(chance, "chinese_sectors"),
        "KN": lambda chance: chance.choice(known(folder, chinese=True)),
        "HASH": _hash,
        "TR": lambda chance: _of(chance, "transliteration_characters", chance.randint(2, 4)),
        "MT": lambda chance: anything(chance, "chinese_methods"),
        "W": lambda chance: chance.choice(words(folder / "chinese_words.txt")),
    }
