"""docs/alerts.md and its Chinese twin are what the definition says, no more and no less."""

from __future__ import annotations

import re

import pytest

from services.monitor.definition.document import DOCS, NAMES, document, threshold
from services.monitor.definition.loading import shipped
from services.monitor.definition.quantities import Gauge
from services.monitor.definition.rules import LANGUAGES, Condition
from services.monitor.definition.selection import Selection


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_document_is_what_the_definition_says(language):
    written = (DOCS / NAMES[language]).read_text(encoding="utf-8")
    assert written == document(shipped(), language), "run `make monitoring`"


def test_both_languages_have_the_same_sections_rows_and_queries():
    english, chinese = (document(shipped(), language) for language in LANGUAGES)
    for pattern in (r"^## ([a-z_]+)$", r"^\| \[`(\w+)`\]", r"^\| `(\w+)` \|", r"`(\([^`]+)`"):
        assert re.findall(pattern, english, re.MULTILINE) == re.findall(pattern, chinese, re.MULTILINE)


@pytest.mark.parametrize(
    ("value", "below", "unit", "wanted"),
    [
        (0.95, False, "ratio", "> 95 %"),
        (536870912, True, "bytes", "< 512 MiB"),
        (90, False, "seconds", "> 90s"),
        (0.5, False, "seconds", "> 0.5s"),
        (256, False, "", "> 256"),
    ],
)
def test_a_threshold_reads_as_people_write_it(value, below, unit, wanted):
    assert threshold(Condition(Gauge(of=Selection("up")), value, below), unit) == wanted
