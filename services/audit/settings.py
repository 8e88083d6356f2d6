"""What audit can be told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chassis.settings import StackSettings
from services.audit.custody.retention import Retention, RetentionInvalid, read_retention
from services.audit.journal.journal import MIB, JournalLimits
from services.audit.keys import KeySource
from services.audit.opening import tolerance
from services.audit.records.planning import RecordLimits
from services.audit.sealing.file_provider import PROVIDER, FileProvider
from services.audit.sealing.moving_provider import MovingProvider
from services.audit.sealing.provider import ProviderKeys
from services.audit.sequencer import SequencerLimits
from services.audit.witnesses.policy import PolicyInvalid, WitnessPolicy, read_policy, unreachable
from services.audit.writer import Folders, WriterLimits

SPARE_PART = (
    4  # of the reserve, as much again for what is beside the journal: 0.3 KB of tiles for a leaf of 0.6 and more
)


@dataclass(frozen=True, kw_only=True)
class AuditSettings(StackSettings):
    """STRONGROOM_AUDIT_…"""

    segment_mib: int = 64  # 1 to 4,096; a journal segment's size
    reserve_mib: int = 32  # 1 to 4,096; of disk, set aside so that accepted requests can end when the rest is full
    min_free_mib: int = 256  # 0 to 1,048,576; of disk, under which no new request is accepted
    max_item_kib: int = 6_144  # 64 to 8,192; one entry's text and content
    max_open_records: int = 10_000  # 1 to 1,000,000
    max_recent_records: int = 100_000  # 1,000 to 10,000,000; found without reading the journal
    max_idempotency_keys: int = 100_000  # 1 to 10,000,000; a tenant's, in 24 hours
    max_waiting_items: int = 8_192  # 1 to 1,000,000
    clock_may_be_behind: bool = False  # the newest entry, by more than an hour: for one start, when that one was wrong
    publish_seconds: float = 1.0  # 0.01 to 60; at most one checkpoint file in this time
    heartbeat_seconds: float = 60.0  # 1 to 3,600; an entry that says that audit lives, and how its clock is kept
    index_gives_way_seconds: float = 300.0  # 0 to 86,400; behind by more, the index no longer gives way to all else
    newest_checkpoint: Path | None = None  # a file: the newest checkpoint kept elsewhere, which the log must hold
    key_provider: str = "file"  # of the key that wraps all others: file, or pkcs11
    hsm_module: Path | None = None  # the vendor's library
    hsm_token: str = ""  # the token's label
    hsm_pin_file: Path | None = None  # a file of mode 0600
    hsm_label: str = "strongroom-audit"  # of the keys; each log of a token has its own
    retention_file: Path | None = None  # YAML: retention classes, each of 180 days or more; unset, all is kept for 180
    witness_policy: Path | None = None  # a file (c2sp.org/tlog-policy): which witnesses are asked, and must cosign
    witness_seconds: float = 60.0  # 1 to 120; asked at least so often, also when the log does not grow

    def check(self) -> list[str]:
        bounds: dict[str, tuple[float, float]] = {
            "segment_mib": (1, 4_096),
            "reserve_mib": (1, 4_096),
            "min_free_mib": (0, 1_048_576),
            "max_item_kib": (64, 8_192),
            "max_open_records": (1, 1_000_000),
            "max_recent_records": (1_000, 10_000_000),
            "max_idempotency_keys": (1, 10_000_000),
            "max_waiting_items": (1, 1_000_000),
            "publish_seconds": (0.01, 60),
            "heartbeat_seconds": (1, 3_600),
            "index_gives_way_seconds": (0, 86_400),
            "witness_seconds": (1, 120),
        }
        problems = [
            f"STRONGROOM_AUDIT_{name.upper()}: {getattr(self, name)} is not between {low} and {high}"
            for name, (low, high) in bounds.items()
            if not low <= getattr(self, name) <= high
        ]
        problems += self._problems_of_keys()
        if self.newest_checkpoint and not self.newest_checkpoint.is_file():
            problems.append(
                f"STRONGROOM_AUDIT_NEWEST_CHECKPOINT: {self.newest_checkpoint} is not a file: put the newest "
                "checkpoint that you kept there, or unset it"
            )
        try:
            problems += [] if self.policy is None else unreachable(self.policy, self.insecure)
        except (OSError, PolicyInvalid) as invalid:
            problems.append(f"STRONGROOM_AUDIT_WITNESS_POLICY: {self.witness_policy}: {invalid}")
        try:
            _ = self.retention
        except (OSError, RetentionInvalid) as invalid:
            problems.append(f"STRONGROOM_AUDIT_RETENTION_FILE: {self.retention_file}: {invalid}")
        return problems

    def _problems_of_keys(self) -> list[str]:
        if self.key_provider not in ("file", "pkcs11"):
            return [f"STRONGROOM_AUDIT_KEY_PROVIDER: {self.key_provider} is neither file nor pkcs11"]
        needed = {
            "MODULE": self.hsm_module and self.hsm_module.is_file(),
            "TOKEN": self.hsm_token,
            "PIN_FILE": self.hsm_pin_file,
            "LABEL": self.hsm_label,
        }
        return [
            f"STRONGROOM_AUDIT_HSM_{name}: the provider pkcs11 needs it"
            + (", the path of the vendor's library" if name == "MODULE" else "")
            for name, there in needed.items()
            if self.key_provider == "pkcs11" and not there
        ]

    @property
    def key_source(self) -> KeySource | None:
        """None: the keys are files."""
        if self.key_provider == "file":
            return None
        return self._token_keys

    def _token_keys(self, new: bool) -> ProviderKeys:
        from services.audit.sealing.pkcs11_provider import Pkcs11Provider, Token  # loads a library of C

        assert self.hsm_module and self.hsm_pin_file
        token = Token(self.hsm_module, self.hsm_token, self.hsm_pin_file, self.hsm_label)
        taken, folder = Pkcs11Provider(token, new=new), self.keys_folder
        # What files still wrap is opened with them until a rotation has put it under a key of the token.
        left = any(folder.glob(f"{PROVIDER}*")) and not new
        return MovingProvider(FileProvider(folder), taken) if left else taken

    @cached_property
    def retention(self) -> Retention:
        return read_retention(self.retention_file) if self.retention_file else Retention()

    @cached_property
    def policy(self) -> WitnessPolicy | None:
        return read_policy(self.witness_policy) if self.witness_policy else None

    @property
    def folders(self) -> Folders:
        return Folders(self.home / "audit", self.keys_folder)

    @property
    def room_bytes(self) -> int:
        """Without so much space audit does not start: what the journal takes at once, and as much again."""
        return 2 * min(self.segment_mib, 4) * MIB

    @property
    def writer_limits(self) -> WriterLimits:
        return WriterLimits(
            journal=JournalLimits(
                segment_bytes=self.segment_mib * MIB,
                chunk_bytes=min(self.segment_mib, 4) * MIB,
                reserve_bytes=self.reserve_mib * MIB,
                must_be_free_bytes=self.min_free_mib * MIB,
            ),
            spare_bytes=max(self.reserve_mib // SPARE_PART, 1) * MIB,
            records=RecordLimits(
                item_bytes=self.max_item_kib * 1024,
                open_records=self.max_open_records,
                recent_records=self.max_recent_records,
                idempotency_keys_per_tenant=self.max_idempotency_keys,
            ),
            clock_behind_seconds=tolerance(self.clock_may_be_behind),
        )

    @property
    def sequencer_limits(self) -> SequencerLimits:
        return SequencerLimits(
            waiting_items=self.max_waiting_items,
            publish_seconds=self.publish_seconds,
            heartbeat_seconds=self.heartbeat_seconds,
        )
