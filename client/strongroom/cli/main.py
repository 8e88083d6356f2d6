"""The `strongroom` command. What needs the suite itself joins it through the entry points `strongroom.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from strongroom.cli import adapters, ask, audit, chat, guard, trace
from strongroom.cli.ending import ending_well

COMMANDS_GROUP = "strongroom.commands"  # each loads a function that takes argparse's subparsers


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = command_parser().parse_args(arguments)
    return ending_well(lambda: int(parsed.run(parsed)))


def command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("strongroom", description="Private, guarded, audited serving of language models.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for entry in sorted(entry_points(group=COMMANDS_GROUP), key=lambda entry: entry.name):
        entry.load()(commands)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--home", metavar="DIR", help="home of the stack to ask (STRONGROOM_HOME, else .strongroom)")
    for command in (ask, chat, trace, guard, audit, adapters):
        command.register(commands, shared)
    return parser


if __name__ == "__main__":
    sys.exit(main())
