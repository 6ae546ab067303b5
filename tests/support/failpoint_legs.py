"""How each persistence step is brought about: the chains of legs that reach all of them.

The order counts. A new store goes through its first steps once, so those come first, in the order
in which a start does them; what only follows on an interruption comes behind that interruption.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from pyromq.codes import RequestCode
from tests.support.disk_error_run import probe_send
from tests.support.failpoint_run import LAZY_MS, SEGMENT_SIZE, Leg
from tests.support.processes import ask

GONE: Final = "gone"
KEPT_SEGMENTS: Final = 3
WAIT_SECONDS: Final = 5.0

_REMOVAL: Final = {"deleteCommitLogFilesInterval": 0, "deleteConsumeQueueFilesInterval": 0}


# --- what is done to a store before its start -----------------------------------------------------


def _segments(root: Path) -> list[Path]:
    return sorted(path for path in (root / "commitlog").iterdir() if path.stat().st_size)


def _data_end(path: Path) -> int:
    """Behind the last byte that is not zero: a record's properties end in one."""
    return len(path.read_bytes().rstrip(b"\0"))


def _last_with_data(root: Path) -> tuple[Path, int]:
    return next((path, end) for path in reversed(_segments(root)) if (end := _data_end(path)))


def tear_log(root: Path) -> None:
    """The beginning of a record behind the last one, as an interrupted write leaves it."""
    path, end = _last_with_data(root)
    with path.open("r+b") as file:
        head = file.read(40)
        file.seek(end)
        file.write(head)


def shorten_segment(root: Path) -> None:
    """Takes zeros off the last segment's end."""
    path, end = _last_with_data(root)
    for later in _segments(root):
        if later > path:
            later.unlink()
    with path.open("r+b") as file:
        file.truncate(end + 100)


def add_empty_segment(root: Path) -> None:
    """A segment that was created and did not get its length."""
    last = _segments(root)[-1]
    (root / "commitlog" / f"{int(last.name) + SEGMENT_SIZE:020}").touch()


def shorten_queue(root: Path) -> None:
    """A queue with a file of a wrong length: its files go and are made again."""
    queue = root / "consumequeue" / "ordered" / "0"
    queue.mkdir(parents=True, exist_ok=True)
    with (queue / f"{0:020}").open("ab") as file:
        file.truncate(100)


def shorten_index(root: Path) -> None:
    """An index of another shape: it is removed and made again."""
    os.truncate(max((root / "index").iterdir()), 100)


def _healthy(root: Path) -> Path:
    return root.with_name(f"{root.name}.healthy")


