"""What pages load: style, script, the chart library. Read once; each address names its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
NAMES = ("page.css", "page.js", "icon.svg", "uplot/uPlot.iife.min.js", "uplot/uPlot.min.css")


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str
    digest: str

    @property
    def version(self) -> str:
        """In its address, so that a browser may keep it and still never shows an old one."""
        return self.digest[:12]


@cache
def assets() -> Mapping[str, Asset]:
    """All there are, by name: nothing else of the disk can be asked for."""
    folder = files("services.monitor.page") / "assets"
    return {name: _read((folder / name).read_bytes(), name) for name in NAMES}


def asset_address(name: str) -> str:
    return f"/assets/{name}?v={assets()[name].version}"


def _read(content: bytes, name: str) -> Asset:
    media_type = MEDIA_TYPES[name[name.rindex(".") :]]
    return Asset(content, media_type, hashlib.sha256(content).hexdigest())
