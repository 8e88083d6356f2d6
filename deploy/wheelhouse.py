"""Collects every wheel that the lock pins, once, with a SHA-256 for each: what images and a zone without a way out use.

`python deploy/wheelhouse.py FOLDER LOCK [NAME==VERSION…]`; pip asks whatever index this machine is set up with.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

SUMS = "SHA256SUMS"


class Unusable(Exception):
    """The wheelhouse cannot be filled; the message says what to do."""


def pins(lock: Path, more: Iterable[str] = ()) -> dict[str, str]:
    """Package to version, names in their normal form."""
    lines = [line.strip() for line in [*lock.read_text().splitlines(), *more]]
    return {_normal(name): version for name, _, version in (ln.partition("==") for ln in lines if ln and ln[0] != "#")}


def collect(folder: Path, wanted: dict[str, str]) -> list[str]:
    """Fetches what is missing or no longer what it was; returns what was fetched."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = _recorded(folder)
    for wheel in folder.glob("*.whl"):
        if wanted.get(_name(wheel)) != _version(wheel) or sums.get(wheel.name) != sha256(wheel):
            wheel.unlink()
    missing = sorted(wanted.keys() - {_name(wheel) for wheel in folder.glob("*.whl")})
    if missing:
        _fetch([f"{name}=={wanted[name]}" for name in missing], folder)
        sums |= {wheel.name: sha256(wheel) for wheel in folder.glob("*.whl") if _name(wheel) in missing}
    kept = sorted(wheel.name for wheel in folder.glob("*.whl"))
    (folder / SUMS).write_text("".join(f"{sums[name]}  {name}\n" for name in kept))
    return missing


def _fetch(specs: list[str], folder: Path) -> None:
    """`pip wheel`, not `pip download`: what is only published as source is built here, where there is a compiler."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "wheel", "--quiet", "--no-deps"]
    with tempfile.TemporaryDirectory(dir=folder) as apart:
        done = subprocess.run([*pip, "--wheel-dir", apart, *specs], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Unusable(f"pip could not collect the wheels:\n{done.stderr[-2000:]}")
        for wheel in Path(apart).glob("*.whl"):
            check_processor_build(wheel)
            wheel.replace(folder / wheel.name)


def check_processor_build(wheel: Path) -> None:
    """A build of torch for CUDA asks for packages of several GB that the lock does not have."""
    if _name(wheel) != "torch":
        return
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        metadata = HeaderParser().parsestr(archive.read(path).decode())
    asked = [line for line in metadata.get_all("Requires-Dist", []) if line.startswith(("nvidia-", "cuda-", "triton"))]
    if asked:
        raise Unusable(
            f"{wheel.name} is a build for CUDA (it asks for {asked[0].split()[0]}…): let pip find PyTorch's build for "
            "CPUs, in a folder or an index that pip's own settings name; deploy/Dockerfile.cuda is for GPUs"
        )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines if "  " in line)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name(wheel: Path) -> str:
    return _normal(wheel.name.split("-")[0])


def _version(wheel: Path) -> str:
    """Without the local part: the lock names none, and `2.13.0+cpu` is a build of 2.13.0."""
    return wheel.name.split("-")[1].partition("+")[0]


def main() -> int:
    folder, lock, *more = sys.argv[1:]
    try:
        fetched = collect(Path(folder), pins(Path(lock), more))
    except Unusable as problem:
        print(f"wheelhouse: {problem}", file=sys.stderr)
        return 1
    wheels = list(Path(folder).glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    print(f"wheelhouse: {len(wheels)} wheels, {size:.0f} MB in {folder}; {len(fetched) or 'none'} collected now")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
