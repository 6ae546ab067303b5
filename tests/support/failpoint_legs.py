"""How each persistence step is brought about: the chains of legs that reach all of them.

The order counts. A new store goes through its first steps once, so those come first, in the order
in which a start does them; what only follows on an interruption comes behind that interruption.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pyromq.codes import RequestCode
from pyromq.store.failed_sync import NOTE
from pyromq.wire.record import decode_record
from tests.support.disk_error_run import probe_send
from tests.support.failpoint_run import LAZY_MS, SEGMENT_SIZE, Leg
from tests.support.processes import ask

GONE: Final = "gone"
KEPT_SEGMENTS: Final = 3
WAIT_SECONDS: Final = 5.0
BLANK_MAGIC: Final = bytes.fromhex("cbd43194")
"""Of what fills the rest of a segment."""
BLANK_SIZE_MAX: Final = 20 * 1024
"""More than a record of the load has, so more than is ever filled."""
_REMOVAL: Final = {"deleteCommitLogFilesInterval": 0, "deleteConsumeQueueFilesInterval": 0}


# --- what is done to a store before its start -----------------------------------------------------


def _segments(root: Path) -> list[Path]:
    return sorted(path for path in (root / "commitlog").iterdir() if path.stat().st_size)


def _data_end(path: Path) -> int:
    """Behind the last byte that is not zero: a record's properties end in one."""
    return len(path.read_bytes().rstrip(b"\0"))


def _last_with_data(root: Path) -> tuple[Path, int]:
    return next((path, end) for path in reversed(_segments(root)) if (end := _data_end(path)))


def _records(segment: bytes) -> list[tuple[int, int]]:
    """Where each message's record begins, and its size."""
    found, at = [], 0
    while at + 8 <= len(segment) and (size := int.from_bytes(segment[at : at + 4])):
        if segment[at + 4 : at + 8] != BLANK_MAGIC:
            found.append((at, size))
        at += size
    return found


def tear_log(root: Path) -> None:
    """The beginning of a record behind the last one, as an interrupted write leaves it."""
    path, end = _last_with_data(root)
    with path.open("r+b") as file:
        head = file.read(40)
        file.seek(end)
        file.write(head)


def shorten_segment(root: Path) -> None:
    """Takes zeros off the end of the segment in which the log goes on."""
    path, end = _last_with_data(root)
    if BLANK_MAGIC in path.read_bytes()[-BLANK_SIZE_MAX:]:  # it was just full
        path, end = path.with_name(f"{int(path.name) + SEGMENT_SIZE:020}"), 0
    for later in _segments(root):
        if later > path:
            later.unlink()
    with path.open("ab") as file:
        file.truncate(end + 100)


def add_empty_segment(root: Path) -> None:
    """A segment that was created and did not get its length."""
    last = _segments(root)[-1]
    (root / "commitlog" / f"{int(last.name) + SEGMENT_SIZE:020}").touch()


def shorten_queue(root: Path) -> None:
    """A queue with a file of a length that none has: its files go and are made again."""
    queue = root / "consumequeue" / "ordered" / "0"
    queue.mkdir(parents=True, exist_ok=True)
    with (queue / f"{0:020}").open("ab") as file:
        file.truncate(90)


def shorten_index(root: Path) -> None:
    """An index of another shape: it is removed and made again."""
    os.truncate(max((root / "index").iterdir()), 100)


def lengthen_crcs(root: Path) -> None:
    """Behind the newest segment's checksums, what belongs to no record."""
    newest = root / "pyromq" / "crc" / _last_with_data(root)[0].name
    newest.parent.mkdir(exist_ok=True)
    with newest.open("ab") as file:  # a kill may have come before there was one
        file.truncate(os.fstat(file.fileno()).st_size + 8192)


def add_crcs(root: Path) -> None:
    """Checksums of a segment that the log does not have."""
    newest = max((root / "pyromq" / "crc").iterdir())
    name = f"{int(_segments(root)[-1].name) + 2 * SEGMENT_SIZE:020}"
    newest.with_name(name).write_bytes(b"")


