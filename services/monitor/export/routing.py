"""Who is told: an example of Alertmanager's routes by severity, and which alert silences which milder one."""

from __future__ import annotations

from typing import Any

from services.monitor.definition.rules import Definition, Rule, Severity

# Placeholders on loopback: whoever runs this puts their own pager and chat here.
WEBHOOKS = {"pager": "http://127.0.0.1:9095/page", "chat": "http://127.0.0.1:9095/chat"}
NOBODY = "nobody"
GROUPED_BY = ["alertname"]


def alertmanager_config(definition: Definition) -> dict[str, Any]:
    return {
        "route": {
            "receiver": "chat",
            "group_by": GROUPED_BY,
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "12h",
            "routes": [
                {"matchers": [_is("severity", Severity.CRITICAL)], "receiver": "pager", "repeat_interval": "1h"},
                {"matchers": [_is("severity", Severity.NOTICE)], "receiver": NOBODY},
            ],
        },
        "inhibit_rules": [_inhibition(rule, definition.rule(rule.covers)) for rule in definition.rules if rule.covers],
        "receivers": [
            *({"name": name, "webhook_configs": [{"url": url}]} for name, url in WEBHOOKS.items()),
            {"name": NOBODY},
        ],
    }


def _inhibition(rule: Rule, covered: Rule) -> dict[str, Any]:
    """Where both tell places apart by the same labels, only in the same place; as the monitor's own board does it."""
    equal = {"equal": list(rule.by)} if rule.by and rule.by == covered.by else {}
    return {"source_matchers": [_is("rule", rule.id)], "target_matchers": [_is("rule", covered.id)], **equal}


def _is(label: str, value: str) -> str:
    return f'{label}="{value}"'
