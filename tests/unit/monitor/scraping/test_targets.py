"""Whom the monitor scrapes."""

from __future__ import annotations

import pytest

from chassis.settings import InvalidSettings
from services.monitor.scraping.targets import parse_targets, stack_targets
from services.monitor.settings import MonitorSettings
from services.monitor.windows.windows import Target


def test_a_stacks_own_are_found_by_their_ports():
    found = stack_targets("127.0.0.1", 7400, 3)
    assert [(target.service, target.instance.rpartition(":")[2]) for target in found] == [
        ("gateway", "7410"),
        ("guard", "7411"),
        ("inference", "7412"),
        ("audit", "7413"),
        ("inference", "7423"),
        ("inference", "7425"),
    ]


def test_an_address_of_ipv6_is_written_with_brackets():
    assert stack_targets("::1", 7400, 1)[0].instance == "[::1]:7410"


def test_further_ones_are_named_by_a_setting():
    settings = MonitorSettings(targets="guard=10.0.0.5:7411, inference=[fd00::1]:7412,", workers=1)
    assert settings.scraped[-2:] == [
        Target("strongroom-guard", "10.0.0.5:7411"),
        Target("strongroom-inference", "[fd00::1]:7412"),
    ]
    assert len(settings.scraped) == 6


def test_a_monitor_may_watch_others_only_and_each_once():
    settings = MonitorSettings(scrape_stack=False, targets="guard=a:1,guard=a:1")
    assert settings.scraped == [Target("strongroom-guard", "a:1")]


@pytest.mark.parametrize(
    "wrong",
    ["guard", "gard=a:1", "guard=a", "guard=:1", "guard=a:0", "guard=a:70000", "guard=http://a:1", "guard=user@a:1"],
)
def test_a_wrong_target_is_named_with_what_it_must_be(wrong):
    with pytest.raises(ValueError, match="must"):
        parse_targets(f"audit=a:1,{wrong}")
    with pytest.raises(InvalidSettings, match="STRONGROOM_MONITOR_TARGETS"):
        MonitorSettings(targets=wrong)


def test_so_many_targets_are_prometheus_work():
    with pytest.raises(ValueError, match="more than 64"):
        parse_targets(",".join(f"guard=a:{n}" for n in range(1, 67)))


@pytest.mark.parametrize(("name", "value"), [("scrape_seconds", 0.1), ("workers", 65), ("max_series", 10)])
def test_a_setting_out_of_its_bounds_is_named(name, value):
    with pytest.raises(InvalidSettings, match=f"STRONGROOM_MONITOR_{name.upper()}"):
        MonitorSettings(**{name: value})
