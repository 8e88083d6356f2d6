"""Audit as a process on volumes that cannot be used: it says why, exits with 78, and the journal stays as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from strongroom.verify import VERIFIES, verify_home

from services.audit.records.planning import Clock
from services.audit.writer import Folders, Writer
from stack.keys import make_development_keys
from stack.ports import free_port_base

ROOT = Path(__file__).parents[3]
MISCONFIGURED, NO_ROOM = 78, 75
YEAR = 365 * 86_400
Make = Callable[..., Path]


@pytest.fixture
def log(tmp_path: Path) -> Make:
    """A home whose log was written to at a time, and stopped cleanly."""

    def make(at: float | None = None) -> Path:
        home = tmp_path / "home"
        make_development_keys(home / "keys")
        wall = time.time if at is None else lambda: at
        writer = Writer(Folders(home / "audit", home / "keys"), Clock(wall, time.monotonic))
        writer.stop()
        writer.close()
        return home

    return make


def content(home: Path) -> dict[str, str]:
    """Every file of the audit folder, by the hash of its bytes."""
    paths = [path for path in (home / "audit").rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def command(*before: str) -> list[str]:
    return [*before, sys.executable, "-m", "services.audit"]


def start(home: Path, *before: str, seconds: float = 60, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs audit to its end: it must not start."""
    environ = {
        **os.environ,
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_PORT_BASE": str(free_port_base()),
        "STRONGROOM_TRACES_ADDRESS": "off",
        **settings,
    }
    return subprocess.run(
        command(*before), env=environ, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.fixture(scope="module")
def mounting() -> Callable[[str], tuple[str, ...]]:
    """What runs a command after a shell script, in a mount namespace of its own."""
    before = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "sh", "-ec")
    probe = [*before, 'mount -t tmpfs -o size=1m none "$0"', "/mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount anything, even in a namespace of its own: run as root")
    return lambda script: (*before, f'{script}\nexec "$@"', "sh")


def test_a_clock_years_behind_the_newest_entry_is_refused(log: Make) -> None:
    """Fails if the writer opens whatever the clock says: entries would be dated before those they follow."""
    home = log(at=time.time() + 3 * YEAR)
    before = content(home)
    done = start(home)
    assert done.returncode == MISCONFIGURED
    assert "the clock says" in done.stderr and "the log's newest entry is of" in done.stderr
    assert "STRONGROOM_AUDIT_CLOCK_MAY_BE_BEHIND=true" in done.stderr
    assert content(home) == before


def test_a_log_of_another_format_is_refused(log: Make) -> None:
    home = log()
    (home / "audit" / "format").write_text("strongroom-audit 0\n")
    before = content(home)
    done = start(home)
    assert done.returncode == MISCONFIGURED
    assert "has format 0, and this version reads and writes format 1" in done.stderr
    assert content(home) == before


def test_a_read_only_volume_is_refused(log: Make, mounting: Callable[[str], tuple[str, ...]]) -> None:
    home = log()
    before = content(home)
    done = start(home, *mounting(f'mount --bind "{home}" "{home}"; mount -o remount,ro,bind "{home}"'))
    assert done.returncode == MISCONFIGURED, done.stderr
    assert "is on a read-only file system: mount its volume without `ro`" in done.stderr
    assert content(home) == before


def test_a_full_volume_is_refused_and_with_room_again_the_log_goes_on(
    log: Make, mounting: Callable[[str], tuple[str, ...]], tmp_path: Path
) -> None:
    """Fails if `main` opens the log without asking for room: the start itself would fail in the middle of a write."""
    home, small, back = log(), tmp_path / "small", tmp_path / "back"
    small.mkdir()
    fill = f'mount -t tmpfs -o size=16m none "{small}"; cp -a "{home}/." "{small}"; '
    fill += f'cat /dev/zero > "{small}/rest" 2>/dev/null || true; '
    # Copied back after the refusal: the mount goes with its namespace.
    run = f'code=0; "$@" || code=$?; cp -a "{small}" "{back}"; exit $code'
    done = start(small, *mounting(fill + run))
    assert done.returncode == NO_ROOM, done.stderr
    assert "has no room for 8 MiB: free some space, or enlarge the volume" in done.stderr
    assert content(back) == content(home)
    (back / "rest").unlink()
    assert verify_home(back).exit_code == VERIFIES
    Writer(Folders(back / "audit", back / "keys"), Clock(time.time, time.monotonic)).close()


def test_a_volume_of_somebody_else_is_refused_with_whose_it_is(log: Make) -> None:
    """As root: without the right to pass over permissions, which containers drop too."""
    home = log()
    if os.geteuid() == 0:
        os.chown(home / "audit", 10_001, 10_001)
    (home / "audit").chmod(0o500)
    before = content(home)
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    done = start(home, *bare)
    (home / "audit").chmod(0o700)
    assert done.returncode == MISCONFIGURED, done.stderr
    assert f"may not be used by uid {os.geteuid()}" in done.stderr and "give it with chown -R" in done.stderr
    assert content(home) == before


def test_a_secret_that_is_a_folder_is_refused(log: Make) -> None:
    """What Docker makes in the place of a file that is not there."""
    home = log()
    (home / "keys" / "ticket").unlink()
    (home / "keys" / "ticket").mkdir()
    before = content(home)
    done = start(home)
    assert done.returncode == MISCONFIGURED
    assert "ticket is a folder: the secret was not there when the container was made" in done.stderr
    assert content(home) == before


def test_a_secret_that_may_not_be_read_is_refused_with_whose_it_is(log: Make) -> None:
    home = log()
    if os.geteuid() == 0:
        os.chown(home / "keys" / "service-audit", 10_001, 10_001)
    (home / "keys" / "service-audit").chmod(0o200)
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    done = start(home, *bare)
    assert done.returncode == MISCONFIGURED, done.stderr
    assert "service-audit may not be used by uid" in done.stderr
