"""The bundles that may still be asked for: the one in force, and those that were within the last 24 hours."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from services.guard.policy.bundle import PolicyBundle
from services.guard.policy.loading import InvalidPolicy, parse_bundle

log = logging.getLogger(__name__)

KEPT_SECONDS = 24 * 3600


class PolicyUnknown(Exception):
    """No bundle of that digest is kept here."""


class PolicyShelf:
    """Bundles by digest. A copy of each stays in a folder, so that a restart loses none that an answer is pinned to."""

    def __init__(self, in_force: PolicyBundle, folder: Path, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970, which file times have too."""
        self._folder, self._clock = folder, clock
        self._kept: dict[bytes, tuple[PolicyBundle, float]] = {}  # with the time it was last in force
        folder.mkdir(parents=True, exist_ok=True)
        self._in_force = in_force
        for path in sorted(folder.glob("*.yaml")):
            self._restore(path)
        self.enforce(in_force)

    @property
    def in_force(self) -> PolicyBundle:
        return self._in_force

    def enforce(self, bundle: PolicyBundle) -> None:
        """From now on this one judges; the one before stays for what it has screened."""
        now = self._clock()
        for each in (self._in_force, bundle):
            self._kept[each.digest] = (each, now)
            self._write(each, now)
        self._in_force = bundle
        for digest, (_, last) in list(self._kept.items()):
            if digest != bundle.digest and now - last > KEPT_SECONDS:
                del self._kept[digest]
                self._path(digest).unlink(missing_ok=True)

    def get(self, digest: bytes) -> PolicyBundle:
        """An empty digest means the one in force. Raises PolicyUnknown."""
        if not digest:
            return self._in_force
        bundle, last = self._kept.get(digest, (None, 0.0))
        if bundle is None or (bundle is not self._in_force and self._clock() - last > KEPT_SECONDS):
            raise PolicyUnknown
        return bundle

    def _path(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}.yaml"

    def _write(self, bundle: PolicyBundle, now: float) -> None:
        path = self._path(bundle.digest)
        if not path.exists():
            fresh = path.with_suffix(".new")
            fresh.write_bytes(bundle.document)
            fresh.rename(path)
        os.utime(path, (now, now))

    def _restore(self, path: Path) -> None:
        """A copy that is old, altered, or of another format is no loss that could open anything: it is left out."""
        last = path.stat().st_mtime
        document = path.read_bytes()
        if self._clock() - last > KEPT_SECONDS or hashlib.sha256(document).hexdigest() != path.stem:
            with contextlib.suppress(OSError):
                path.unlink()
            return
        try:
            bundle = parse_bundle(document, str(path))
        except InvalidPolicy:
            log.warning("the kept policy %s does not load any more; answers that it screened end withheld", path.stem)
            return
        self._kept[bundle.digest] = (bundle, last)
