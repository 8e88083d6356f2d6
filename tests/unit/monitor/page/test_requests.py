"""The recent requests, and one of them as a waterfall."""

import pytest

from services.monitor.page.visit import Visit
from services.monitor.status.snapshot import Status

HOSTILE = "\"'></b><script>alert(1)</script>&amp;"
IDLE = Status(time=1_790_000_000.0, interval_seconds=2)
TRACE = "7".rjust(32, "0")


@pytest.fixture
def site(make_site):
    return make_site(IDLE)


def arrive(store, make_span):
    for span in (
        make_span("root", ms=842, label="strongroom.gateway.v1.GatewayService/StreamGenerate", request="r-1"),
        make_span("decode", "root", at=96, ms=700, service="inference", pid=77, attributes={"tokens": "41"}),
        make_span("release", "root", at=800, ms=6, status="ERROR"),
    ):
        store.add(span)


def test_a_trace_shows_service_process_time_and_attributes(site, store, make_span, outline, english):
    arrive(store, make_span)
    page = outline(site.trace("r-1", english))
    for said in ("GatewayService/StreamGenerate", "r-1", "842 ms", "inference 77", "tokens", "error", "complete"):
        assert said in page.text, said
    bars = [attributes["style"] for attributes in page.all("i")]
    assert bars[1] == "left:11.401%;width:83.135%"
    assert "3 from 2 processes, complete" in page.text


def test_the_list_names_each_trace_and_links_it_in_the_chosen_language(site, store, make_span, outline, chinese):
    arrive(store, make_span)
    for html in (site.traces(chinese), site.overview(chinese)):
        page = outline(html)
        assert f"/traces/{TRACE}?lang=zh" in [attributes["href"] for attributes in page.all("a")]
        assert "请求 r-1" in page.text


def test_what_is_no_request_is_on_the_longer_list_only(site, store, make_span, outline, english):
    store.add(make_span("look", label="strongroom.gateway.v1.GatewayService/ListModels"))
    assert "ListModels" not in outline(site.overview(english)).text
    assert "ListModels" in outline(site.traces(english)).text


def test_a_request_that_goes_on_is_not_named_after_a_part_of_it(site, store, make_span, outline, english):
    """Fails if the first span that arrived is taken for the root: a gateway reports its own at the end."""
    store.add(make_span("screen", "root", request="r-1", service="guard"))
    listed = outline(site.traces(english)).text
    assert "in progress" in listed and "screen" not in listed


def test_what_made_room_is_counted(site, store, outline, english, make_span):
    arrive(store, make_span)
    store.evicted = 1_234
    assert "1 newest of 1 kept, 1,234 made room" in outline(site.traces(english)).text


@pytest.mark.parametrize(("language", "question"), [("en", "What is a ledger?"), ("zh", "什么是总账？")])
def test_without_traces_the_page_says_how_to_get_one(language, question, site, outline):
    assert f'strongroom ask "{question}"' in outline(site.traces(Visit("/traces", language))).text


def test_a_trace_that_is_not_kept_is_no_page(site, english):
    assert site.trace("none", english) is None


def test_nothing_that_was_reported_becomes_markup(site, store, make_span, outline, english):
    store.add(
        make_span(
            "root", label=HOSTILE, service=HOSTILE, request=HOSTILE, parent=HOSTILE, attributes={HOSTILE: HOSTILE}
        )
    )
    for html, scripts in ((site.trace(TRACE, english), 0), (site.traces(english), 2), (site.overview(english), 2)):
        page = outline(html)
        assert len(page.all("script")) == scripts
        assert HOSTILE not in html
        assert "<script>alert(1)</script>" in "".join(page.pieces)
