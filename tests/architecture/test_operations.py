"""What docs/operations.md says can be done: commands that are understood, settings and alerts that exist."""

from __future__ import annotations

import re
import shlex

import pytest
from strongroom.cli.main import command_parser

from chassis.settings import variables
from services.monitor.definition.loading import shipped
from stack.options import StackOptions
from stack.services_settings import KINDS


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


def test_its_settings_exist(text) -> None:
    known = {name for service, kind in KINDS.items() for name in variables(kind, service)}
    known |= {*variables(StackOptions, "stack"), "STRONGROOM_API_KEY"}
    assert set(re.findall(r"STRONGROOM_[A-Z_]+", text)) <= known


def test_it_places_every_alert_and_no_other(text) -> None:
    table = text.partition("## Alerts")[2].partition("## Sizes")[0]
    named = re.findall(r"`([a-z_]+)`", table.partition("| want |")[2])
    assert sorted(named) == sorted(rule.id for rule in shipped().rules)