def damage_log(root: Path) -> None:
    """Flips one byte of a record in the newest segment; `heal_log` takes it back."""
    (root / "pyromq" / "holes").unlink(missing_ok=True)  # a hole that is new
    if _healthy(root).exists():
        return
    path, end = _last_with_data(root)
    data = path.read_bytes()
    _healthy(root).write_text(path.name)
    _healthy(root).with_suffix(".bytes").write_bytes(data)
    with path.open("r+b") as file:
        file.seek(end // 3)
        file.write(bytes([data[end // 3] ^ 0xFF]))


def heal_log(root: Path) -> None:
    if not _healthy(root).exists():
        return
    name = _healthy(root).read_text()
    data = _healthy(root).with_suffix(".bytes").read_bytes()
    (root / "commitlog" / name).write_bytes(data)
    _healthy(root).unlink()


def forget_failed_sync(root: Path) -> None:
    (root / "pyromq" / "sync-failed").unlink(missing_ok=True)


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


_REPLACE: Final = ("create", "write", "sync", "rename")
_REPLACE_NOTE: Final = ("create", "resize", "write", "sync", "rename")
_SYNC_ERROR: Final = ("run.log.sync.before=3+:EIO",)

FRESH: Final[list[Leg]] = [
    # A new store's first start.
    *_legs("start", "root.sync_dir", "lock.create", "lock.text", "own.create_dir", has_load=False),
    *_legs("start.abort", "create", "resize", "write", has_load=False),
    *_legs("start.dispatch", "create", "write", "sync", has_load=False),
    # An empty checkpoint the next start has to write: without it no start believes our marker.
    Leg("start.checkpoint.create", place="after", has_load=False),
    Leg("start.checkpoint.write", has_load=False),
    *_legs("start", "abort.sync", "checkpoint.sync", "own.sync_dir", has_load=False),
    Leg("start.metadata_root.sync_dir", has_load=False),
    *_legs("start.next_journal", "create", "write", "sync", "remove_tmp", "rename", has_load=False),
    Leg("start.metadata.sync_dir", has_load=False),
    *_legs("start.snapshot", "create", "write", "sync", "remove_tmp", "rename", has_load=False),
    # Clean stops; the first ones have all files to make that follow from log and journal.
    *_legs("stop.queue", "create_dir", "create", "resize", sends=250, is_lazy=True),
    *_legs("stop.index", "create_dir", "create", "resize", is_lazy=True),
    Leg("stop.projection.create_dir", is_lazy=True),
    *_legs("stop.queue", "write", "sync", "sync_dir", is_lazy=True),
    *_legs("stop.index", "write", "sync", "sync_dir", is_lazy=True),
    *_legs("stop", "root.sync_dir", "abort.remove"),
    *_legs("stop.queues", *_REPLACE_NOTE),
    *_legs("stop", "own.sync_dir", "checkpoint.write", "checkpoint.sync"),
    *_legs("stop.dispatch", "write", "sync"),
    *_legs("stop", "journal.write", "journal.sync", "backup.rename"),
    *_legs("stop.projection", "create", "write", "sync", "remove_tmp", "rename", "sync_dir"),
]
RUN: Final[list[Leg]] = [
    # On a new store; a thread makes the log's directory while the metadata begins.
    Leg("run.log.create_dir", has_load=False),
    Leg("run.projection.create_dir", settings={"flushIntervalConsumeQueue": LAZY_MS}),
    *_legs("run.queue", "create_dir", "create", "resize", "write"),
    *_legs("run.index", "create_dir", "create", "resize", "write"),
    *_legs("run", "queue.sync", "index.sync", "queue.sync_dir", "index.sync_dir"),
    *_legs("run.log", "write", "sync", "allocate", "create", "resize", "sync_dir"),
    *_legs("run", "root.sync_dir", "checkpoint.write", "checkpoint.sync"),
    *_legs("run.dispatch", "write", "sync"),
    *_legs("run.queues", *_REPLACE_NOTE),
    Leg("run.own.sync_dir"),
    # The metadata.
    *_legs("run.journal", "write", "sync", "remove"),
    Leg("run.journal.remove", place="before"),
    Leg("start.journal.remove"),
    *_legs("run.next_journal", "create", "write", "sync", "remove_tmp", "rename"),
    *_legs("run.snapshot", "create", "write", "sync", "remove_tmp", "rename", "remove"),
    Leg("run.snapshot.remove", place="before"),
    Leg("start.snapshot.remove"),
    *_legs("run", "metadata.sync_dir", "backup.rename"),
    *_legs("run.projection", "create", "write", "sync", "remove_tmp", "rename", "sync_dir"),
    *_legs("run.queue", "remove", "remove_dir", trigger=delete_topic),
]
REMOVAL: Final[list[Leg]] = [
    # Old segments, and what was made from them; first enough of them come about.
    Leg("run.index.create", hit=3),
    *_legs("run", "log.remove", "index.remove", trigger=remove_old_segments, settings=_REMOVAL),
]
RECOVERY: Final[list[Leg]] = [
    # A start after a kill.
    Leg("run.log.write", hit=20),
    *_legs("start", "journal.write", "journal.sync", "log.sync"),
    *_legs("run", "checkpoint.write"),
    *_legs("start", "queue.zero"),
    Leg("start.log.zero", tear_log),
    Leg("start.log.resize", shorten_segment),
    Leg("start.log.remove", add_empty_segment),
    *_legs("start.queue", "remove_dir", "remove", prepare=shorten_queue),
    Leg("start.index.remove", shorten_index),
    # A torn end of the metadata's journal.
    Leg("run.journal.write", place="within"),
    *_legs("start.cut", "create", "write", "sync", "remove"),
    *_legs("start", "journal.resize"),
    *_legs("run", "cut.remove"),
    # Errors, and what follows on them.
    Leg("run.log.zero", also=("run.log.write.within=3:ENOSPC",)),
    Leg("run.journal.resize", also=("run.journal.write.within=3:ENOSPC",)),
    *_legs("run.sync_failed", "create", "write", also=_SYNC_ERROR),
    Leg("start.log.write"),
    Leg("start.sync_failed.remove"),
    *_legs(
        "start.sync_failed",
        *("create", "write"),
        prepare=forget_failed_sync,
        also=("start.log.sync.before=1:EIO",),
    ),
    # A hole in the log, remembered; then the damage is mended.
    *_legs("start.holes", *_REPLACE_NOTE, prepare=damage_log, is_for_kills=True),
    *_legs("start.queues", *_REPLACE_NOTE, prepare=damage_log, is_for_kills=True),
    Leg("start.holes.remove", heal_log),
]
CHAINS: Final[dict[str, list[Leg]]] = {
    "fresh": FRESH,
    "run": RUN,
    "recovery": RECOVERY,
    "removal": REMOVAL,
}
WITHOUT_DELAYS: Final = frozenset({"removal"})
"""Where segments go, so do delayed messages that nobody can tell from lost ones."""

__all__ = ["CHAINS", "WITHOUT_DELAYS"]
