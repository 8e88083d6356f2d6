"""Chromium, as Debian packages it with its driver, and a monitor of its own for what a whole stack does not do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from stack.ports import free_port_base

PATIENCE = 60  # seconds; nothing here takes so long on a machine that is not busy with something else
DESKTOP, PHONE = (1440, 900), (390, 844)
OPTIONS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync",
)  # fmt: skip


@dataclass
class Browser:
    """What a reader does and sees."""

    driver: webdriver.Chrome

    def open(self, url: str, size: tuple[int, int] = DESKTOP, dark: bool = False, languages: str = "en") -> None:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        agent = self.script("return navigator.userAgent")
        self.command("Network.setUserAgentOverride", userAgent=agent, acceptLanguage=languages)
        self.driver.get(url)

    def command(self, name: str, **given: Any) -> None:
        self.driver.execute_cdp_cmd(name, given)

    def script(self, script: str) -> Any:
        return self.driver.execute_script(script)  # type: ignore[no-untyped-call]

    def text(self, selector: str = "body") -> str:
        return str(self.driver.find_element(By.CSS_SELECTOR, selector).text)

    def click(self, selector: str) -> None:
        """Of a block that may just have been replaced."""

        def click() -> bool:
            self.driver.find_element(By.CSS_SELECTOR, selector).click()
            return True

        self.until(click)

    def until(self, seen: Callable[[], Any]) -> Any:
        """Looks again until it is so; an element that was replaced meanwhile is looked for again."""
        ignored = (StaleElementReferenceException, NoSuchElementException)
        try:
            return WebDriverWait(self.driver, PATIENCE, 0.1, ignored).until(lambda _: seen())
        except TimeoutException:
            pytest.fail(f"it never came to that; {self.driver.current_url} shows:\n{self.text()}\n{self.complaints()}")

    def complaints(self) -> list[str]:
        """Of the page: errors of scripts, and what the content security policy kept from it."""
        logged = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [line["message"] for line in logged if line["level"] == "SEVERE"]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        missing = "there is no Chromium with its driver here: apt-get install chromium chromium-driver"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    options = webdriver.ChromeOptions()
    for option in (*OPTIONS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{option}")
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(chromedriver))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver: webdriver.Chrome) -> Iterator[Browser]:
    browser = Browser(driver)
    browser.complaints()  # those of an earlier test
    yield browser
    driver.get("about:blank")  # closes its stream


@dataclass
class Monitor:
    """A process of its own, which a test may kill and start again."""

    environment: dict[str, str]
    url: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.monitor"], env=self.environment, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        assert any(b"listens" in line for line in self.process.stderr)  # reads no further than that

    def kill(self) -> None:
        assert self.process is not None and self.process.stderr is not None
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@dataclass
class Scraped:
    """Metrics that a test fills, by service, and where they are served."""

    registries: dict[str, CollectorRegistry]
    targets: str


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    registries = {name: CollectorRegistry() for name in ("gateway", "guard", "inference")}
    served = {name: start_http_server(0, "127.0.0.1", registry) for name, registry in registries.items()}
    yield Scraped(
        registries, ",".join(f"{name}=127.0.0.1:{server.server_port}" for name, (server, _) in served.items())
    )
    for server, thread in served.values():
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def monitor(tmp_path: Path, scraped: Scraped) -> Iterator[Monitor]:
    """It scrapes what the test serves, and nothing else."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "credentials.json").write_text(json.dumps({"credentials": []}))
    (keys / "service-monitor").write_text("token\n")
    (keys / "service-monitor").chmod(0o600)
    base = free_port_base()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    settings = {
        "STRONGROOM_HOME": str(tmp_path),
        "STRONGROOM_PORT_BASE": str(base),
        "STRONGROOM_MONITOR_SCRAPE_STACK": "false",
        "STRONGROOM_MONITOR_SCRAPE_SECONDS": "0.5",
        "STRONGROOM_MONITOR_TARGETS": scraped.targets,
    }
    monitor = Monitor({**kept, **settings}, f"http://127.0.0.1:{base + 14}/")
    monitor.start()
    yield monitor
    monitor.kill()
