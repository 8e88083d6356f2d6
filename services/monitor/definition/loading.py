"""Reads the definition's YAML files; what is wrong in them is named by file, rule and field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from services.monitor.definition import quantities as q
from services.monitor.definition.rules import LANGUAGES, Condition, Definition, Figure, Rule, Severity, Text
from services.monitor.definition.selection import Selection

FOLDER = Path(__file__).parent
UNITS = ("", "seconds", "ratio", "bytes", "tokens")
SECONDS = {"s": 1, "m": 60, "h": 3600}
Document = Mapping[str, Any]


class InvalidDefinition(ValueError):
    """Names the file, the rule and the field, and what may stand there."""


@cache
def shipped() -> Definition:
    """The definition that this version ships."""
    return load_definition(FOLDER)


def load_definition(folder: Path) -> Definition:
    """Everything in `rules/*.yaml` and `figures.yaml`."""
    rules = [_read(path, entry, _rule) for path in sorted(folder.glob("rules/*.yaml")) for entry in _entries(path)]
    path = folder / "figures.yaml"
    figures = [_read(path, entry, _figure) for entry in _entries(path)]
    for named in (rules, figures):
        ids = [each.id for each in named]
        if twice := {id for id in ids if ids.count(id) > 1}:
            raise InvalidDefinition(f"id: {', '.join(sorted(twice))} is given twice: ids are unique")
    if unknown := {rule.covers for rule in rules} - {rule.id for rule in rules} - {""}:
        raise InvalidDefinition(f"covers: {', '.join(sorted(unknown))} is no rule's id")
    return Definition(rules=tuple(rules), figures=tuple(figures))


def _entries(path: Path) -> Sequence[Document]:
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidDefinition(f"{path.name}: must be a list of mappings")
    return entries


def _read(path: Path, entry: Document, parse: Callable[[Fields], Any]) -> Any:
    try:
        return parse(Fields(entry))
    except InvalidDefinition as wrong:
        raise InvalidDefinition(f"{path.name}: {entry.get('id', 'an entry without id')}: {wrong}") from None


class Fields:
    """A mapping that is taken apart field by field; `done` refuses what nobody asked for."""

    def __init__(self, document: Document) -> None:
        self._left = dict(document)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, kind: type[Any] | tuple[type[Any], ...], default: Any = None) -> Any:
        value = self._left.pop(name, default)
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = kind if isinstance(kind, tuple) else (kind,)
            raise InvalidDefinition(f"{name}: must be {' or '.join(each.__name__ for each in wanted)}")
        return value

    def word(self, name: str, words: Sequence[str], default: str | None = None) -> str:
        value: str = self.take(name, str, default)
        if value not in words:
            raise InvalidDefinition(f"{name}: must be one of {', '.join(map(repr, words))}")
        return value

    def seconds(self, name: str, default: str | None = None) -> float:
        text: str = self.take(name, str, default)
        number, unit = text[:-1], text[-1:]
        if unit not in SECONDS or not number.isdecimal():
            raise InvalidDefinition(f"{name}: must be a whole number of s, m or h, such as 90s")
        return float(int(number) * SECONDS[unit])

    def names(self, name: str) -> tuple[str, ...]:
        values = self.take(name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise InvalidDefinition(f"{name}: must be a list of names")
        return tuple(values)

    def text(self, name: str) -> Text:
        value = self.take(name, dict)
        if set(value) != set(LANGUAGES) or not all(isinstance(said, str) and said.strip() for said in value.values()):
            raise InvalidDefinition(f"{name}: must say something in each of {', '.join(LANGUAGES)}")
        return Text(*(" ".join(value[language].split()) for language in LANGUAGES))

    def where(self, name: str = "where") -> tuple[tuple[str, tuple[str, ...]], ...]:
        """One value or several for each label."""
        given = self.take(name, dict, {})
        listed = {label: value if isinstance(value, list) else [value] for label, value in given.items()}
        if not all(values and all(isinstance(value, str) for value in values) for values in listed.values()):
            raise InvalidDefinition(f"{name}: gives each label one word or a list of words")
        return tuple((label, tuple(values)) for label, values in listed.items())

    def done(self) -> None:
        if self._left:
            raise InvalidDefinition(f"{', '.join(sorted(self._left))}: is not known here")


def _rule(fields: Fields) -> Rule:
    gates = tuple(_condition(Fields(gate)) for gate in fields.take("while", list, []))
    rule = Rule(
        id=fields.take("id", str),
        severity=Severity(fields.word("severity", [*Severity])),
        condition=_condition(fields, whole=False),
        gates=gates,
        for_seconds=fields.seconds("for", "0s"),
        keep_seconds=fields.seconds("keep", "0s"),
        unit=fields.word("unit", UNITS, ""),
        covers=fields.take("covers", str, ""),
        title=fields.text("title"),
        diagnosis=fields.text("diagnosis"),
        remedy=fields.text("remedy"),
        gated_because=fields.text("gated_because") if gates or "gated_because" in fields else None,
    )
    fields.done()
    for gate in gates:
        if strange := set(gate.quantity.by) - set(rule.by):
            raise InvalidDefinition(f"while: by {', '.join(sorted(strange))} is not among the rule's own labels")
    return rule


def _figure(fields: Fields) -> Figure:
    figure = Figure(
        id=fields.take("id", str),
        group=fields.take("group", str),
        quantity=_quantity(Fields(fields.take("value", dict))),
        unit=fields.word("unit", UNITS, ""),
        title=fields.text("title"),
    )
    fields.done()
    return figure


def _condition(fields: Fields, whole: bool = True) -> Condition:
    quantity = _quantity(Fields(fields.take("value", dict)))
    below = "below" in fields
    threshold = float(fields.take("below" if below else "above", (int, float)))
    if whole:
        fields.done()
    return Condition(quantity, threshold, below)


def _quantity(fields: Fields) -> q.Quantity:
    form = next((form for form in _FORMS if form in fields), None)
    if form is None:
        raise InvalidDefinition(f"value: must be one of the forms {', '.join(_FORMS)}")
    quantity = _FORMS[form](fields)
    fields.done()
    return quantity


def _gauge(fields: Fields) -> q.Quantity:
    return q.Gauge(
        of=Selection(fields.take("gauge", str), fields.where()),
        combine=fields.word("combine", tuple(q.COMBINATIONS), "max"),
        by=fields.names("by"),
        window_seconds=fields.seconds("mean_over", "0s"),
    )


def _pair(form: str) -> Callable[[Fields], q.Quantity]:
    def pair(fields: Fields) -> q.Quantity:
        left, right = _two(fields, form)
        return q.GaugePair(left=left, right=right, divide=form == "gauge_ratio", by=fields.names("by"))

    return pair


def _increase(form: str) -> Callable[[Fields], q.Quantity]:
    def rise(fields: Fields) -> q.Quantity:
        of = Selection(fields.take(form, str), fields.where())
        window, by = fields.seconds("window"), fields.names("by")
        return q.Increase(of=of, window_seconds=window, by=by, a_second=form == "rate")

    return rise


def _ratio(fields: Fields) -> q.Quantity:
    part, whole = _two(fields, "ratio")
    return q.Ratio(part=part, whole=whole, window_seconds=fields.seconds("window"), by=fields.names("by"))


def _quantile(fields: Fields) -> q.Quantity:
    of = Selection(fields.take("of", str), fields.where())
    share, window, by = fields.take("quantile", float), fields.seconds("window"), fields.names("by")
    if not 0 < share < 1:
        raise InvalidDefinition("quantile: must be above 0 and below 1")
    return q.Quantile(q=share, of=of, window_seconds=window, by=by)


def _changes(fields: Fields) -> q.Quantity:
    of = Selection(fields.take("changes", str), fields.where())
    return q.Changes(of=of, window_seconds=fields.seconds("window"), by=fields.names("by"))


def _two(fields: Fields, form: str) -> tuple[Selection, Selection]:
    """`where` narrows the first, `of_where` the second."""
    names = fields.names(form)
    if len(names) != 2:
        raise InvalidDefinition(f"{form}: must be a list of two names")
    return Selection(names[0], fields.where()), Selection(names[1], fields.where("of_where"))


_FORMS: Mapping[str, Callable[[Fields], q.Quantity]] = {
    "gauge": _gauge,
    "gauge_ratio": _pair("gauge_ratio"),
    "gauge_difference": _pair("gauge_difference"),
    "age": lambda fields: q.Age(of=Selection(fields.take("age", str), fields.where()), by=fields.names("by")),
    "rate": _increase("rate"),
    "increase": _increase("increase"),
    "ratio": _ratio,
    "quantile": _quantile,
    "changes": _changes,
    "absent": lambda fields: q.Absent(of=Selection(fields.take("absent", str), fields.where())),
}