def remove_derived(root: Path) -> None:
    """Queues, index, and what tells that there were any: the start makes them anew in memory, and
    a stop has all of their files to make."""
    for name in ("consumequeue", "index"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("checkpoint", "pyromq/dispatch", "pyromq/queues", "pyromq/rebuild"):
        (root / name).unlink(missing_ok=True)


def remove_crcs(root: Path) -> None:
    shutil.rmtree(root / "pyromq" / "crc", ignore_errors=True)


def empty_crcs(root: Path) -> None:
    for path in (root / "pyromq" / "crc").iterdir():
        path.unlink()


def forget_marker(root: Path) -> None:
    """As after a stop of Apache's: nothing tells how far queues are safe."""
    (root / "pyromq" / "dispatch").unlink()


def _healthy(root: Path) -> Path:
    return root.with_name(f"{root.name}.healthy")


def _dispatched_to(root: Path) -> int:
    """Up to where in the log queues and index were noted as written."""
    slots = (root / "pyromq" / "dispatch").read_bytes()
    newest = max((slots[:512], slots[512:1024]), key=lambda slot: slot[16:24])
    return int.from_bytes(newest[89:97])


def _queue_of(record: bytes) -> tuple[str, int]:
    found = decode_record(record)
    return found.topic, found.queue_id


def damage_log(root: Path) -> None:
    """Damages what was not noted as dispatched, but for the last record and its queue's others:
    queues end with lost messages, and none lacks some in between, which were a reason to rebuild.
    `heal_log` takes it back."""
    (root / "pyromq" / "holes").unlink(missing_ok=True)  # a hole that is new
    if _healthy(root).exists():
        return
    shutil.copytree(root / "commitlog", _healthy(root))
    last, _ = _last_with_data(root)
    content = last.read_bytes()
    at, size = _records(content)[-1]
    spared = _queue_of(content[at : at + size])
    begin = _dispatched_to(root)
    for path in _segments(root):
        content = path.read_bytes()
        with path.open("r+b") as file:
            for at, size in _records(content):
                is_spared = _queue_of(content[at : at + size]) == spared
                if int(path.name) + at >= begin and not is_spared:
                    file.seek(at + size // 2)
                    byte = file.read(1)[0]
                    file.seek(at + size // 2)
                    file.write(bytes([byte ^ 0xFF]))


def damage_log_and_forget_places(root: Path) -> None:
    """Only the queues' files tell then which places were given: the start has to note it."""
    (root / "pyromq" / "queues").unlink(missing_ok=True)
    damage_log(root)


def heal_log(root: Path) -> None:
    if _healthy(root).exists():
        shutil.rmtree(root / "commitlog")
        _healthy(root).rename(root / "commitlog")


def forget_failed_sync(root: Path) -> None:
    (root / "pyromq" / "sync-failed").unlink(missing_ok=True)


def forget_metadata_note(root: Path) -> None:
    (root / "pyromq" / NOTE).unlink(missing_ok=True)


# --- what is asked of a broker --------------------------------------------------------------------


def delete_topic(address: str, root: Path) -> None:
    """A topic with a message in its queue's file, and its deletion."""
    assert probe_send(address, GONE).code == 0
    deadline = time.monotonic() + WAIT_SECONDS
    while not (root / "consumequeue" / GONE / "0").exists():
        assert time.monotonic() < deadline, "the queue's file never came"
        time.sleep(0.02)
    ask(address, RequestCode.DELETE_TOPIC_IN_BROKER, {"topic": GONE})


def remove_old_segments(address: str, root: Path) -> None:
    """Makes all segments but the newest old, and asks for the removal of what is old."""
    old = time.time() - 100 * 3600
    for path in _segments(root)[:-KEPT_SEGMENTS]:
        os.utime(path, (old, old))
    ask(address, RequestCode.DELETE_EXPIRED_COMMITLOG, {})


# --- the chains -----------------------------------------------------------------------------------


def _legs(prefix: str, *operations: str, **more: object) -> list[Leg]:
    return [Leg(f"{prefix}.{operation}", **more) for operation in operations]  # type: ignore[arg-type]


def _together(*legs: Leg) -> list[Leg]:
    """All but the first go on from there."""
    return [legs[0], *(replace(leg, goes_on=True) for leg in legs[1:])]


_REPLACE: Final = ("create", "write", "sync", "rename")
_REPLACE_NOTE: Final = ("create", "resize", "write", "sync", "rename")
_ANEW: Final[dict[str, Any]] = {"prepare": remove_derived, "sends": 250, "is_lazy": True}
_WAITING: Final[dict[str, Any]] = {"sends": 5, "is_lazy": True}
_HOLE: Final[dict[str, Any]] = {"prepare": damage_log, "is_for_kills": True, "goes_on": True}
_SYNC_ERROR: Final = ("run.log.sync.before=3+:EIO",)
_JOURNAL_ERROR: Final = ("run.journal.sync.before=3+:EIO",)


def _with_lost_places(step: str) -> list[Leg]:
    return [
        Leg("run.dispatch.write", place="before", hit=2, after_sends=20),
        Leg(step, **_HOLE),
        Leg("start.holes.remove", heal_log, goes_on=True),
    ]


FRESH: Final[list[Leg]] = [
    # A new store's first start.
    *_legs("start", "root.sync_dir", "lock.create", "lock.text", "own.create_dir", has_load=False),
    *_legs("start.abort", "create", "resize", "write", has_load=False),
    *_legs("start.dispatch", "create", "write", "sync", has_load=False),
    # An empty checkpoint the next start has to write: without it no start believes our marker.
    Leg("start.checkpoint.create", place="after", has_load=False),
    Leg("start.checkpoint.write", has_load=False, goes_on=True),
    *_legs("start", "abort.sync", "checkpoint.sync", "own.sync_dir", has_load=False),
    Leg("start.metadata_root.sync_dir", has_load=False),
    *_together(
        *_legs(
            "start.next_journal", "create", "write", "sync", "remove_tmp", "rename", has_load=False
        )
    ),
    Leg("start.metadata.sync_dir", has_load=False),
    *_together(
        *_legs("start.snapshot", "create", "write", "sync", "remove_tmp", "rename", has_load=False)
    ),
    # Clean stops; the first ones have all files to make that follow from log and journal.
    Leg("stop.projection.create_dir", is_lazy=True),
    *_legs("stop.queue", "create_dir", "create", "resize", **_ANEW),
    *_legs("stop.index", "create_dir", "create", "resize", **_ANEW),
    *_legs("stop.crc", "write", "sync", "sync_dir", sends=250, is_lazy=True),
    # Those that found no room at the start wait for the stop.
    Leg("stop.crc.create_dir", remove_crcs, ("start.crc.create_dir.before=1+:ENOSPC",), **_WAITING),
    Leg("stop.crc.create", empty_crcs, ("start.crc.create.before=1+:ENOSPC",), **_WAITING),
    *_legs("stop.queue", "write", "sync", "sync_dir", **_ANEW),
    *_legs("stop.index", "write", "sync", "sync_dir", **_ANEW),
    *_legs("stop", "root.sync_dir", "abort.remove", prepare=remove_derived, is_lazy=True),
    *_legs("stop.queues", *_REPLACE_NOTE, prepare=remove_derived, is_lazy=True),
    *_legs("stop", "own.sync_dir", prepare=remove_derived, is_lazy=True),
    *_legs("stop.checkpoint", "write", "sync", prepare=remove_derived, is_lazy=True),
    *_legs("stop.dispatch", "write", "sync", prepare=remove_derived, is_lazy=True),
    *_legs("stop", "journal.write", "journal.sync"),
    Leg("stop.backup.rename", is_after_stop=True),
    *_together(
        *_legs("stop.projection", "create", "write", "sync", "remove_tmp", "rename", "sync_dir")
    ),
]
RUN: Final[list[Leg]] = [
    # On a new store; a thread makes the log's directory while the metadata begins.
    Leg("run.log.create_dir", has_load=False),
    Leg("run.projection.create_dir", settings={"flushIntervalConsumeQueue": LAZY_MS}),
    Leg("run.crc.create_dir"),
    *_legs("run.queue", "create_dir", "create", "resize", "write"),
    *_legs("run.index", "create_dir", "create", "resize", "write"),
    *_legs("run", "queue.sync", "index.sync", "queue.sync_dir", "index.sync_dir"),
    *_legs("run.log", "write", "sync", "allocate", "create", "resize", "sync_dir"),
    *_legs("run.crc", "create", "write", "sync", "sync_dir"),
    *_legs("run", "root.sync_dir", "checkpoint.write", "checkpoint.sync"),
    *_legs("run.dispatch", "write", "sync"),
    *_legs("run.queues", *_REPLACE_NOTE),
    Leg("run.own.sync_dir"),
    # The metadata.
    *_legs("run.journal", "write", "sync", "remove"),
    Leg("run.journal.remove", place="before"),
    Leg("start.journal.remove", goes_on=True),
    *_together(*_legs("run.next_journal", "create", "write", "sync", "remove_tmp", "rename")),
    *_together(*_legs("run.snapshot", "create", "write", "sync", "remove_tmp", "rename", "remove")),
    Leg("run.snapshot.remove", place="before"),
    Leg("start.snapshot.remove", goes_on=True),
    *_legs("run", "metadata.sync_dir", "backup.rename"),
    *_together(
        *_legs("run.projection", "create", "write", "sync", "remove_tmp", "rename", "sync_dir")
    ),
    *_legs("run.queue", "remove", "remove_dir", trigger=delete_topic),
]
REMOVAL: Final[list[Leg]] = [
    # Old segments, and what was made from them; first enough of them come about.
    Leg("run.index.create", hit=3, is_needed=True),
    *_legs(
        "run",
        *("log.remove", "crc.remove", "index.remove"),
        trigger=remove_old_segments,
        settings=_REMOVAL,
    ),
]
RECOVERY: Final[list[Leg]] = [
    # A start after a kill.
    Leg("run.log.write", hit=20, is_needed=True),
    *_legs("start", "journal.write", "journal.sync", "log.sync"),
    Leg("run.checkpoint.write"),
    Leg("start.queue.zero", goes_on=True),
    Leg("start.log.zero", tear_log),
    Leg("start.log.resize", shorten_segment),
    Leg("start.log.remove", add_empty_segment),
    *_legs("start.queue", "remove_dir", "remove", prepare=shorten_queue),
    Leg("start.index.remove", shorten_index),
    # Queues that are made anew in the background; then nothing of ours is believed any more.
    *_legs("start.rebuild", *_REPLACE_NOTE, prepare=shorten_queue),
    Leg("run.rebuild.remove", shorten_queue),
    Leg("run.rebuild.remove", shorten_queue, place="before"),
    Leg("start.rebuild.remove", forget_marker, goes_on=True),
    # Checksums of records: some are missing, some belong to no record.
    *_legs("start.crc", "resize", "sync", prepare=lengthen_crcs),
    *_legs("start.crc", "remove", "sync_dir", prepare=add_crcs),
    *_legs("start.crc", "write", "create_dir", "create", prepare=remove_crcs),
    # A torn end of the metadata's journal.
    Leg("run.journal.write", place="within"),
    *_legs("start.cut", "create", "write", "sync", "remove", goes_on=True),
    Leg("start.journal.resize", goes_on=True),
    Leg("run.cut.remove", goes_on=True),
    # Errors, and what follows on them.
    Leg("run.log.zero", also=("run.log.write.within=3:ENOSPC",)),
    Leg("run.journal.resize", also=("run.journal.write.within=3:ENOSPC",)),
    Leg("run.sync_failed.create", also=_SYNC_ERROR),
    Leg("run.sync_failed.write", also=_SYNC_ERROR, goes_on=True),
    *_legs("start.segment_again", "create", "resize", "remove", "write", "sync", goes_on=True),
    *_legs("start", "log.rename", "log.sync_dir", "sync_failed.remove", goes_on=True),
    *_legs(
        "start.sync_failed",
        *("create", "write"),
        goes_on=True,
        prepare=forget_failed_sync,
        also=("start.log.sync.before=1:EIO",),
    ),
    Leg("run.metadata_note.create", also=_JOURNAL_ERROR),
    Leg("run.metadata_note.write", also=_JOURNAL_ERROR, goes_on=True),
    Leg("start.metadata_note.remove", goes_on=True),
    *_legs(
        "start.metadata_note",
        *("create", "write"),
        prepare=forget_metadata_note,
        also=("start.journal.sync.before=1:EIO",),
    ),
    *_legs(
        "stop.metadata_note",
        *("create", "write"),
        prepare=forget_metadata_note,
        also=("stop.journal.sync.before=1:EIO",),
    ),
    # A hole in what no note tells of yet, remembered; then the damage is mended.
    Leg("run.dispatch.write", place="before", hit=2, after_sends=20),
    *_legs("start.holes", *_REPLACE_NOTE, **_HOLE),
    *_legs("start.queues", *_REPLACE_NOTE, **{**_HOLE, "prepare": damage_log_and_forget_places}),
    *_legs("start.log", "write", **_HOLE),
    Leg("start.holes.remove", heal_log, goes_on=True),
    # What takes the places of damaged messages in their queues; each in a start that is the first.
    *_with_lost_places("start.queue.write"),
    *_with_lost_places("start.index.write"),
]
CHAINS: Final[dict[str, list[Leg]]] = {
    "fresh": FRESH,
    "run": RUN,
    "recovery": RECOVERY,
    "removal": REMOVAL,
}
RARE: Final = frozenset(
    f"start.{kind}.{operation}" for kind in ("queue", "index") for operation in ("create", "resize")
)
"""Nothing brings them about for sure: a file that was just full when the process was killed."""
WITHOUT_DELAYS: Final = frozenset({"removal"})
"""Where segments go, so do delayed messages that nobody can tell from lost ones."""

__all__ = ["CHAINS", "RARE", "WITHOUT_DELAYS"]
