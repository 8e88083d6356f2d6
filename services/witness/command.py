"""`strongroom witness`: makes one where there is none, says what a policy needs of it, and runs it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

_ABOUT = """Runs a witness of audit logs: a process with a key of its own, best on another machine and with other people
than the log. It cosigns a log's checkpoint only if that continues what it cosigned before, and forgets nothing: a fork,
a log that was cut back, or one restored from an old copy is refused. It prints the line that a witness policy
(c2sp.org/tlog-policy) needs, and serves c2sp.org/tlog-witness, /metrics and /healthz."""


def register(commands: Any) -> None:
    parser = commands.add_parser("witness", help="cosign the checkpoints of logs that only grow", description=_ABOUT)
    parser.add_argument("--folder", metavar="DIR", help="its key and memory (STRONGROOM_WITNESS_FOLDER)")
    parser.add_argument("--name", metavar="NAME", help="of a new witness: a URL without its scheme, witness.example/w1")
    parser.add_argument("--log", metavar="VKEY", action="append", default=[], help="a log to know from now on")
    parser.add_argument("--port", metavar="N", help="on STRONGROOM_BIND, which is loopback (7450)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from chassis.settings import InvalidSettings, load
    from chassis.start import CannotStart, run
    from services.witness.__main__ import main
    from services.witness.key import open_key
    from services.witness.memory import add_logs
    from services.witness.settings import WitnessSettings

    given = {"FOLDER": arguments.folder, "NAME": arguments.name, "PORT": arguments.port}
    os.environ.update({f"STRONGROOM_WITNESS_{name}": value for name, value in given.items() if value})
    try:
        settings = load(WitnessSettings, "witness")
        folder: Path = settings.folder.expanduser()
        key = open_key(folder, settings.name)
        add_logs(folder, arguments.log)
    except (InvalidSettings, CannotStart) as problem:
        print(f"witness cannot start:\n{problem}", file=sys.stderr)
        return 2
    print(f"witness {key.name.rpartition('/')[2]} {key.vkey} http://{settings.own_address}", flush=True)
    run("witness", WitnessSettings, main)
    return 0
