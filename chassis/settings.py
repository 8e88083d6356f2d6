"""Loads a service's settings from its environment, and names every wrong variable at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

S = TypeVar("S", bound="StackSettings")

PORT_OFFSETS = {"gateway": 0, "guard": 1, "inference": 2, "audit": 3, "monitor": 4, "tuner": 5, "redis": 9}
HTTP_OFFSET = 10  # a service's HTTP port = its gRPC port + 10
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class InvalidSettings(Exception):
    """Names every wrong variable, so that one restart fixes them all."""


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """What all services share; their variables carry no service name: STRONGROOM_HOME, STRONGROOM_BIND…"""

    home: Path = Path(".strongroom")  # all state of a local stack
    keys: Path | None = None  # unwrapped keys; unset means home/keys
    mode: str = "development"  # or production
    bind: str = "127.0.0.1"  # address that servers listen on
    port_base: int = 7400
    insecure: bool = False  # plaintext on an address other than loopback
    model: str = ""  # a transformers folder or a hub id; unset means the one that `strongroom up` prepares
    redis_url: str = ""  # unset means the stack's own, at port_base + 9
    traces_address: str = ""  # OTLP receiver host:port; unset means the monitor's; "off" means none
    compiled: bool = True  # false: run the sources, also where they were compiled (chassis/compiled.py)
    reflection: bool = True  # gRPC reflection; refused in production

    def __post_init__(self) -> None:
        problems = [*self.check_shared(), *self.check()]
        if problems:
            raise InvalidSettings("\n".join(problems))

    def check_shared(self) -> list[str]:
        """What is wrong with the shared settings, one line each."""
        problems = []
        if self.mode not in ("development", "production"):
            problems.append(f"STRONGROOM_MODE: {self.mode!r} is neither development nor production")
        if self.mode == "production":
            problems.append(
                "STRONGROOM_MODE: production needs TLS between services and keys of its own for the log, which this "
                "version does not have; unset it to run in development mode"
            )
        if not 1024 <= self.port_base <= 65000:
            problems.append(f"STRONGROOM_PORT_BASE: {self.port_base} is not between 1024 and 65000")
        if self.in_plaintext and not self.insecure:
            problems.append(
                f"STRONGROOM_BIND: {self.bind!r} is not loopback, and there is no TLS yet: bind 127.0.0.1, or set "
                "STRONGROOM_INSECURE=true if the network is private"
            )
        return problems

    def check(self) -> list[str]:
        """What is wrong with the service's own settings, one line each."""
        return []

    @property
    def in_plaintext(self) -> bool:
        """Whether others than this machine can read along: there is no TLS yet."""
        return self.bind not in LOOPBACK

    @property
    def keys_folder(self) -> Path:
        return self.keys or self.home / "keys"

    def address(self, service: str) -> str:
        """Where a service of this stack listens for gRPC."""
        return f"{self._host}:{self.port_base + PORT_OFFSETS[service]}"

    def http_address(self, service: str) -> str:
        """Where a service of this stack listens for HTTP."""
        return f"{self._host}:{self.port_base + PORT_OFFSETS[service] + HTTP_OFFSET}"

    @property
    def _host(self) -> str:
        return f"[{self.bind}]" if ":" in self.bind else self.bind

    @property
    def redis(self) -> str:
        return self.redis_url or f"redis://127.0.0.1:{self.port_base + PORT_OFFSETS['redis']}/0"

    @property
    def traces(self) -> str:
        """Where spans go; empty means nowhere."""
        return "" if self.traces_address == "off" else self.traces_address or self.address("monitor")


_SHARED = frozenset(field.name for field in fields(StackSettings))


def load(kind: type[S], service: str, environ: Mapping[str, str] = os.environ) -> S:
    """Fills `kind` from STRONGROOM_<SERVICE>_<FIELD>, shared fields from STRONGROOM_<FIELD>."""
    hints, values, problems, missing = get_type_hints(kind), {}, [], False
    names = {_variable(service, field.name): field for field in fields(kind)}
    for name, field in names.items():
        if name not in environ:
            if _required(field):
                problems.append(f"{name}: is required, and not set")
                missing = True
            continue
        try:
            values[field.name] = _parser(hints[field.name])(environ[name])
        except (ValueError, KeyError):
            problems.append(f"{name}: {environ[name]!r} is not {_WANTED[_plain(hints[field.name])]}")
            missing |= _required(field)
    prefix = f"STRONGROOM_{service.upper()}_"
    problems += [f"{name}: no such setting" for name in environ if name.startswith(prefix) and name not in names]
    try:
        if missing:  # named above; what is shared can still be checked
            StackSettings(**{name: value for name, value in values.items() if name in _SHARED})
        else:
            settings = kind(**values)
    except InvalidSettings as invalid:
        problems += str(invalid).splitlines()
    if problems:
        raise InvalidSettings("\n".join(problems))
    return settings


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def variables(kind: type[StackSettings], service: str) -> list[str]:
    """The names of all variables that `load` reads."""
    return [_variable(service, field.name) for field in fields(kind)]


def _variable(service: str, field: str) -> str:
    return f"STRONGROOM_{field.upper()}" if field in _SHARED else f"STRONGROOM_{service.upper()}_{field.upper()}"


def _finite(text: str) -> float:
    """NaN passes every check of a range that asks whether it lies outside."""
    if not math.isfinite(float(text)):
        raise ValueError
    return float(text)


def _path(text: str) -> Path:
    """An empty one would silently be the working directory."""
    if not text:
        raise ValueError
    return Path(text)


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: _finite,
    Path: _path,
    bool: lambda text: _BOOLEANS[text.lower()],
}
_WANTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def _plain(hint: Any) -> Any:
    """`Path | None` reads as Path."""
    return next((part for part in getattr(hint, "__args__", ()) if part is not type(None)), hint)


def _parser(hint: Any) -> Callable[[str], Any]:
    return _PARSERS[_plain(hint)]
