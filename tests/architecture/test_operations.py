"""What docs/operations.md says can be done: commands that are understood, alerts that exist, roles that may."""

from __future__ import annotations

import re
import shlex

import pytest
from strongroom.cli.main import command_parser

from services.audit.servicer import ALLOWED as AUDIT
from services.gateway.servicer import ALLOWED as GATEWAY
from services.guard.servicer import ALLOWED as GUARD
from services.inference.servicer import ALLOWED as INFERENCE
from services.monitor.definition.loading import shipped
from services.monitor.servicer import ALLOWED as MONITOR


@pytest.fixture(scope="module")
def text(root) -> str:
    return (root / "docs" / "operations.md").read_text()


def test_its_commands_are_understood(text) -> None:
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in blocks.splitlines()]
    ours = [line[line.index("strongroom") + 1 :] for line in lines if "strongroom" in line]
    assert len(ours) > 10
    for arguments in ours:
        command_parser().parse_args([word for word in arguments if word != ">"][: _before_redirection(arguments)])


def _before_redirection(arguments: list[str]) -> int:
    return arguments.index(">") if ">" in arguments else len(arguments)


def test_it_places_every_alert_and_no_other(text) -> None:
    table = text.partition("## Alerts")[2].partition("## Sizes")[0]
    named = re.findall(r"`([a-z_]+)`", table.partition("| want |")[2])
    assert sorted(named) == sorted(rule.id for rule in shipped().rules)


def test_who_may_what_is_what_the_services_allow(text) -> None:
    """Fails if a role is added to any method's allow-list, or taken from it."""
    table = text.partition("## Who may what")[2].partition("\n## ")[0]
    head, _, *rows = [line.strip("| ").split("|") for line in table.splitlines() if line.startswith("|")]
    roles = [cell.strip(" `") for cell in head[1:-1]]
    told = {
        method: {role for role, cell in zip(roles, cells, strict=True) if cell.strip()}
        for _, *cells, methods in rows
        for method in re.findall(r"`([\w.]+)`", methods)
    }
    allowed = {
        ".".join(re.fullmatch(r"/strongroom\.(\w+)\.v1\.\w+/(\w+)", method).groups()): persons
        for method, who in {**AUDIT, **GATEWAY, **GUARD, **INFERENCE, **MONITOR}.items()
        if (persons := {one.removeprefix("role:") for one in who if one.startswith("role:")})
    }
    assert told == allowed
