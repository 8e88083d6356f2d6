"""Which language a page is in, and that links keep it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.page.language import LANGUAGES, language
from services.monitor.page.visit import Visit


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-Hant-TW", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.2, zh;q=0.7", "zh"),
        ("fr, de;q=0.9, zh;q=0.1", "zh"),
        ("fr-FR, de", "en"),
        ("zh;q=0, fr", "en"),
        ("*", "en"),
        ("ZH-cn", "zh"),
        ("en,zh", "en"),
    ],
)
def test_the_browsers_preference_decides(accepted, chosen):
    assert language("", accepted) == chosen


def test_what_the_address_asks_for_comes_first():
    assert language("en", "zh-CN") == "en"
    assert language("zh", "en") == "zh"
    assert language("klingon", "zh") == "zh"


@given(st.text(), st.text(alphabet="enzh-;,q=0.19 *infa", max_size=60))
def test_whatever_is_sent_it_is_a_language_that_we_speak(asked, accepted):
    assert language(asked, accepted) in LANGUAGES


def test_links_carry_a_language_that_was_chosen_and_nothing_else():
    by_preference, by_choice = Visit.of("/traces", "", "zh-CN"), Visit.of("/traces", "zh", "en")
    assert by_preference.link("/traces/7") == "/traces/7"
    assert by_choice.link("/traces/7") == "/traces/7?lang=zh"
    assert by_choice.link("/live", page="traces") == "/live?page=traces&lang=zh"
    assert by_preference.here("en") == "/traces?lang=en"


@given(st.text(max_size=40))
def test_a_path_from_outside_leads_nowhere_else(path):
    here = Visit.of(path, "", "").here("zh")
    assert here.startswith("/") and not here.startswith("//") and here.endswith("?lang=zh")
    assert set(here) & set(" \"'<>#\\") == set() and here.count("?") == 1
