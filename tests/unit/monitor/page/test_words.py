"""Every word is there in both languages, and every word that is there is said."""

import re
import string
from pathlib import Path

import pytest

from services.monitor.page.language import LANGUAGES
from services.monitor.page.mood import Mood
from services.monitor.page.panels import PANELS
from services.monitor.page.words import Words, all_words
from services.monitor.scraping.exposition import Problem

FOLDER = Path(__file__).parents[4] / "services" / "monitor" / "page"
# Keys that are put together: by an end, a verdict, a class, a severity, a mode or a problem that came from elsewhere.
PUT_TOGETHER = re.compile(r"(end|problem)_\w+|allow|flag|refuse|withhold|critical|warning|notice|ok|\w+_means")


def places(text):
    return {name for part in text.split("|") for _, name, _, _ in string.Formatter().parse(part) if name}


def said():
    """Keys that templates and code name."""
    templates = [path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.html")]
    code = [path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py")]
    by_templates = {key for text in templates for key in re.findall(r'\bt\("(\w+)"', text)}
    by_templates |= {key for text in templates for key in re.findall(r"\bt\('(\w+)'", text)}
    by_code = {key for text in code for key in re.findall(r'"(\w+)"', text)}
    return by_templates, by_code


@pytest.mark.parametrize("key", sorted(all_words()))
def test_a_word_is_there_in_both_languages_with_the_same_places_to_fill(key):
    texts = all_words()[key]
    assert set(texts) == set(LANGUAGES)
    assert all(isinstance(text, str) and text.strip() for text in texts.values())
    assert places(texts["en"]) == places(texts["zh"])
    assert "|" not in texts["en"] or "n" in places(texts["en"])


def test_every_key_that_a_template_names_is_there_and_none_is_left_over():
    by_templates, by_code = said()
    assert by_templates - set(all_words()) == set()
    left = {key for key in set(all_words()) - by_templates - by_code if not PUT_TOGETHER.fullmatch(key)}
    assert left == set()


def test_every_panel_and_line_has_its_word():
    for panel in PANELS:
        assert panel.id in all_words()
        assert all(line.word in all_words() for line in panel.lines)
    assert all(word in all_words() for word in (Mood("ok", "all_well").word, "monitor_hangs_means"))


def test_every_way_in_which_a_scrape_fails_has_its_word():
    assert {f"problem_{problem}" for problem in Problem} <= set(all_words())


def test_one_and_several_differ_where_a_language_tells_them_apart():
    assert (Words("en")("alerts_firing", n=1), Words("en")("alerts_firing", n=2)) == ("1 alert", "2 alerts")
    assert Words("zh")("alerts_firing", n=2) == "2 条告警"


def test_a_language_that_we_do_not_speak_is_refused():
    with pytest.raises(ValueError, match="fr"):
        Words("fr")
