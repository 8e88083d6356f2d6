"""The page's icons, as SVG paths in a square of 16: a colour alone would say nothing to who does not see it."""

from __future__ import annotations

from collections.abc import Mapping

_DISC = "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z"

ICONS: Mapping[str, str] = {
    "door": "M2 1.5h12v13H2zM3.5 3v10h9V3z M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6z"
    "m0 1.3a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3z",
    "ok": f"{_DISC}m3.3 4.2L7 9.5 4.9 7.4 3.8 8.5 7 11.7l5.4-5.4z",
    "notice": f"{_DISC}m-.8 3.2v1.6h1.6V4.2zm0 2.8v5h1.6V7z",
    "warning": "M8 1.2 15.4 14.4H.6zM7.2 6v4.2h1.6V6zm0 5.2v1.6h1.6v-1.6z",
    "critical": "M5 1h6l4 4v6l-4 4H5l-4-4V5zm2.2 3v5h1.6V4zm0 6.2v1.6h1.6v-1.6z",
    "silent": f"{_DISC}m-.8 3v4.4l3.2 2.4 1-1.3-2.6-1.9V4z",
}
