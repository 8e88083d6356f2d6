"""Writes docs/alerts.md and its Chinese twin: `python -m services.monitor.definition.document`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml

from services.monitor.definition.loading import shipped
from services.monitor.definition.quantities import span
from services.monitor.definition.rules import LANGUAGES, Condition, Definition, Rule, Severity

DOCS = Path(__file__).parents[3] / "docs"
NAMES = {"en": "alerts.md", "zh": "alerts.zh.md"}
MIB = 1024 * 1024

WORDS: dict[str, dict[str, str]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def document(definition: Definition, language: str) -> str:
    """The whole page in one language."""
    words = WORDS[language]
    rules = sorted(definition.rules, key=lambda rule: (list(Severity).index(rule.severity), rule.id))
    table = [_row(rule, language) for rule in rules]
    figures = [
        f"| `{figure.id}` | {figure.unit} | {', '.join(figure.quantity.by)} | {figure.title.of(language)} |"
        for figure in definition.figures
    ]
    lines = [words["title"], "", words["intro"], words["columns"], "|---|---|---|---|---|", *table, ""]
    lines += [line for rule in rules for line in _section(rule, language)]
    return "\n".join([*lines, words["figures"], words["figure_columns"], "|---|---|---|---|", *figures, ""])


def threshold(condition: Condition, unit: str) -> str:
    """The bound as people write it."""
    value = condition.threshold
    if unit == "ratio":
        return f"{condition.sign} {value * 100:g} %"
    if unit == "bytes":
        return f"{condition.sign} {value / MIB:g} MiB"
    return f"{condition.sign} {span(value) if unit == 'seconds' else f'{value:g}'}"


def _row(rule: Rule, language: str) -> str:
    held = span(rule.for_seconds) if rule.for_seconds else WORDS[language]["at_once"]
    bound = threshold(rule.condition, rule.unit)
    severity = WORDS[language][rule.severity]
    return f"| [`{rule.id}`](#{rule.id}) | {severity} | {bound} | {held} | {rule.title.of(language)} |"


def _section(rule: Rule, language: str) -> Iterable[str]:
    words = WORDS[language]
    times = [words["held"].format(span(rule.for_seconds)) if rule.for_seconds else words["at_once"]]
    times += [words["kept"].format(span(rule.keep_seconds))] if rule.keep_seconds else []
    yield from (f"## {rule.id}", "", f"**{rule.title.of(language)}** ({WORDS[language][rule.severity]})", "")
    yield f"- {words['when']} ({'; '.join(times)}): `{rule.condition.promql}`"
    for gate in rule.gates:
        yield f"- {words['gate']}: `{gate.promql}`"
    if rule.gated_because:
        yield f"- {words['because']}: {rule.gated_because.of(language)}"
    if rule.by:
        yield f"- {words['places']}: {', '.join(rule.by)}"
    if rule.covers:
        yield f"- {words['covers']}: [`{rule.covers}`](#{rule.covers})"
    yield f"- {words['means']}: {rule.diagnosis.of(language)}"
    yield from (f"- {words['remedy']}: {rule.remedy.of(language)}", "")


def main() -> None:
    for language in LANGUAGES:
        (DOCS / NAMES[language]).write_text(document(shipped(), language), encoding="utf-8")


if __name__ == "__main__":
    main()
