"""Logs: one line per event on standard error, written by a thread of their own.

Standard error may be a pipe that nobody reads. A server must not stand still because of that, so
events wait in a bounded queue and are dropped (and counted) when it is full. A message is always
one line, whatever a peer put into it; the lines of a traceback are indented.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from typing import Final, TextIO

import msgspec

QUEUE_LENGTH_MAX: Final = 10_000
STOP_TIMEOUT_S: Final = 1.0
"""Longest wait for the last lines when nobody reads them."""
MESSAGE_LENGTH_MAX: Final = 8_192

_LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40}
_CONTROL_SIGNS: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


class TextForm(logging.Formatter):
    """`2026-01-31T10:00:00.123Z INFO  pyromq.namesrv.namesrv: broker …`; `process` stands before
    the place it came from where several processes write to one terminal."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process + " " if process else ""

    def format(self, record: logging.LogRecord) -> str:
        where = self._process + record.name
        line = f"{_timestamp(record)} {_level(record):5} {where}: {_message(record)}"
        traceback = _traceback(self, record)
        return line if traceback is None else line + "\n    " + traceback.replace("\n", "\n    ")


class JsonForm(logging.Formatter):
    """The same as one JSON object."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": _timestamp(record),
            "level": _level(record),
            "logger": record.name,
            "message": _message(record),
            **self._process,
        }
        traceback = _traceback(self, record)
        if traceback is not None:
            event["traceback"] = traceback
        return msgspec.json.encode(event).decode()


class LogWriter(logging.Handler):
    """Formats where the event happens, writes elsewhere."""

    def __init__(self, stream: TextIO, form: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(form)
        self.dropped_count = 0
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUE_LENGTH_MAX)
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped_count += 1

    def stop(self) -> None:
        """Writes what waits, as far as somebody reads it."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        try:
            self._lines.put(None, timeout=STOP_TIMEOUT_S)
        except queue.Full:
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _write_all(self) -> None:
        reported_count = 0
        while (line := self._lines.get()) is not None:
            dropped_count = self.dropped_count
            if dropped_count > reported_count:
                line = f"({dropped_count - reported_count} events were not logged)\n{line}"
                reported_count = dropped_count
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return  # Nobody will ever read it; the queue fills up and drops.


def start_logs(
    level: str = "INFO",
    *,
    is_json: bool = False,
    process: str = "",
    stream: TextIO | None = None,
) -> LogWriter:
    """Sends all events of this process to one writer; `stop` it at the end."""
    form = JsonForm(process) if is_json else TextForm(process)
    writer = LogWriter(stream or sys.stderr, form)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        if isinstance(handler, LogWriter):
            handler.stop()
    root.addHandler(writer)
    set_level(level)
    # Nothing prints where a log call stands, so it need not be looked up.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    return writer


def set_level(level: str) -> None:
    """Changes what is logged: DEBUG, INFO, WARN or ERROR."""
    logging.getLogger().setLevel(_LEVELS[level])


def _level(record: logging.LogRecord) -> str:
    return "WARN" if record.levelno == logging.WARNING else record.levelname


def _timestamp(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03}Z"


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if len(message) > MESSAGE_LENGTH_MAX:
        message = message[:MESSAGE_LENGTH_MAX] + "…"
    return message.translate(_CONTROL_SIGNS).encode("utf-8", "replace").decode()


def _traceback(form: logging.Formatter, record: logging.LogRecord) -> str | None:
    if not record.exc_info or record.exc_info[0] is None:
        return None
    text = form.formatException(record.exc_info)
    lines = (line.translate(_CONTROL_SIGNS) for line in text.split("\n"))
    return "\n".join(lines).encode("utf-8", "replace").decode()


__all__ = [
    "MESSAGE_LENGTH_MAX",
    "QUEUE_LENGTH_MAX",
    "JsonForm",
    "LogWriter",
    "TextForm",
    "set_level",
    "start_logs",
]
