"""What can be wrong with a store, what that costs, and what mends it: one table.

The walks (native) and the metadata check name a sort of damage; everything people read about it,
and whether `repair` acts on it, is looked up here.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import msgspec


class Severity(StrEnum):
    """How bad it is, mildest first."""

    NOTE = "note"
    """Nothing is wrong: the next start completes it."""
    DERIVED = "derived"
    """Can be made anew or cleared up without loss: `repair` does."""
    LOST = "lost"
    """Something is gone for good; the broker serves everything else."""
    FATAL = "fatal"
    """No broker starts on it, and `repair` cannot help."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    kind: str
    severity: Severity
    file: str
    byte: int
    """First byte of `file` it concerns."""
    size_bytes: int
    """How many, 0 where that means nothing."""
    what: str
    lost: str
    mends: str
    topic: str | None = None
    queue_id: int | None = None
    count: int = 0
    """How many messages, units or entries; 0 where that means nothing."""


class _Kind(NamedTuple):
    severity: Severity
    lost: str
    mends: str


_REBUILT: Final = "repair: made anew from the log"
_CRCS: Final = "repair: made anew; what is known of bad records is kept"
_MOVED: Final = "repair: moved aside"
_NOTHING: Final = "nothing"
_QUEUE: Final = _Kind(Severity.DERIVED, _NOTHING, _REBUILT)

KINDS: Final[dict[str, _Kind]] = {
    "bad-record": _Kind(
        Severity.LOST,
        "the messages in these bytes",
        "nothing: the broker serves everything else; Apache's server would cut the log here",
    ),
    "torn-tail": _Kind(
        Severity.DERIVED,
        "a write that was interrupted, and that nobody was promised",
        "repair, or the next start: the bytes are cleared",
    ),
    "unreadable": _Kind(
        Severity.LOST, "what the disk does not give back", "nothing: look at the disk"
    ),
    "stray-file": _Kind(
        Severity.DERIVED, "nothing; Apache's server refuses to start beside it", _MOVED
    ),
    "segment-size": _Kind(
        Severity.DERIVED,
        "the messages that were in missing bytes",
        "repair: brought to its length with zeros; what is too much is kept aside",
    ),
    "segment-missing": _Kind(
        Severity.DERIVED,
        "all messages that were in it",
        "bring it back from a copy; repair: zeros in its place, so that the rest can be served",
    ),
    "segment-misplaced": _Kind(
        Severity.FATAL, "unknown", "give the file its right name: its first record says where it is"
    ),
    "queue-missing": _QUEUE,
    "queue-file-missing": _QUEUE,
    "queue-size": _QUEUE,
    "queue-name": _QUEUE,
    "queue-stray-file": _QUEUE,
    "queue-behind": _QUEUE,
    "queue-ahead": _Kind(
        Severity.DERIVED, "the messages in places the log no longer has", _REBUILT
    ),
    "queue-hole": _QUEUE,
    "queue-wrong": _QUEUE,
    "index-stray-file": _QUEUE,
    "index-size": _Kind(
        Severity.DERIVED,
        _NOTHING,
        "--set maxHashSlotNum and maxIndexNum if the broker has its own; else repair: made anew",
    ),
    "index-header": _QUEUE,
    "index-chain": _QUEUE,
    "index-slots": _QUEUE,
    "index-slots-newest": _QUEUE,
    "index-wrong": _QUEUE,
    "index-behind": _QUEUE,
    "crc-damaged": _Kind(
        Severity.DERIVED, "checksums of whole records: their bodies still have one", _CRCS
    ),
    "crc-digest": _Kind(
        Severity.DERIVED, "how it can be known that no checksum was changed", _CRCS
    ),
    "crc-stray": _Kind(Severity.DERIVED, _NOTHING, _MOVED),
    "crc-missing": _Kind(
        Severity.NOTE, _NOTHING, "repair: made from records as they are now, if they seem whole"
    ),
    "unclean-stop": _Kind(Severity.NOTE, _NOTHING, "the next start completes queues and index"),
    "checkpoint": _Kind(
        Severity.DERIVED,
        "how far queues and index were safe",
        "repair: replaced by one that trusts nothing, so that the next start looks at all",
    ),
    "marker": _Kind(
        Severity.DERIVED,
        "how far queues and index were safe",
        "repair: moved aside, the next start looks at more of the log",
    ),
    "queue-notes": _Kind(
        Severity.DERIVED,
        "which topics were deleted: rebuilt queues may hold their old messages",
        "repair: moved aside, the next start writes it anew",
    ),
    "newer-format": _Kind(
        Severity.FATAL, _NOTHING, "start the newer version of this program that wrote it"
    ),
    "metadata-torn": _Kind(
        Severity.NOTE, "a write that was interrupted", "the next start sets it aside"
    ),
    "metadata-damaged": _Kind(
        Severity.DERIVED,
        "changes in the damaged bytes, unless config/*.json has them",
        "repair: every sound change, completed by config/*.json, becomes a new generation; the old "
        "files are moved aside",
    ),
    "metadata-gone": _Kind(
        Severity.FATAL,
        "topics, groups and offsets",
        "bring a copy back, or move the file away to begin with none",
    ),
    "config-unreadable": _Kind(
        Severity.DERIVED,
        "nothing while the journal or a .bak has the same",
        "repair: moved aside; the next start writes what it knows anew",
    ),
    "config-foreign": _Kind(
        Severity.NOTE,
        _NOTHING,
        "the next start takes it over: another program wrote it",
    ),
}


def make(
    kind: str,
    file: Path,
    what: str,
    *,
    byte: int = 0,
    size_bytes: int = 0,
    queue: tuple[str, int] | None = None,
    count: int = 0,
    is_note: bool = False,
) -> Finding:
    """A finding with the words its kind has. `is_note`: here it is nothing to worry about."""
    about = KINDS[kind]
    topic, queue_id = queue or (None, None)
    return Finding(
        kind=kind,
        severity=Severity.NOTE if is_note else about.severity,
        file=str(file),
        byte=byte,
        size_bytes=size_bytes,
        what=what,
        lost=_NOTHING if is_note else about.lost,
        mends="the next start completes it" if is_note else about.mends,
        topic=topic,
        queue_id=queue_id,
        count=count,
    )


__all__ = ["KINDS", "Finding", "Severity", "make"]
