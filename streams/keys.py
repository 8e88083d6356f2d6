"""Every name in Redis. Nothing else in the suite writes one."""

from __future__ import annotations

from urllib.parse import quote

# Prefixes of keys about one request, one gateway boot or one seat; the scripts get them from here too.
QUEUED = "sr:queued:"  # {request} → stream entry id: the job is in, or was; refuses a second copy
CLAIM = "sr:claim:"  # {request} → hash: epoch, work, entry, until (ms), owner
TOKENS = "sr:tok:"  # {request} → list: one frame an item, position = n
ENDED = "sr:ended:"  # {request} → epoch that ended it; refuses a replay until the ticket is void
CANCELLED = "sr:cancel:"  # {request} → 1: nobody waits
GATEWAY = "sr:gateway:"  # {gateway boot} → 1: its lease
OUT = "sr:out:"  # {gateway boot} → stream of step frames
WORKER = "sr:worker:"  # {seat} → serialised Worker
WORKERS = "sr:workers"  # sorted set: seat by time last seen, ms
LEFT = "sr:left"  # hash: work stream → how many of its jobs have ended
DEAD = "sr:dead"  # stream of jobs that were given up: names and counts, no content
CANCELS = "sr:cancels"  # stream of Cancel messages, read by every worker

GROUP = "workers"  # the one consumer group of every work stream
CLASSES = ("interactive", "standard", "batch")
BUCKETS = 16  # that the tenants of a class are spread over, unless the workers are told otherwise
MOST_BUCKETS = 64

COST_FIELD = "cost"  # of an entry of sr:work: tokens of prompt and longest answer
FRAME_FIELD = b"f"  # of an entry of sr:out
CANCEL_FIELD = b"c"  # of an entry of sr:cancels


def work(model: str, priority: str, bucket: int) -> str:
    """The stream that a bucket of tenants has in a class of a model."""
    return f"sr:work:{quote(model, safe='')}:{priority}:{bucket}"


def work_streams(model: str, buckets: int) -> dict[str, tuple[str, ...]]:
    """Class → stream of each bucket; classes in the order of urgency."""
    return {priority: tuple(work(model, priority, bucket) for bucket in range(buckets)) for priority in CLASSES}
