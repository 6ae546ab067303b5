"""Log lines, and what happens when nobody reads them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator

import pytest

from pyromq.observe import logs
from pyromq.observe.logs import MESSAGE_LENGTH_MAX, LogWriter, set_level, start_logs

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\w+) +([\w.]+): (.*)")

log = logging.getLogger("pyromq.sample")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    flags = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags


def written(stream: io.StringIO, writer: LogWriter) -> list[str]:
    writer.stop()
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("is_json", [False, True])
def test_of_several_processes_each_line_says_whose_it_is(is_json: bool) -> None:
    stream = io.StringIO()
    writer = start_logs(stream=stream, process="broker-b", is_json=is_json)
    log.info("late")
    (line,) = written(stream, writer)
    if is_json:
        assert json.loads(line)["process"] == "broker-b"
    else:
        assert line.endswith(" INFO  broker-b pyromq.sample: late")


def test_an_event_is_a_line_with_time_level_and_name() -> None:
    stream = io.StringIO()
    writer = start_logs(stream=stream)
    log.info("broker %s at %s", "a", "h:1")
    log.warning("late")
    log.debug("not logged")
    first, second = written(stream, writer)
    match = LINE.fullmatch(first)
    assert match is not None
    assert match.groups() == ("INFO", "pyromq.sample", "broker a at h:1")
    assert " WARN  pyromq.sample: late" in second


def test_whatever_a_peer_sent_stays_in_one_line() -> None:
    stream = io.StringIO()
    writer = start_logs(stream=stream)
    log.info("topic %s", "a\nfake line\r\x1b[31m\u2028\ud800")
    (line,) = written(stream, writer)
    assert line.endswith("topic a\\nfake line\\r\\x1b[31m\\x2028?")


def test_a_long_message_is_cut() -> None:
    stream = io.StringIO()
    writer = start_logs(stream=stream)
    log.info("x" * 100_000)
    (line,) = written(stream, writer)
    assert len(line) < MESSAGE_LENGTH_MAX + 100


def test_a_traceback_follows_indented() -> None:
    stream = io.StringIO()
    writer = start_logs(stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("it broke")
    line, *rest = written(stream, writer)
    assert line.endswith("ERROR pyromq.sample: it broke")
    assert rest[-1] == "    ValueError: why"
    assert all(item.startswith("    ") for item in rest)


def test_events_can_be_json() -> None:
    stream = io.StringIO()
    writer = start_logs(is_json=True, stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("topic %s", 'quo"te\n')
    (line,) = written(stream, writer)
    event = json.loads(line)
    assert event.keys() == {"time", "level", "logger", "message", "traceback"}
    assert (event["level"], event["logger"]) == ("ERROR", "pyromq.sample")
    assert event["message"] == 'topic quo"te\\n'
    assert event["traceback"].endswith("ValueError: why")


def test_the_level_can_change_while_running() -> None:
    stream = io.StringIO()
    writer = start_logs("ERROR", stream=stream)
    log.warning("one")
    set_level("DEBUG")
    log.debug("two")
    assert len(written(stream, writer)) == 1


def test_a_second_start_replaces_the_first() -> None:
    old, new = io.StringIO(), io.StringIO()
    start_logs(stream=old)
    log.info("one")
    writer = start_logs(stream=new)
    log.info("two")
    assert len(written(new, writer)) == 1
    assert len(old.getvalue().splitlines()) == 1


def test_a_reader_that_does_not_read_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUE_LENGTH_MAX", 3)
    monkeypatch.setattr(logs, "STOP_TIMEOUT_S", 0.01)
    reader, end = os.pipe()
    with os.fdopen(end, "w") as stream:
        writer = start_logs(stream=stream)
        for _ in range(200):
            log.info("x" * 4_000)
        assert writer.dropped_count > 0
        writer.stop()
        lines: list[str] = []
        while len(lines) < 5:
            lines += os.read(reader, 1 << 16).decode().split("\n")
        os.close(reader)
    assert any("pyromq.sample: xxx" in line for line in lines)


def test_dropped_events_are_counted_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    writer = start_logs(stream=stream)
    writer.dropped_count = 7
    log.info("after")
    note, line = written(stream, writer)
    assert note == "(7 events were not logged)"
    assert line.endswith("after")


def test_a_closed_stream_stops_the_writer_only() -> None:
    stream = io.StringIO()
    writer = start_logs(stream=stream)
    stream.close()
    log.info("into nothing")
    writer.stop()
    log.info("still alive")
