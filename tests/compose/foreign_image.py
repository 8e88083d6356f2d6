"""An image for a processor that this machine has not: one file that says it is a program for it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from project import require, run

IMAGE = "strongroom-test:foreign"
FOREIGN, MACHINE = ("amd64", 0x3E) if os.uname().machine == "aarch64" else ("arm64", 0xB7)  # as ELF numbers them
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + MACHINE.to_bytes(2, "little") + bytes(44)


@contextmanager
def foreign_image(scratch: Path) -> Iterator[str]:
    """Loaded as `docker save` writes images, as nothing builds or pulls one here."""
    layer = _archive({"python": ELF})
    config = {
        "architecture": FOREIGN,
        "os": "linux",
        "config": {"Cmd": ["/python"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(config).encode(), "layer.tar": layer}
    (scratch / "foreign.tar").write_bytes(_archive({**files, "manifest.json": json.dumps(manifest).encode()}))
    loaded = run("docker", "load", "--input", str(scratch / "foreign.tar"))
    require(loaded.returncode == 0, loaded.stderr)
    try:
        yield IMAGE
    finally:
        run("docker", "rmi", "--force", IMAGE)


def _archive(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()
