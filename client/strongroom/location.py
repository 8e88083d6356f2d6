"""Where a stack is and with which key a caller enters it: from the environment, else from its home folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = ".strongroom"
DEFAULT_PORT_BASE = 7400
PORT_OFFSETS = {"gateway": 0, "guard": 1, "inference": 2, "audit": 3, "monitor": 4}
API_KEY_FILE = "development-api-key"


class NotConfigured(Exception):
    """Nothing says where to call, or with which key. The text names the remedy."""


@dataclass(frozen=True)
class Location:
    """Finds services. STRONGROOM_ADDRESS names a gateway, whose port tells the others'; `{service}` in it stands for
    the name of the service that is called, where each has a host of its own."""

    home: Path
    environ: Mapping[str, str]

    def address(self, service: str) -> str:
        """host:port for gRPC."""
        if named := self.environ.get("STRONGROOM_ADDRESS"):
            return _neighbour(named.replace("{service}", service), service)
        return self._running(service) or f"127.0.0.1:{self._port_base() + PORT_OFFSETS[service]}"

    def workers(self) -> list[str]:
        """The inference workers that a local stack wrote down, else the one that `address` finds."""
        known = sorted(path.stem for path in (self.home / "run").glob("inference*.json"))
        return known if known and not self.environ.get("STRONGROOM_ADDRESS") else ["inference"]

    def api_key(self) -> str:
        if key := self.environ.get("STRONGROOM_API_KEY"):
            return key.strip()
        path = Path(self.environ.get("STRONGROOM_KEYS") or self.home / "keys").expanduser() / API_KEY_FILE
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            raise NotConfigured(
                f"no API key: {path} does not exist. Start a stack with `strongroom up`, or set STRONGROOM_API_KEY "
                "(STRONGROOM_HOME names the home of a stack that runs)"
            ) from None
        except PermissionError:
            raise NotConfigured(f"{path} may not be read: it is another user's; set STRONGROOM_API_KEY") from None

    def _running(self, service: str) -> str:
        """The address that a local stack wrote down when it started."""
        try:
            return str(json.loads((self.home / "run" / f"{service}.json").read_text())["grpc"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _port_base(self) -> int:
        base = self.environ.get("STRONGROOM_PORT_BASE", str(DEFAULT_PORT_BASE))
        if not base.isdecimal():
            raise NotConfigured(f"STRONGROOM_PORT_BASE: {base!r} is not a whole number")
        return int(base)


def locate(home: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Location:
    """`home` wins over STRONGROOM_HOME."""
    return Location(Path(home or environ.get("STRONGROOM_HOME") or DEFAULT_HOME).expanduser(), environ)


def _neighbour(gateway: str, service: str) -> str:
    host, _, port = gateway.rpartition(":")
    if not host or not port.isdecimal():
        raise NotConfigured(f"STRONGROOM_ADDRESS: {gateway!r} is not host:port")
    return f"{host}:{int(port) + PORT_OFFSETS[service]}"
