"""The overview in the states that people look at it for."""

from dataclasses import replace

import pytest

from services.monitor.alerts.alert import Alert, State
from services.monitor.definition.loading import shipped
from services.monitor.page.language import LANGUAGES
from services.monitor.page.mood import mood
from services.monitor.page.visit import Visit
from services.monitor.status.snapshot import Gpu, History, Machine, Status, VerdictRate

NOW = 1_790_000_000.0
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{7*7}}"


def alert(rule, state=State.FIRING, key=(), **more):
    fields = {"value": 0.31, "since": NOW - 40, **more}
    return Alert(rule=shipped().rule(rule), key=key, state=state, **fields)


@pytest.fixture
def shown(make_site, english, outline):
    """`shown(status)`: the overview taken apart."""
    return lambda status, visit=english, **stack: outline(make_site(status, **stack).overview(visit))


def test_figures_are_there_on_first_paint_with_their_units(shown, busy):
    text = shown(busy).text
    for figure in ("12.5 /s", "1 %", "1.25 s", "210 ms", "812 /s", "91 %", "4.20 ms", "128,431", "13 / 16", "93 %"):
        assert figure in text, figure
    assert "All well 4 of 4 services ready · 1 worker serves smollm2 · no alert lately" in text
    assert "covers all but 12" in text and "completed 12 /s" in text and "deadline missed" not in text


def test_the_same_in_chinese(shown, busy, chinese):
    page = shown(busy, chinese)
    assert page.all("html")[0]["lang"] == "zh-Hans"
    for said in ("一切正常", "4 个服务中 4 个就绪", "批处理效率", "护栏", "1.25 s", "完成", "尚有 12 条未覆盖"):
        assert said in page.text, said
    assert {"hreflang": "en", "lang": "en", "href": "/?lang=en"} in page.all("a")


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_known_is_said_and_not_shown_as_zero(language, shown):
    text = shown(Status(time=NOW, interval_seconds=2), Visit("/", language)).text
    assert ("Nothing is known yet" if language == "en" else "尚无数据") in text
    assert "strongroom ask" in text and "python -m services.inference" in text
    assert "0 /s" not in text and "0 %" not in text


def test_an_alert_comes_with_what_it_means_and_what_to_do(shown, busy, changed, chinese):
    status = changed(busy, active=[alert("many_errors"), alert("guard_down", key=("127.0.0.1:7411",), value=0)])
    page = shown(status)
    rule = shipped().rule("guard_down")
    assert "2 alerts" in page.text and "critical A guard does not answer" in page.text
    assert "instance 127.0.0.1:7411 since 14:12:40 · for 40 s" in page.text
    assert "31 % now; it fires above 20 %" in page.text
    assert "0 now" not in page.text  # of a guard that is down, or not
    assert f"What to do {rule.remedy.en.replace('`', '')}" in page.text
    assert "strongroom status" in [text.strip() for text in page.pieces]  # as code
    zh = shown(status, chinese).text
    assert "2 条告警" in zh and f"处置建议 {rule.remedy.zh.replace('`', '')}" in zh


def test_what_is_pending_covered_or_resolved_is_no_alert_yet_or_any_more(shown, busy, changed):
    status = changed(
        busy,
        active=[alert("errors", covered=True), alert("queue_waits", State.PENDING, value=6.2, since=NOW - 6)],
        recent=[alert("commits_slow", State.RESOLVED, since=NOW - 700, resolved=NOW - 500)],
    )
    text = shown(status).text
    assert text.count("All well") == 2  # in the title and in the banner
    assert "Over 5 % of requests fail" not in text
    assert "Interactive jobs wait over 5 s · for 6 s, becomes an alert after 15 s" in text
    assert "Recently resolved" in text and "resolved 14:05:00, lasted 3.3 min" in text


def test_what_a_silent_service_last_said_is_shown_as_old(shown, busy, changed):
    audit = replace(busy.services[3], up=False, age_seconds=23.0, problem="refused", ready=None)
    times = [NOW - 4, NOW - 2]
    lines = {"commit_p99": replace(busy.history.series["commit_p99"], values=[0.0042, None])}
    status = changed(busy, services=[*busy.services[:3], audit], history=History(times=times, series=lines))
    page = shown(status)
    assert "stale: audit last answered 23 s ago" in page.text
    assert (
        "no answer nothing listens there, or the connection broke" in page.text
        and "Not every service is ready" in page.text
    )
    assert "4.20 ms" in page.text and {"class": "figure old"} in page.all("p")


def test_a_service_that_takes_no_work_says_why(shown, busy, changed):
    gateway = replace(busy.services[0], ready=False, reason="audit does not answer")
    text = shown(changed(busy, services=[gateway, *busy.services[1:]])).text
    assert "not ready audit does not answer" in text and "3 of 4 services ready" in text


