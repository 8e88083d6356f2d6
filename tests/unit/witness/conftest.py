"""Real logs and real witnesses in temporary folders; the clock is moved by hand."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from services.audit.journal.journal import JournalLimits
from services.audit.log.note import SignedCheckpoint
from services.audit.publishing import CHECKPOINT
from services.audit.records.entries import Accept, End, Ended, Ending
from services.audit.records.planning import Clock
from services.audit.witnesses.asking import NoReply, Reply
from services.audit.witnesses.cosigning import published
from services.audit.witnesses.kept import Kept
from services.audit.witnesses.policy import WitnessPolicy, parse_policy
from services.audit.witnesses.rounds import Log as AskedLog
from services.audit.witnesses.rounds import Rounds
from services.audit.writer import Folders, Writer, WriterLimits
from services.witness.key import CosigningKey, open_key
from services.witness.memory import Memory, add_logs
from services.witness.witness import CONFLICT, Refused, Witness

LIMITS = WriterLimits(journal=JournalLimits(segment_bytes=256 * 1024, chunk_bytes=64 * 1024))
NOW = 1_800_000_000.0


@dataclass
class Time:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Watcher:
    """A witness of the real kind on a folder; `url` is where policies say that it is."""

    folder: Path
    name: str
    time: Time
    memory: Memory | None = None
    away: bool = False

    @property
    def key(self) -> CosigningKey:
        return open_key(self.folder, f"witness.example/{self.name}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1/{self.name}"

    def knows(self, *vkeys: str) -> None:
        _ = self.key
        add_logs(self.folder, vkeys)
        self.close()
        self.memory = Memory(self.folder)

    @property
    def witness(self) -> Witness:
        assert self.memory is not None
        return Witness(self.key, self.memory, self.time)

    @property
    def newest(self) -> int:
        assert self.memory is not None
        [origin] = self.memory.logs
        newest = self.memory.newest(origin)
        return newest.size if newest else 0

    def close(self) -> None:
        if self.memory:
            self.memory.close()
        self.memory = None


@dataclass
class Home:
    """A log, the writer on it, and the receipts that its callers were given."""

    folder: Path
    time: Time
    boot: str = "boot"
    receipts: list[str] = field(default_factory=list)
    writers: list[Writer] = field(default_factory=list)

    @property
    def tlog(self) -> Path:
        return self.folder / "audit" / "tlog"

    @property
    def writer(self) -> Writer:
        return self.writers[-1]

    def open(self, **given: object) -> Writer:
        self.close()
        folders = Folders(self.folder / "audit", self.folder / "keys")
        self.writers.append(Writer(folders, Clock(self.time, self.time), LIMITS, **given))  # type: ignore[arg-type]
        return self.writer

    def close(self) -> None:
        while self.writers:
            self.writers.pop().close()

    def grow(self, records: int) -> None:
        for _ in range(records):
            number = len(self.receipts)
            place = {"record_id": f"{self.boot}-{number}", "boot": f"{self.boot}-{number}"}
            accept = Accept(
                **place, sequence=0, tenant="bank", caller="desk", deadline_ms=1, fields={"request_received": b"{}"}
            )
            end = End(**place, sequence=1, end=Ending.COMPLETED, fields={"answer_released": b"[1]"})
            *_, ended = self.writer.commit([accept, end])
            assert isinstance(ended, Ended)
            self.receipts.append(ended.receipt)
        self.writer.publish()

    @property
    def signed(self) -> SignedCheckpoint:
        found = published(self.tlog / CHECKPOINT, self.writer.verifier)
        assert found
        return found


@dataclass
class World:
    """A log whose witnesses are asked by the code that asks them in audit, without a wire between."""

    home: Home
    watchers: list[Watcher]
    time: Time
    posts: int = 0

    def policy(self, quorum: str = "all") -> WitnessPolicy:
        lines = [f"witness {each.name} {each.key.vkey} {each.url}" for each in self.watchers]
        names = " ".join(each.name for each in self.watchers)
        return parse_policy("\n".join([*lines, f"group asked {quorum} {names}", "quorum asked"]) + "\n")

    async def post(self, url: str, body: bytes) -> Reply:
        self.posts += 1
        [watcher] = [each for each in self.watchers if url == f"{each.url}/add-checkpoint"]
        if watcher.away:
            raise NoReply
        try:
            return Reply(200, "text/plain", watcher.witness.add_checkpoint(body).encode())
        except Refused as refused:
            if refused.status == CONFLICT:
                return Reply(CONFLICT, "text/x.tlog.size", f"{refused.size}\n".encode())
            return Reply(refused.status, "text/plain", str(refused).encode())

    def rounds(self, policy: WitnessPolicy | None = None) -> Rounds:
        policy, writer = policy or self.policy(), self.home.writer
        kept = Kept(self.home.tlog, policy, writer.verifier)

        def keep(signed: SignedCheckpoint) -> None:
            kept.keep(signed)
            writer.cosigned = signed

        log = AskedLog(lambda: self.home.signed, writer.consistency, keep)
        return Rounds(policy, log, self.post, self.time, refresh_seconds=60)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def new_watcher(tmp_path: Path, time: Time) -> Iterator[Callable[..., Watcher]]:
    made: list[Watcher] = []

    def make(name: str = "w1", *vkeys: str) -> Watcher:
        made.append(Watcher(tmp_path / f"witness-{name}", name, time))
        made[-1].knows(*vkeys)
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def home(tmp_path: Path, time: Time) -> Iterator[Home]:
    made = Home(tmp_path / "home", time)
    made.open()
    yield made
    made.close()


@pytest.fixture
def world(home: Home, new_watcher: Callable[..., Watcher], time: Time) -> World:
    return World(home, [new_watcher(name, home.writer.verifier_key) for name in ("w1", "w2")], time)


@pytest.fixture
def vkey_of() -> Callable[[str, bytes], str]:
    """A log's vkey from its name and raw public key."""

    def vkey(name: str, public: bytes) -> str:
        typed = b"\x01" + public
        key_id = sha256(name.encode() + bytes((10,)) + typed).hexdigest()[:8]
        return f"{name}+{key_id}+{base64.b64encode(typed).decode()}"

    return vkey
