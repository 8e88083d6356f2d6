"""The writer: commits one group at a time. Whoever commits owns everything; others read under its lock, or what is
durable."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from services.audit.backup import LogCopy
from services.audit.completeness.counts import Difference
from services.audit.completeness.ledger import Ledger
from services.audit.custody.book import Book
from services.audit.custody.decisions import Custody
from services.audit.custody.orders import CustodyRefused
from services.audit.group import Durable, Group
from services.audit.journal.frame import FrameInvalid
from services.audit.journal.journal import Journal, open_directory
from services.audit.journal.segment import JournalCorrupt
from services.audit.keys import KeySource, LogKeys, open_keys
from services.audit.known_checkpoints import check_newest, check_published, check_witnessed, no_log
from services.audit.log.leaf import Kind
from services.audit.log.merkle import Tree, leaf_hash
from services.audit.log.note import SignedCheckpoint, Verifier, sign_checkpoint
from services.audit.log.rows import Scratch
from services.audit.opening import check_clock, check_format, mark_format
from services.audit.publishing import CHECKPOINT, Publisher
from services.audit.record_reads import RecordReads
from services.audit.records.entries import AppendRefused, Outcome
from services.audit.records.planning import HEARTBEAT, STOPPED, Clock, Control, Item, Plan
from services.audit.records.recorder import Recorder
from services.audit.records.recovery import Replay
from services.audit.records.resends import answer_again
from services.audit.records.scribe import LOG_SUBJECT, LOG_TENANT
from services.audit.records.sealer import Sealer
from services.audit.records.stored import StoredEntries
from services.audit.records.views import RecordReader
from services.audit.restored import check_finished, note_recorded, restored_from
from services.audit.sealing.keytree import KeyTree
from services.audit.sealing.provider import KeyProvider
from services.audit.spare import RoomWatch, Spare
from services.audit.starting import started
from services.audit.surroundings import FaultPoints as FaultPoints
from services.audit.surroundings import Folders as Folders
from services.audit.surroundings import Observer as Observer
from services.audit.surroundings import WriterLimits as WriterLimits
from services.audit.witnesses.kept import COSIGNED, kept_files

_WITH_RECEIPT = frozenset({Kind.END, Kind.REFUSED})


class Writer:
    def __init__(
        self,
        folders: Folders,
        clock: Clock,
        limits: WriterLimits | None = None,
        *,
        random: Callable[[int], bytes] = os.urandom,
        key_source: KeySource | None = None,
        faults: FaultPoints | None = None,
        observer: Observer | None = None,
        newest_checkpoint: Path | None = None,
        witnessed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Opens the log: reads the whole journal, checks it against the stored checkpoint, the newest that was kept
        elsewhere and the newest that each witness has seen, then cuts and appends."""
        self._folders, self._faults, self._observer = folders, faults or FaultPoints(), observer or Observer()
        self._clock = clock
        limits = limits or WriterLimits()
        check_finished(folders.audit)
        check_format(folders.audit)
        for folder in (folders.journal, folders.tlog, folders.keys):
            open_directory(folder)
        new = not any(folders.journal.glob("*.journal")) and not (folders.tlog / CHECKPOINT).exists()
        if new and newest_checkpoint:
            raise no_log(folders.audit, newest_checkpoint)
        self.lock = threading.RLock()
        self._keys: LogKeys = open_keys(folders.keys, folders.tlog, new=new, random=random, key_source=key_source)
        self.origin = self._keys.signer.name
        keytree = KeyTree(folders.wrapped_keys, self._keys.provider, new=new, random=random)
        self._keytree = keytree
        self._book = Book(folders.wrapped_keys, lambda: keytree.subject(LOG_TENANT, LOG_SUBJECT).key)
        self._spare = Spare(folders.spare, limits.spare_bytes, self._faults.writing)
        self.journal = Journal(
            folders.journal,
            self.origin,
            limits.journal,
            sync=self._faults.sync,
            growing=self._faults.growing,
            free=self._faults.free,
        )
        self.room = RoomWatch(self.journal, self._spare)
        self._scratch = Scratch(folders.audit)
        self.cosigned: SignedCheckpoint | None = None  # the newest that meets the witness policy; others set it
        try:
            self._open(folders, clock, limits, random, newest_checkpoint, witnessed)
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        folders: Folders,
        clock: Clock,
        limits: WriterLimits,
        random: Callable[[int], bytes],
        newest_checkpoint: Path | None,
        witnessed: Mapping[str, str],
    ) -> None:
        self.tree = Tree(scratch=self._scratch)
        self.stored = StoredEntries(self.journal, self._keytree, self._scratch)
        self.recorder = Recorder(
            self.origin,
            self._keytree,
            self.tree,
            Sealer(random),
            self._keys.ticket,
            clock,
            limits.records,
            self.journal,
            lambda item, signed: answer_again(self.recorder, self.stored, item, signed),
        )
        claims, scribe = self.recorder.idempotency, self.recorder.scribe
        self.custody = Custody(self._keytree, self._book, scribe.last_leaf, claims.forget)
        reader = RecordReader(self.journal, self.stored, self.recorder)
        self.records = RecordReads(self.lock, self.stored, self.recorder, reader, self)
        self.publisher = Publisher(folders.tlog, self.tree, self.stored.leaf_bytes, self._faults.tiles_written)
        replay = Replay(self.recorder, self.stored, self.tree)
        try:
            cut = self.journal.scan(replay.visit)
        except FrameInvalid as invalid:
            raise JournalCorrupt(f"{folders.journal}: a whole frame is not valid: {invalid}") from None
        for published in (CHECKPOINT, COSIGNED):
            check_published(folders.tlog / published, self._keys.signer.verifier, self.tree)
        if newest_checkpoint:
            check_newest(newest_checkpoint, self._keys.signer.verifier, self.tree)
        for witness, note in witnessed.items():
            check_witnessed(witness, note, self._keys.signer.verifier, self.tree)
        behind = check_clock(clock.now_ms(), self.stored.newest_ms(), limits.clock_behind_seconds)
        mark_format(folders.audit)
        clean = replay.stopped_cleanly
        self.journal.start(anew=not clean)
        replay.finish(clock.now_ms())
        self.custody.reopen(self.recorder.acts)
        repaired = self.publisher.rebuild(self.tree.size)
        self._commit_started(started(self.recorder, self.journal, clock, clean, cut, repaired, behind))

    def _commit_started(self, first: Control) -> None:
        backup, room = restored_from(self._folders.audit), self.room.look()
        self._sign()
        restored = None if backup is None else Control("restored", backup)
        self.commit([each for each in (first, restored, room) if each])
        self.publish()
        if backup is not None:
            note_recorded(self._folders.audit)

    def heartbeat(self) -> Control:
        """What a log in which nothing else happens says of itself."""
        with self.lock:
            open_records = len(self.recorder.open)
        return Control(HEARTBEAT, {"open_records": open_records, "clock": self._clock.kept()})

    def commit(self, items: Sequence[Item]) -> list[Outcome | Exception]:
        """Appends the items as one group with one fdatasync, extends the tree, and answers every item.

        An item that is refused or unsound gets its exception as its answer. What this method itself raises means
        that durability is unknown: nothing of the group may be acknowledged, and the process has to end.
        """
        group = self.prepare(items)
        return self.settle(group, self.make_durable(group))

    # The three steps of a commit, one group at a time. The second waits for the disk and holds no lock meanwhile.

    def prepare(self, items: Sequence[Item]) -> Group:
        with self.lock:
            plans = [self._plan(item) for item in items]
        entries = [entry for plan in plans if isinstance(plan, Plan) for entry in plan.entries]
        return Group(plans, entries, self.journal.encoded(entries))

    def make_durable(self, group: Group) -> Durable:
        if not group.entries:
            return Durable([], 0.0)
        self._spare.writing(self.custody.flush)
        self._faults.appending()
        began = time.perf_counter()
        locations = self.journal.append(group.frames)
        seconds = time.perf_counter() - began
        self._faults.synced()
        return Durable(locations, seconds)

    def settle(self, group: Group, durable: Durable) -> list[Outcome | Exception]:
        locations, seconds = durable
        if group.entries:
            self._observer.group_committed(group.entries, seconds)
        with self.lock:
            self._extend(group.plans, locations)
            # Nobody is given a checkpoint before the next END or REFUSED: until then none is signed.
            if any(entry.kind in _WITH_RECEIPT for entry in group.entries):
                self._sign()
            answers = [self._answer(plan) for plan in group.plans]
        self._observer.answered(answers)
        return answers

    def _plan(self, item: Item) -> Plan | Exception:
        try:
            return self.recorder.plan(item)
        except (AppendRefused, CustodyRefused) as refused:
            return refused

    def _extend(self, plans: Sequence[Plan | Exception], locations: Sequence[int]) -> None:
        located = iter(locations)
        for plan in plans:
            if isinstance(plan, Exception):
                continue
            for entry in plan.entries:
                location = next(located)
                if entry.leaf:
                    self.tree.append(leaf_hash(entry.leaf))
                    self.stored.add_leaf(location, entry.leaf)
                if plan.place:
                    self.recorder.boots.located(*plan.place, location)

    @property
    def checkpoint(self) -> SignedCheckpoint:
        """Of all that is durable. It is signed when it is asked for: nothing is signed before it is durable."""
        with self.lock:
            if self._checkpoint.size != self.tree.size:
                self._sign()
            return self._checkpoint

    def _sign(self) -> None:
        self._checkpoint = sign_checkpoint(self._keys.signer, self.tree.size, self.tree.root())

    def _answer(self, plan: Plan | Exception) -> Outcome | Exception:
        if isinstance(plan, Exception):
            return plan
        try:
            return plan.answer(self._checkpoint)
        except Exception as error:
            return error

    # --- what is read beside `records`, from any thread ---------------------------------------------------------------

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Proof that the log of `size` entries begins with that of `old`. IndexError where it never had so many."""
        with self.lock:
            return self.tree.consistency(old, size)

    def open_under(self, key_ids: Collection[str]) -> int:
        """How many open records these keys seal."""
        with self.lock:
            return sum(record.key_id in key_ids for record in self.recorder.open.values())

    def time_of(self, leaf_index: int) -> int:
        """Unix milliseconds; of a leaf that is not durable yet, or of none, now."""
        with self.lock:
            durable = self.stored.leaf_count
        found = self.stored.readable(leaf_index) if 0 <= leaf_index < durable else None
        return found.time_ms if found else self._clock.now_ms()

    def checkpoint_of(self, size: int) -> SignedCheckpoint:
        """Of the log as it was with so many entries. IndexError where it never had them."""
        with self.lock:
            return sign_checkpoint(self._keys.signer, size, self.tree.past_root(size))

    def pseudonym(self, tenant: str, subject: str) -> str:
        return self._keytree.pseudonym(tenant, subject)

    @property
    def ledger(self) -> Ledger:
        return self.recorder.ledger

    def open_differences(self) -> list[Difference]:
        """Where the workers counted otherwise than the log, and nobody said why. Nothing is exported meanwhile."""
        with self.lock:
            return self.ledger.open_differences()

    @property
    def provider(self) -> KeyProvider:
        """Wraps what else audit keeps sealed."""
        return self._keytree.root

    @property
    def verifier(self) -> Verifier:
        return self._keys.signer.verifier

    @property
    def verifier_key(self) -> str:
        return self.verifier.vkey

    def copied(self) -> LogCopy:
        """Of all that is durable now, to be read from any thread."""
        cosigned = kept_files(self._folders.tlog)  # read first: it covers no more than is signed below
        signed = self.checkpoint
        segments = self.journal.up_to(self.stored.leaf_location(signed.size - 1))
        return LogCopy(self._folders.audit, signed, self.verifier_key, segments, self.publisher.tile, cosigned)

    def publish(self) -> None:
        """Writes tiles, bundles and checkpoint up to what is durable now. One thread at a time."""
        self._spare.writing(lambda: self.publisher.publish(self.checkpoint))

    def stop(self) -> None:
        """A clean stop: a last entry, published, so that nothing is pending."""
        self.commit([Control(STOPPED)])
        self.publish()

    def close(self) -> None:
        self.journal.close()
        self._scratch.close()
