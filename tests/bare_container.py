"""A container with nothing in it but this Python and the C library: namespaces of its own, no network, no variable."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

_ENTER = ("unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork")
# Everything is mounted read-only into an empty memory, which becomes the root.
_SCRIPT = """
set -eu
root=$1 given=$2 loader=$3; shift 3
mount -t tmpfs -o size=16m none "$root"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
  mount -o remount,bind,ro "$root$1"
  shift
done
shift
mkdir -p "$root/given" "$root$(dirname "$loader")"
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
[ -e "$root$loader" ] || cp -L "$loader" "$root$loader"
mount --bind "$given" "$root/given"
mount -o remount,bind,ro "$root/given"
cd "$root"
exec chroot "$root" "$@"
"""


def unavailable() -> str:
    """Why there can be none here; empty where there can."""
    try:
        tried = subprocess.run([*_ENTER, "true"], capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        return "there is no unshare here: apt-get install util-linux"
    return "" if tried.returncode == 0 else f"namespaces are not allowed here: {tried.stderr.strip()}"


def bare_python(root: Path, given: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with these arguments where `given` is /given and nothing else of this machine is seen."""
    prefix, python = Path(sys.base_prefix).resolve(), Path(sys.executable).resolve()
    libraries = Path("/usr/lib") / sysconfig.get_config_var("MULTIARCH")
    loader = next(iter(sorted([*Path("/lib64").glob("ld-linux*"), *Path("/lib").glob("ld-linux*")])))
    seen = [str(path) for path in (prefix, libraries) if path == prefix or not path.is_relative_to(prefix)]
    command = [*_ENTER, "sh", "-c", _SCRIPT, "sh", str(root), str(given), str(loader), *seen, "--"]
    return subprocess.run(
        [*command, str(python), "-I", "-S", *arguments],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
