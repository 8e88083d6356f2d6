"""`python -m services.monitor.export`: writes what Prometheus, Alertmanager and Grafana read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from chassis.settings import StackSettings
from services.monitor.definition.loading import shipped
from services.monitor.export.files import Stack, files

DEPLOY = Path(__file__).parents[3] / "deploy"


def main() -> None:
    asked = _parser().parse_args()
    for name, text in files(shipped(), Stack(asked.host, asked.port_base, asked.workers)).items():
        path = asked.to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.monitor.export", description=__doc__)
    parser.add_argument("--to", type=Path, default=DEPLOY, metavar="DIR", help="where to write (default: deploy/)")
    parser.add_argument("--host", default="127.0.0.1", help="where the stack's services listen (default: %(default)s)")
    port, workers = _between(1024, 65_000), _between(0, 64)
    parser.add_argument("--port-base", type=port, default=StackSettings.port_base, metavar="N", help="of the stack")
    parser.add_argument("--workers", type=workers, default=1, metavar="N", help="of the stack")
    return parser


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return number


if __name__ == "__main__":
    main()
