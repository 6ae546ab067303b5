"""`pyromq store check|repair|export DIR`: looks after a store that no broker has open.

Results go to stdout, as text or with --json as one object; progress and the count of an export go
to stderr. Exit codes: 0 sound (or done), 1 findings, 2 bad arguments, 3 in use, 4 damaged beyond
repair.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from pyromq.app.house import say
from pyromq.app.lock import DirectoryLock
from pyromq.app.settings import engine_settings
from pyromq.config import Source, StoreConfig, file_source, load, set_source
from pyromq.errors import ConfigInvalid, Occupied, StartFailed, StoreFailed
from pyromq.store.check import Looked, Report, check_store
from pyromq.store.engine import StoreSettings
from pyromq.store.export import TIME_MAX_MS, Export, Selection
from pyromq.store.findings import Finding, Severity
from pyromq.store.repair import Repair

SOUND: Final = 0
FINDINGS: Final = 1
BEYOND_REPAIR: Final = 4

LOSING_KINDS: Final = ("segment-missing", "segment-size", "queue-ahead")
"""Mended, they are gone from the next check; what they cost is not."""
ROUNDS_MAX: Final = 3
"""What was mended may show more: queues that end behind a log whose last segment is gone."""

_STORE_HOST: Final = bytes(8)
_BAR_SIZE: Final = 30


def run(options: argparse.Namespace) -> int:
    """Returns the exit code. Raises StartFailed: ConfigInvalid, Occupied."""
    settings = _settings(options)
    verbs = {"check": _check, "repair": _repair, "export": _export}
    try:
        return verbs[options.verb](options, settings)
    except (OSError, StoreFailed) as error:
        raise StartFailed(f"store {options.verb}: {error}") from error


def _settings(options: argparse.Namespace) -> StoreSettings:
    directory = Path(options.directory)
    if not any((directory / name).is_dir() for name in ("commitlog", "config", "pyromq")):
        raise ConfigInvalid(f"{directory} is no store: no commitlog, config or pyromq in it")
    sources = [
        *([file_source(Path(options.config))] if options.config else []),
        set_source(options.set),
        Source("DIR", {"storePathRootDir": str(directory)}),
    ]
    return engine_settings(load(StoreConfig, sources), _STORE_HOST)


# --- the three verbs ----------------------------------------------------------------------------


def _check(options: argparse.Namespace, settings: StoreSettings) -> int:
    with _shared_lock(Path(settings.root)), Bar() as bar:
        looked = check_store(settings, bar.show)
    code = _code(looked.report)
    if options.json:
        _say_json({"exit_code": code, **msgspec.to_builtins(looked.report)})
    else:
        _say_report(looked.report)
    return code


def _repair(options: argparse.Namespace, settings: StoreSettings) -> int:
    root = Path(settings.root)
    if options.dry_run:
        with _shared_lock(root), Bar() as bar:
            looked = check_store(settings, bar.show)
            plan = Repair(settings, looked, _stamp(), bar.show)
        return _said_plan(options, looked, plan)
    lock = DirectoryLock(root)
    try:
        with Bar() as bar:
            looked = check_store(settings, bar.show)
            repair = Repair(settings, looked, _stamp(), bar.show)
        if repair.steps and not _is_confirmed(options, repair):
            return FINDINGS
        done: list[str] = []
        is_whole = not any(one.kind in LOSING_KINDS for one in looked.report.findings)
        with Bar() as bar:
            for _ in range(ROUNDS_MAX):
                if not repair.steps:
                    break
                repair.run(done.append)
                looked = check_store(settings, bar.show)
                repair = Repair(settings, looked, repair.stamp, bar.show)
    finally:
        lock.release()
    after = looked.report
    code = max(_code(after), SOUND if is_whole else FINDINGS)
    if options.json:
        after_json = msgspec.to_builtins(after)
        _say_json({"exit_code": code, "done": done, "moved_to": str(repair.damaged), **after_json})
        return code
    for text in done:
        say(f"done: {text}")
    if repair.damaged.is_dir():
        say(f"what was replaced is in {repair.damaged}")
    _say_report(after)
    return code


def _export(options: argparse.Namespace, settings: StoreSettings) -> int:
    selection = Selection(
        options.topic,
        0 if options.from_time is None else _time(options.from_time, "--from"),
        TIME_MAX_MS if options.to_time is None else _time(options.to_time, "--to"),
    )
    root = Path(settings.root)
    with _shared_lock(root), _output(options.output) as fd, Bar() as bar:
        export = Export(root, settings.segment_size, selection, bar.show)
        for line in export.lines():
            fd.write(line)
        fd.flush()
    regions, size, deleted = export.skipped()
    said = {
        "messages": export.message_count,
        "bad_regions": regions,
        "bad_bytes": size,
        "messages_of_deleted_topics": deleted,
    }
    if options.json:
        sys.stderr.write(msgspec.json.encode(said).decode() + "\n")
    else:
        sys.stderr.write(
            f"{export.message_count} messages exported; {regions} bad places with {size} bytes "
            f"skipped; {deleted} messages of deleted topics left out\n"
        )
    return FINDINGS if regions else SOUND


# --- what is said -------------------------------------------------------------------------------


def _code(report: Report) -> int:
    severities = {finding.severity for finding in report.findings}
    if Severity.FATAL in severities:
        return BEYOND_REPAIR
    return FINDINGS if severities - {Severity.NOTE} else SOUND


def _say_report(report: Report) -> None:
    for finding in report.findings:
        say(_line(finding))
    if report.lost_message_count:
        say(f"{report.lost_message_count} messages are in bad places, for example:")
        for lost in report.lost_messages[:10]:
            say(f"  {lost.topic}/{lost.queue_id} offset {lost.queue_offset}")
    count = sum(finding.severity is not Severity.NOTE for finding in report.findings)
    say(
        f"{report.directory}: {report.message_count} messages in {report.segment_count} segments, "
        f"{'sound' if count == 0 else f'{count} findings'}"
    )


def _line(finding: Finding) -> str:
    place = finding.file if not finding.byte else f"{finding.file}: byte {finding.byte}"
    return (
        f"{finding.severity.value}: {finding.kind}: {place}: {finding.what}\n"
        f"  lost: {finding.lost}\n  mends it: {finding.mends}"
    )


def _said_plan(options: argparse.Namespace, looked: Looked, plan: Repair) -> int:
    code = _code(looked.report)
    texts = [step.text for step in plan.steps]
    if options.json:
        _say_json({"exit_code": code, "plan": texts, **msgspec.to_builtins(looked.report)})
        return code
    for text in texts:
        say(f"would: {text}")
    _say_report(looked.report)
    return code


def _is_confirmed(options: argparse.Namespace, repair: Repair) -> bool:
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigInvalid("store repair changes files: --yes where nobody can be asked")
    for step in repair.steps:
        sys.stderr.write(f"will: {step.text}\n")
    sys.stderr.write(f"What is replaced is moved to {repair.damaged}. Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say_json(said: dict[str, object]) -> None:
    say(msgspec.json.encode(said).decode())


class Bar:
    """Progress on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, what: str, done: int, size: int) -> None:
        """`done` of `size` bytes."""
        if not self._is_terminal:
            return
        part = 1.0 if size == 0 else min(1.0, done / size)
        full = int(part * _BAR_SIZE)
        text = f"{what} [{'#' * full}{'.' * (_BAR_SIZE - full)}] {part:4.0%} of {size >> 20} MiB"
        if text != self._last:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()
            self._last = text


# --- locks, times, files ------------------------------------------------------------------------


@contextmanager
def _shared_lock(root: Path) -> Iterator[None]:
    """Keeps brokers out without writing anything. Without a lock file nobody was ever in."""
    try:
        fd = os.open(root / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 0)
    except OSError as error:
        os.close(fd)
        raise Occupied(f"{root} is in use by another process") from error
    try:
        yield
    finally:
        os.close(fd)


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _time(text: str, option: str) -> int:
    """ms since 1970."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigInvalid(
            f"{option} {text!r} is not accepted: ms since 1970, or 2026-11-27T08:00"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


class _Output:
    """A file or stdout, written in large parts."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, line: bytes) -> None:
        self._parts.append(line)
        self._size += len(line)
        if self._size >= 1 << 16:
            self.flush()

    def flush(self) -> None:
        rest = memoryview(b"".join(self._parts))
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._parts.clear()
        self._size = 0


@contextmanager
def _output(name: str | None) -> Iterator[_Output]:
    if name is None:
        yield _Output(sys.stdout.fileno())
        return
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError as error:
        raise ConfigInvalid(f"--output {name}: there is such a file already") from error
    try:
        yield _Output(fd)
    finally:
        os.close(fd)


__all__ = ["Bar", "run"]
