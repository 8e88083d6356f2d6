"""The page as a reader has it before them, in a real browser before a real stack."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from prometheus_client import Counter, Gauge
from selenium.webdriver.common.by import By

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PHONE = (390, 844)
HOSTILE = "\"'><script>window.taken=1</script><img src=x onerror='window.taken=1'>{{7*7}}"


@pytest.fixture(scope="module")
def url(echo_suite: Any) -> str:
    return f"http://127.0.0.1:{echo_suite.port_base + 14}/"


def is_live(browser: Any) -> bool:
    return "live" in browser.script("return document.getElementById('liveness').className").split()


def test_the_page_is_live_and_a_request_opens_as_a_waterfall(browser: Any, echo_suite: Any, url: str) -> None:
    browser.open(url)
    browser.until(lambda: is_live(browser) and "All well" in browser.text())
    assert "4 of 4 services ready" in browser.text() and "DEVELOPMENT" in browser.text()
    browser.script("window.sameDocument = true")
    asked = echo_suite.json("ask", "What is a ledger?", "--max-tokens", "8")
    request_id = asked["request_id"]
    browser.until(lambda: request_id in browser.text('[data-block="traces"]'))
    browser.until(lambda: "completed" in browser.text('[data-block="panel-requests_per_second"]'))
    browser.until(lambda: len(browser.driver.find_elements(By.CSS_SELECTOR, ".chart canvas")) == 8)
    assert browser.script("return window.sameDocument")

    browser.click(f'a[href="/traces/{asked["trace_id"]}"]')
    browser.until(lambda: request_id in browser.text("main") and browser.driver.current_url != url)
    rows = browser.driver.find_elements(By.CSS_SELECTOR, ".waterfall details")
    assert {"gateway", "guard", "inference", "audit"} <= set(browser.text("main > p:nth-of-type(2)").split())
    assert len(rows) >= 4 and not rows[0].find_element(By.CSS_SELECTOR, "dl").is_displayed()
    rows[0].find_element(By.CSS_SELECTOR, "summary").click()
    browser.until(lambda: rows[0].find_element(By.CSS_SELECTOR, "dl").is_displayed())
    assert "strongroom.gateway.v1.GatewayService" in rows[0].text
    assert browser.complaints() == []


def test_it_speaks_chinese_and_english_and_keeps_what_was_chosen(browser: Any, url: str) -> None:
    browser.open(url, languages="zh-CN,zh;q=0.9")
    browser.until(lambda: "一切正常" in browser.text() and "实时" in browser.text("#liveness"))
    browser.click(".languages a")
    browser.until(lambda: "All well" in browser.text())
    browser.click('nav a[href="/traces?lang=en"]')
    browser.until(lambda: "Recent requests" in browser.text("h2"))
    assert browser.script("return document.documentElement.lang") == "en"
    assert browser.script("return document.cookie + localStorage.length") == "0"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_on_a_phone_nothing_is_wider_than_the_screen(language: str, browser: Any, echo_suite: Any, url: str) -> None:
    trace_id = echo_suite.json("ask", "What is an audit?", "--max-tokens", "8")["trace_id"]
    for path in ("", "traces", f"traces/{trace_id}", "nothing"):
        browser.open(f"{url}{path}?lang={language}", PHONE)
        if path in ("", "traces"):
            browser.until(lambda: is_live(browser))
        assert browser.script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390], path


def test_light_and_dark_are_both_easy_to_read(browser: Any, url: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 between a text and what is behind it."""
    grounds = []
    for dark in (False, True):
        browser.open(url, dark=dark)
        browser.until(lambda: is_live(browser))
        grounds.append(luminance(style(browser, "body", "backgroundColor")))
        for selector, ground in CONTRASTS:
            behind, before = style(browser, ground, "backgroundColor"), style(browser, selector, "color")
            lighter, darker = sorted((luminance(behind), luminance(before)), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (selector, dark)
    assert grounds[0] > 0.8 and grounds[1] < 0.05


CONTRASTS = [
    ("h2", "body"), (".note", "body"), (".banner h2", ".banner"), ("h3", ".panel"), (".unit", ".panel"),
    (".legend dt", ".panel"), (".panel a", ".panel"), (".mode b", "body > header"), (".liveness", "body > header"),
]  # fmt: skip


def style(browser: Any, selector: str, property: str) -> str:
    return str(browser.script(f"return getComputedStyle(document.querySelector({selector!r})).{property}"))


def luminance(colour: str) -> float:
    """Relative, of rgb(…), as WCAG defines it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_an_alert_appears_with_its_remedy_and_goes_when_all_is_well(browser: Any, echo_suite: Any, url: str) -> None:
    """A guard that is stopped holds its port and answers nothing: what a hanging process looks like."""
    browser.open(url)
    browser.until(lambda: "All well" in browser.text(".banner"))
    guard = echo_suite.pid("guard")
    os.kill(guard, signal.SIGSTOP)
    try:
        browser.until(lambda: "A guard does not answer" in browser.text(".alert"))
        alert = browser.text(".alert")
        assert "critical" in alert and "What to do" in alert and "strongroom status" in alert
        assert "stale" in browser.text('[data-block="guard"]')
        assert "no answer" in browser.text('[data-block="services"]')
        assert browser.driver.title[0] in "123456789"
    finally:
        os.kill(guard, signal.SIGCONT)
    browser.until(lambda: "All well" in browser.text(".banner"))
    assert "A guard does not answer" in browser.text('[data-block="resolved"]')


def test_nothing_that_a_metric_says_becomes_part_of_the_page(browser: Any, monitor: Any, scraped: Any) -> None:
    gateway, inference = scraped.registries["gateway"], scraped.registries["inference"]
    verdicts = Counter("strongroom_gateway_verdicts_total", "-", ["verdict", "rule"], registry=gateway)
    Gauge("strongroom_gateway_workers", "-", ["model"], registry=gateway).labels(HOSTILE).set(1)
    described = ["model", "engine", "dtype", "device", "attention"]
    info = Gauge("strongroom_inference_model_info", "-", described, registry=inference)
    info.labels(*[HOSTILE] * len(described)).set(1)
    browser.open(monitor.url)
    browser.until(lambda: verdicts.labels(HOSTILE, HOSTILE).inc() or HOSTILE in browser.text('[data-block="guard"]'))
    assert browser.text('[data-block="guard"]').count(HOSTILE) == 2
    assert browser.text('[data-block="workers"]').count(HOSTILE) == 5
    assert HOSTILE in browser.text(".banner")
    browser.driver.refresh()  # the same on first paint
    browser.until(lambda: is_live(browser) and HOSTILE in browser.text('[data-block="guard"]'))
    assert browser.script("return [window.taken, document.scripts.length, document.images.length]") == [None, 2, 0]
    assert browser.complaints() == []


def test_a_page_whose_monitor_is_killed_says_so_and_is_live_again_with_the_next(browser: Any, monitor: Any) -> None:
    browser.open(monitor.url)
    browser.until(lambda: is_live(browser))
    monitor.kill()
    browser.until(lambda: "Not live since" in browser.text("#liveness"))
    shown = browser.text("#liveness time, #liveness span")
    assert "UTC: the monitor does not answer" in shown
    assert float(browser.script("return getComputedStyle(document.querySelector('main')).opacity")) < 1
    assert browser.driver.title.startswith("✕")
    browser.script("window.sameDocument = true")
    monitor.start()
    browser.until(lambda: is_live(browser))
    assert browser.script("return window.sameDocument")
    assert float(browser.script("return getComputedStyle(document.querySelector('main')).opacity")) == 1
