"""The commands that the suite adds to `strongroom`: up, down, restart, status, keys; an entry point loads each."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from chassis.settings import InvalidSettings

Commands = Any  # argparse's subparsers, which have no public type


def up(commands: Commands) -> None:
    """Registers `strongroom up`."""
    from stack.options import ENGINES

    parser = _parser(commands, "up", "start the whole suite on this machine", _up)
    parser.add_argument("--detach", action="store_true", help="run in the background; return when all is ready")
    parser.add_argument("--workers", type=int, metavar="N", help="inference processes (1)")
    parser.add_argument("--engine", choices=ENGINES, help="what makes tokens (torch)")


def down(commands: Commands) -> None:
    """Registers `strongroom down`."""
    _parser(commands, "down", "stop the suite of a home, in order", _down)


def restart(commands: Commands) -> None:
    """Registers `strongroom restart`."""
    what = "replace the processes of a running suite one by one, each after it has finished what it holds"
    parser = _parser(commands, "restart", what, _restart)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a service or a worker; all, if none is named")
    parser.add_argument("--patience", type=float, default=300.0, metavar="SECONDS", help="for each (300)")


def status(commands: Commands) -> None:
    """Registers `strongroom status`."""
    parser = _parser(commands, "status", "show what runs, where, and whether it takes work", _status)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def keys(commands: Commands) -> None:
    """Registers `strongroom keys`."""
    what = "make the development secrets of a stack in containers; those that are there stay"
    parser = commands.add_parser("keys", help=what, description=what)
    parser.add_argument("folder", metavar="DIR", type=Path, help="where they lie, one file each")
    parser.add_argument("--owner", metavar="UID:GID", type=_owner, help="whom the services run as (needs root)")
    parser.add_argument(
        "--rotate",
        action="store_true",
        help="new tokens, ticket, queue and token keys in place of the old; the log's own stay; the stack must be down",
    )
    parser.set_defaults(run=_keys)


def _owner(text: str) -> tuple[int, int]:
    user, _, group = text.partition(":")
    return int(user), int(group)


def _keys(arguments: argparse.Namespace) -> int:
    from chassis.start import CannotStart
    from stack.keys import make_container_secrets, rotate_development_keys
    from stack.runfiles import is_held

    folder: Path = arguments.folder
    try:
        if arguments.rotate:
            if is_held(folder.absolute().parent / "run"):
                raise CannotStart(f"the stack of {folder} is up and holds them: end it first with `strongroom down`")
            rotate_development_keys(folder)
        made = make_container_secrets(folder, arguments.owner)
    except (CannotStart, OSError) as problem:
        print(f"no secrets:\n{problem}", file=sys.stderr)
        return 2
    done = "rotated" if arguments.rotate else "made" if made else "nothing was missing"
    _say(f"{done}: development secrets in {folder}")
    return 0


def _parser(commands: Commands, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what)
    parser.add_argument("--home", metavar="DIR", help="state of the stack (STRONGROOM_HOME, else .strongroom)")
    parser.add_argument("--port-base", type=int, metavar="N", help="gateway's port (STRONGROOM_PORT_BASE, else 7400)")
    parser.set_defaults(run=_reporting_settings(run))
    return parser


def _reporting_settings(run: Any) -> Any:
    def checked(arguments: argparse.Namespace) -> int:
        try:
            return int(run(arguments))
        except InvalidSettings as invalid:
            print(f"strongroom cannot start:\n{invalid}", file=sys.stderr)
            return 2

    return checked


def _up(arguments: argparse.Namespace) -> int:
    from stack.greeting import greet
    from stack.options import stack_options
    from stack.process import Plan
    from stack.reporting import Reporter
    from stack.up import run_stack

    stack = stack_options(vars(arguments))
    if arguments.detach:
        from stack.detached import start_detached

        return start_detached(stack, _say)

    async def ready(plans: list[Plan]) -> None:
        await greet(stack, plans, _say)

    return asyncio.run(run_stack(stack, Reporter(_say, stack.log_folder / "supervisor.log"), ready))


def _down(arguments: argparse.Namespace) -> int:
    from stack.down import take_down
    from stack.options import stack_options

    return take_down(stack_options(vars(arguments)), _say)


def _restart(arguments: argparse.Namespace) -> int:
    from stack.options import stack_options
    from stack.restart import restart

    return restart(stack_options(vars(arguments)), arguments.names, arguments.patience, _say)


def _status(arguments: argparse.Namespace) -> int:
    from stack.options import stack_options
    from stack.status import as_table, stack_status

    found = asyncio.run(stack_status(stack_options(vars(arguments))))
    for line in [json.dumps(found.as_json(), indent=2)] if arguments.json else as_table(found):
        _say(line)
    return found.exit_code


def _say(line: str) -> None:
    print(line, flush=True)
