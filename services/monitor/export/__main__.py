"""`python -m services.monitor.export`: writes what Prometheus, Alertmanager and Grafana read."""

from __future__ import annotations

import argparse
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
    parser.add_argument("--port-base", type=int, default=StackSettings.port_base, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=1, help="of the stack (default: %(default)s)")
    return parser


if __name__ == "__main__":
    main()