def test_a_monitor_that_stands_still_does_not_say_that_all_is_well(shown, busy, changed):
    """Fails if the banner looks at alerts alone: a hanging monitor raises none."""
    text = shown(changed(busy, time=NOW - 60)).text
    assert "The monitor has stopped looking" in text and "60 s ago" in text
    assert mood(changed(busy, time=NOW - 9), NOW).word == "all_well"


def test_development_and_insecure_are_said(shown, busy):
    assert "DEVELOPMENT This stack made its own keys" in shown(busy).text
    assert "INSECURE" not in shown(busy).text
    assert "INSECURE STRONGROOM_INSECURE is set" in shown(busy, insecure=True).text
    assert "DEVELOPMENT" not in shown(busy, development=False).text


def test_gpus_are_shown_where_there_are_some(shown, busy, changed):
    gpu = Gpu(
        index=0, name="H100", utilisation_ratio=0.83, memory_used_bytes=70 * 1024**3, memory_total_bytes=80 * 1024**3,
        temperature_celsius=61,
    )  # fmt: skip
    text = shown(changed(busy, machine=Machine(gpus=[gpu]))).text
    assert "GPU 0 H100 83 % GPU memory 70 GiB of 80 GiB · 61 °C" in text
    assert "No GPU is shown: no driver" in shown(changed(busy, machine=Machine(gpu_reason="no driver"))).text


def test_a_label_without_end_makes_no_page_without_end(shown, busy, changed):
    verdicts = [VerdictRate(verdict="FLAG", rule=f"rule-{n}", per_second=n) for n in range(1, 300)]
    findings = {f"class-{n}": 1.0 for n in range(300)}
    turned_away = {f"reason-{n}": 1.0 for n in range(300)}
    status = changed(busy, "guard", verdicts=verdicts, findings_per_second=findings)
    page = shown(changed(status, "traffic", turned_away_per_second=turned_away))
    assert "rule-299" in page.text and "rule-100" not in page.text and "291 more" in page.text
    assert sum(f"class-{n}" in page.text for n in range(300)) < 20
    assert page.text.count("reason-") < 20


def hostile(busy, changed):
    """Every text that a service, a policy or a model brings."""
    service = replace(busy.services[0], service=HOSTILE, instance=HOSTILE, up=False, problem=HOSTILE, reason=HOSTILE)
    worker = replace(busy.workers[0], instance=HOSTILE, model=HOSTILE, engine=HOSTILE, dtype=HOSTILE, device=HOSTILE)
    status = changed(
        busy, services=[service, *busy.services], workers=[worker], models={HOSTILE: 1},
        queue=[replace(busy.queue[0], priority=HOSTILE)],
        active=[alert("guard_down", key=(HOSTILE,)), alert("guard_down", State.PENDING, key=(HOSTILE,))],
        recent=[alert("guard_down", State.RESOLVED, key=(HOSTILE,), resolved=NOW)],
        machine=Machine(gpu_reason=HOSTILE, gpus=[Gpu(index=0, name=HOSTILE)]),
    )  # fmt: skip
    status = changed(
        status, "guard", verdicts=[VerdictRate(verdict=HOSTILE, rule=HOSTILE, per_second=1)],
        findings_per_second={HOSTILE: 1}, policy={"name": HOSTILE, "version": HOSTILE, "digest": HOSTILE},
    )  # fmt: skip
    return changed(status, "traffic", turned_away_per_second={HOSTILE: 1}, ends_per_second={HOSTILE: 1})


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_that_was_reported_becomes_markup(language, make_site, busy, changed, outline):
    """Fails if the environment is made with autoescape=False, or a template says `safe` of a label."""
    site = make_site(hostile(busy, changed))
    page = site.overview(Visit("/", language))
    blocks = "".join(site.view("overview", Visit("/", language)).blocks.values())
    for html, loaded in ((page, 2), (blocks, 0)):
        taken_apart = outline(html)
        assert len(taken_apart.all("script")) == loaded and taken_apart.all("img") == []
        assert not [name for _, attributes in taken_apart.tags for name in attributes if name.startswith("on")]
        assert "".join(taken_apart.pieces).count("<script>alert(1)</script>") > 15


def test_a_page_loads_only_what_the_monitor_serves_and_runs_nothing_inline(shown, busy):
    page = shown(busy)
    loaded = [attributes["src"] for attributes in page.all("script")]
    loaded += [attributes["href"] for attributes in page.all("link")]
    assert len(loaded) == 5 and all(address.startswith("/assets/") for address in loaded)
    assert page.all("style") == [] and page.all("iframe") == []
    refreshes = [attributes for attributes in page.all("meta") if attributes.get("http-equiv") == "refresh"]
    assert len(refreshes) == 1  # for who has no JavaScript


def test_views_are_made_once_for_all_who_look(make_site, busy, english, chinese):
    site = make_site(busy)
    assert site.view("overview", english) is site.view("overview", english)
    assert site.view("overview", english) is not site.view("overview", chinese)
