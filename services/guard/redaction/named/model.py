"""The weights and word lists behind the finders, read once from the file beside this module."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from services.guard.redaction.named import chinese_names, words
from services.guard.redaction.named.address_reader import AddressReader
from services.guard.redaction.named.chinese_addresses import Grammar, scan
from services.guard.redaction.named.chinese_names import NameReader
from services.guard.redaction.named.entity import Entity, without_overlap
from services.guard.redaction.named.tag_scores import Scores
from services.guard.redaction.named.western import Tagger

FILE = Path(__file__).with_name("weights.json")

Contents = dict[str, Any]


class Model:
    """What the finders need, ready for use. The margins say how much better than nothing a find must be."""

    def __init__(self, contents: Mapping[str, Any]) -> None:
        lists = contents["lexicon"]
        self.name_margin = contents["margins"]["chinese_names"]
        self.names = chinese_names.Lexicon(lists["surnames"], lists["given"], lists["words"], lists["endings"])
        self.name_weights = contents["chinese_names"]
        self.grammar = Grammar(lists["divisions"])
        self.western = words.Lexicon(lists["classes"], lists["common"], lists["firms"])
        self.western_scores = Scores(contents["western"], contents["margins"]["western"])


@cache
def load() -> Model:
    return Model(json.loads(FILE.read_text(encoding="utf-8")))


def find(model: Model, text: str, look_ahead: int | None = None) -> list[Entity]:
    """Names and addresses of a whole normalised text, in order. With a look-ahead, decided from left to right with so
    many characters, as in a text that arrives in pieces."""
    names = NameReader(model.names, model.name_weights, model.name_margin).read(text, 0, ended=True)[0]
    others: list[Entity] = []
    if model.western.worth_reading(text):
        tagger = Tagger(model.western, model.western_scores, look_ahead)
        others = tagger.read(text, 0, ended=True)[0]
    if look_ahead is None:
        addresses = scan(model.grammar, text)
    else:
        addresses = AddressReader(model.grammar).read(text, 0, ended=True)[0]
    return without_overlap([*names, *addresses, *others])
