"""What a reader asked for: a path, a language, and links that keep the language that was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from services.monitor.page.language import LANGUAGES, language


@dataclass(frozen=True, slots=True)
class Visit:
    """`chosen` is empty where the browser's preference decides; then links need not carry anything."""

    path: str
    language: str
    chosen: str = ""

    @classmethod
    def of(cls, path: str, asked: str, accepted: str) -> Visit:
        # Two slashes at its beginning would make a link to it one to another host.
        return cls("/" + quote(path.lstrip("/")), language(asked, accepted), asked if asked in LANGUAGES else "")

    def link(self, path: str, **query: str) -> str:
        """An address of ours, in the language that was chosen."""
        carried = {**query, **({"lang": self.chosen} if self.chosen else {})}
        return f"{path}?{urlencode(carried)}" if carried else path

    def here(self, language: str) -> str:
        """This page in that language."""
        return f"{self.path}?{urlencode({'lang': language})}"
