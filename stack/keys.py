"""Development keys: made once in a folder, replaced only on demand, readable by their owner alone."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chassis.identity import CREDENTIALS_FILE, digest, new_token
from chassis.start import CannotStart

# Random bytes as they are: `ticket` is audit's and the workers', `queue` the gateways' and the workers', `token` the
# guards'. The log's own keys are audit's alone, which makes them together with its log where nobody gives it any.
SECRETS = ("ticket", "queue", "token")
LOG_SECRETS = ("log-signing", "audit-provider")
SECRET_BYTES = 32
SERVICES = ("gateway", "guard", "inference", "audit", "monitor")
API_KEY_FILE = "development-api-key"


@dataclass(frozen=True)
class Holder:
    """Who holds a token: how `credentials.json` names them."""

    file: str
    prefix: str
    kind: str
    name: str
    tenant: str = ""
    roles: tuple[str, ...] = ()

    def entry(self, token: str) -> dict[str, object]:
        """What receivers keep: the token's hash, never the token."""
        entry: dict[str, object] = {"sha256": digest(token), "kind": self.kind, "name": self.name}
        if self.kind == "person":
            entry |= {"tenant": self.tenant, "roles": list(self.roles)}
        return entry


HOLDERS = (
    *(Holder(f"service-{name}", f"service-{name}", "service", name) for name in SERVICES),
    Holder(
        API_KEY_FILE, "sk-dev", "person", "developer", "development", ("caller", "reviewer", "auditor", "administrator")
    ),
)


def make_development_keys(
    folder: Path, random: Callable[[int], bytes] = secrets.token_bytes, names: Iterable[str] = SECRETS
) -> bool:
    """Makes what is missing; true if anything was. Two at once agree: whoever links a file first wins it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = [_create(folder / name, lambda: random(SECRET_BYTES)) for name in names]
    made += [_create(folder / holder.file, lambda h=holder: f"{new_token(h.prefix)}\n".encode()) for holder in HOLDERS]  # type: ignore[misc]
    tokens = {holder: (folder / holder.file).read_text().strip() for holder in HOLDERS}
    return _list_credentials(folder / CREDENTIALS_FILE, tokens) or any(made)


def make_container_secrets(folder: Path, owner: tuple[int, int] | None) -> bool:
    """All that containers are given, one file each: the log's keys too, as no container can write where they lie.

    `owner` is the uid and gid that services run as there: a bind-mounted file keeps its owner and mode. The API key
    stays with whoever makes it: no service holds it.
    """
    made = make_development_keys(folder, names=(*SECRETS, *LOG_SECRETS))
    given = [path for path in folder.iterdir() if path.name != API_KEY_FILE]
    try:
        for path in given if owner else ():
            os.chown(path, *owner)  # type: ignore[misc]
    except PermissionError:
        raise CannotStart(
            f"{folder} holds the secrets, but only root can give them to uid {owner[0] if owner else 0}, as which the "
            "containers' services run: run this as root"
        ) from None
    return made


def rotate_development_keys(folder: Path, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
    """New tokens and SECRETS in place of the old, which nobody takes any more. The log's own keys stay: a log is one
    key's for life, and the provider key opens what is sealed.

    For a stack that is down: running services hold the old ones. What a killed rotation leaves, `make_development_keys`
    lists, so that the stack starts on it; rotate again.
    """
    path, holders = folder / CREDENTIALS_FILE, [holder for holder in HOLDERS if (folder / holder.file).exists()]
    old = {digest((folder / holder.file).read_text().strip()) for holder in holders}
    if path.exists():
        kept = [entry for entry in _listed(path) if entry["sha256"] not in old]
        _replace(path, _credentials(kept))
    for holder in HOLDERS:
        _replace(folder / holder.file, f"{new_token(holder.prefix)}\n".encode())
    for name in SECRETS:
        _replace(folder / name, random(SECRET_BYTES))
    make_development_keys(folder)


def _replace(path: Path, content: bytes) -> None:
    with _written(path, content) as whole:
        whole.replace(path)


def _credentials(entries: Sequence[object]) -> bytes:
    return json.dumps({"credentials": entries}, indent=2).encode() + b"\n"


def _listed(path: Path) -> list[dict[str, object]]:
    try:
        listed: list[dict[str, object]] = json.loads(path.read_text())["credentials"] if path.exists() else []
        for entry in listed:
            entry["sha256"]
    except (ValueError, KeyError, TypeError):
        raise CannotStart(f"{path} is not a credentials file: restore it, or remove it to make a new one") from None
    return listed


def _list_credentials(path: Path, tokens: dict[Holder, str]) -> bool:
    """Adds the development holders that the file lacks; whatever else it lists stays."""
    listed = _listed(path)
    known = {entry["sha256"] for entry in listed}
    missing = [holder.entry(token) for holder, token in tokens.items() if digest(token) not in known]
    if missing:
        _replace(path, _credentials([*listed, *missing]))
    return bool(missing)


def _create(path: Path, content: Callable[[], bytes]) -> bool:
    """A file appears whole or not at all, and only once."""
    if path.exists():
        return False
    with _written(path, content()) as whole, suppress(FileExistsError):
        os.link(whole, path)
        return True
    return False


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """The content in a file of its own beside `path`, durable and with mode 0600; gone afterwards."""
    whole = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield whole
    finally:
        whole.unlink(missing_ok=True)
