"""Pages: readable, and nothing that a service reported becomes markup."""

from html.parser import HTMLParser

from services.monitor.markup import message_page, trace_list_page, trace_page
from services.monitor.traces.store import Trace

HOSTILE = "\"'><script>alert(1)</script>&amp;"


class Outline(HTMLParser):
    """Tags and text of a page; fails on a tag that is closed in the wrong order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def path(make_span):
    spans = [
        make_span("root", ms=842, label="strongroom.gateway.v1.GatewayService/StreamGenerate", request="r-1"),
        make_span("decode", "root", at=96, ms=700, service="inference", pid=77, attributes={"tokens": "41"}),
        make_span("release", "root", at=800, ms=6, status="ERROR"),
    ]
    return Trace("7".rjust(32, "0"), spans, complete=True)


def test_a_trace_shows_service_process_time_and_attributes(make_span):
    outline = Outline(trace_page(path(make_span)))
    for shown in ("GatewayService/StreamGenerate", "r-1", "842 ms", "inference 77", "tokens", "error", "complete"):
        assert shown in outline.text
    bars = [attributes["style"] for tag, attributes in outline.tags if tag == "i"]
    assert bars[1] == "left:11.401%;width:83.135%"


def test_the_list_names_each_trace_and_links_it(make_span):
    outline = Outline(trace_list_page([path(make_span)], kept=1, evicted=3))
    links = [attributes["href"] for tag, attributes in outline.tags if tag == "a"]
    assert f"/traces/{'7'.rjust(32, '0')}" in links
    assert "3 made room" in outline.text and "request r-1" in outline.text


def test_without_traces_the_page_says_how_to_get_one():
    assert 'strongroom ask "What is a ledger?"' in Outline(trace_list_page([], 0, 0)).text


def test_nothing_that_was_reported_becomes_markup(make_span):
    span = make_span(
        "root", label=HOSTILE, service=HOSTILE, request=HOSTILE, parent=HOSTILE, attributes={HOSTILE: HOSTILE}
    )
    trace = Trace(HOSTILE, [span], complete=False)
    for page in (trace_page(trace), trace_list_page([trace], 1, 0), message_page(HOSTILE, HOSTILE)):
        outline = Outline(page)
        assert "script" not in {tag for tag, _ in outline.tags}
        assert HOSTILE in outline.text
        allowed = ("class", "style", "title", "href", "colspan", "open")
        body = [(t, a) for t, a in outline.tags if t not in ("html", "meta", "link")]
        assert all(name in allowed for _, attributes in body for name in attributes)


def test_pages_load_nothing_from_elsewhere(make_span):
    for page in (trace_page(path(make_span)), trace_list_page([path(make_span)], 1, 0)):
        tags = Outline(page).tags
        assert {tag for tag, _ in tags}.isdisjoint({"img", "iframe", "object", "script"})
        assert [attributes["href"] for tag, attributes in tags if tag == "link"] == ["data:,"]
        assert "url(" not in page and "@import" not in page
