"""A real log with small segments, and backups of it by the code that the service and the command run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from strongroom.backup.manifest import Manifest
from strongroom.backup.take import take_backup

from services.audit.backup_stream import messages
from services.audit.journal.journal import JournalLimits
from services.audit.records.entries import Accept, End, Ending, Release
from services.audit.records.planning import Clock, Item
from services.audit.writer import Folders, Writer, WriterLimits

LIMITS = WriterLimits(journal=JournalLimits(segment_bytes=16 * 1024, chunk_bytes=4 * 1024))
# Every record of a subject of its own, so that the tables of keys grow with the log.
FIELDS = {"request_received": b'{"messages":[]}', "request_sent": b"[]"}


@dataclass
class Log:
    """A home, the writer on it, and how far it has come."""

    home: Path
    records: int = 0
    later: float = 0.0  # seconds by which its clock is ahead
    writers: list[Writer] = field(default_factory=list)

    def open(self, newest: Path | None = None) -> Writer:
        self.close()
        clock = Clock(lambda: time.time() + self.later, lambda: time.monotonic() + self.later)
        folders = Folders(self.home / "audit", self.home / "keys")
        self.writers.append(Writer(folders, clock, LIMITS, newest_checkpoint=newest))
        return self.writer

    @property
    def writer(self) -> Writer:
        return self.writers[-1]

    def close(self) -> None:
        while self.writers:
            self.writers.pop().close()

    def grow(self, records: int, publish: bool = True) -> None:
        for _ in range(records):
            self.writer.commit(self._record())
        if publish:
            self.writer.publish()

    def _record(self) -> list[Item]:
        self.records += 1
        # A boot a record, so that a log that was restored goes on without knowing how far another copy came.
        place = {"record_id": f"record-{self.records}", "boot": f"boot-{self.records}"}
        subject = f"subject-{self.records}"
        return [
            Accept(**place, sequence=0, tenant="bank", caller="desk", subject=subject, deadline_ms=1, fields=FIELDS),
            Release(**place, sequence=1, n=0, body=b"text " * 40),
            End(**place, sequence=2, end=Ending.COMPLETED, fields={"answer_released": b"[1]"}),
        ]

    def backup(self, target: Path) -> Manifest:
        return take_backup(messages(self.writer.copied()), target)

    def lost(self) -> None:
        """The disk is gone; the keys were kept elsewhere."""
        self.close()
        shutil.rmtree(self.home / "audit")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "home")
    made.open()
    yield made
    made.close()


@pytest.fixture
def new_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Log]]:
    """Any number of logs, each in a folder of its own."""
    made: list[Log] = []

    def make() -> Log:
        made.append(Log(tmp_path_factory.mktemp("log") / "home"))
        made[-1].open()
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def backup(log: Log, tmp_path: Path) -> Path:
    """Of a log of several segments."""
    log.grow(40)
    log.backup(tmp_path / "backup")
    assert len(list((tmp_path / "backup" / "audit" / "journal").iterdir())) > 2
    return tmp_path / "backup"


@pytest.fixture
def empty_home(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.fixture
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """All files of a folder but the lock, which a stopped audit leaves as well."""

    def found(folder: Path) -> dict[str, bytes]:
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    return found


@pytest.fixture
def events(log: Log) -> Callable[[], list[dict[str, object]]]:
    """What the log says of itself, in its CONTROL entries."""

    def found() -> list[dict[str, object]]:
        stored = log.writer.stored
        headers = (stored.leaf(index).header for index in range(stored.leaf_count))
        return [header for header in headers if "event" in header]

    return found


Doomed = Callable[..., subprocess.CompletedProcess[str]]

# Every call that changes the disk is a step; the process dies before the one that it was told.
_DOOMED = """
import os, resource, signal, sys
from pathlib import Path
from strongroom.backup.failures import Refused

step, limit, user = map(int, sys.argv[1:4])
if user:
    os.setuid(user)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

def dying(function):
    def called(*arguments, **named):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return called

for name in ("open", "write", "fsync", "rename", "mkdir", "unlink"):
    setattr(os, name, dying(getattr(os, name)))
first, second = Path(sys.argv[4]), Path(sys.argv[5])
try:
    {work}
except Refused as refused:
    sys.exit(str(refused))
"""


@pytest.fixture
def doomed() -> Doomed:
    """Runs `work` on two paths, `first` and `second`, in a process of its own: killed at a step, or with a limit on
    files' sizes, or as another user. It prints why it was refused."""

    def run(
        imports: str, work: str, first: Path, second: Path, step: int = 0, limit: int = 0, user: int = 0
    ) -> subprocess.CompletedProcess[str]:
        program = f"{imports}\n{_DOOMED.replace('{work}', work)}"
        command = [sys.executable, "-c", program, str(step), str(limit), str(user), str(first), str(second)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run
