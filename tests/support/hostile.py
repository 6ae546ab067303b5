"""Peers that do not behave, and one that does: the tools of the bad-input tests.

`Raw` is a socket and nothing more: what it sends is what the test says. `Honest` is an ordinary
client in a thread of its own that stores and reads back messages all the while; whatever happens
to others, it must not notice.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pyromq.wire.remoting.frame import CLIENT_LIMITS, SerializeType, decode_command
from tests.support.processes import Answer

ANSWER_SECONDS = 5.0
"""A server that is well answers long before."""


def json_header(
    code: int, fields: Mapping[str, object] | None = None, *, opaque: int = 1, **changed: object
) -> bytes:
    """A header as clients write it; `changed` replaces or adds members."""
    header: dict[str, object] = {
        "code": code,
        "extFields": dict(fields or {}),
        "flag": 0,
        "language": "JAVA",
        "opaque": opaque,
        "serializeTypeCurrentRPC": "JSON",
        "version": 513,
    }
    return json.dumps({**header, **changed}).encode()


def frame(
    header: bytes,
    body: bytes = b"",
    *,
    serialize_type: int = 0,
    length: int | None = None,
    header_length: int | None = None,
) -> bytes:
    """One frame; the lengths may lie."""
    length = 4 + len(header) + len(body) if length is None else length
    header_length = len(header) if header_length is None else header_length
    word = (serialize_type & 0xFF) << 24 | (header_length & 0xFFFFFF)
    return struct.pack(">iI", length, word) + header + body


def request(code: int, fields: Mapping[str, object] | None = None, body: bytes = b"") -> bytes:
    return frame(json_header(code, fields), body)


class Raw:
    """A plain socket to a server."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), ANSWER_SECONDS)
        self._received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_some(self, data: bytes) -> bool:
        """False if the server had enough before everything was sent."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def answer(self) -> Answer | None:
        """The next answer, None if the server closed the connection instead."""
        prefix = self._exactly(8)
        if prefix is None:
            return None
        length, word = struct.unpack(">ii", prefix)
        rest = self._exactly(length - 4)
        assert rest is not None, "the server closed inside an answer"
        header_size = word & 0xFFFFFF
        header, body = rest[:header_size], rest[header_size:]
        if word >> 24 == SerializeType.JSON:
            members = json.loads(header)
            remark, fields = members.get("remark") or "", members.get("extFields") or {}
            return Answer(members["code"], remark, fields, body)
        command = decode_command(word >> 24, header, body, CLIENT_LIMITS)
        return Answer(command.code, command.remark or "", command.ext, body)

    def is_closed(self, within_seconds: float = ANSWER_SECONDS) -> bool:
        """Waits for the server to close; whatever it still says is thrown away."""
        self.socket.settimeout(within_seconds)
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def _exactly(self, size: int) -> bytes | None:
        while len(self._received) < size:
            try:
                data = self.socket.recv(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def talk(address: str, data: bytes) -> Answer | None:
    """What a server says to these bytes on a connection of their own; None: it closed."""
    with Raw(address) as raw:
        raw.send_some(data)
        return raw.answer()


class Honest:
    """Stores messages and reads them back, one after the other, as long as it lives."""

    def __init__(self, address: str, topic: str = "Honest") -> None:
        self._raw = Raw(address)
        self._topic = topic
        self._count = 0
        self._failure: str | None = None
        self._changed = threading.Condition()
        self._is_ending = False
        self._thread = threading.Thread(target=self._live, daemon=True)

    def start(self) -> Self:
        self._thread.start()
        self.go_on(1)
        return self

    @property
    def count(self) -> int:
        """Messages stored and read back."""
        with self._changed:
            return self._count

    def go_on(self, count: int = 20) -> None:
        """Waits until it did so many more rounds, without a single failure."""
        with self._changed:
            wanted = self._count + count
            deadline = time.monotonic() + 4 * ANSWER_SECONDS
            while self._count < wanted and self._failure is None:
                left = deadline - time.monotonic()
                assert left > 0, "the honest client does not get on"
                self._changed.wait(left)
            assert self._failure is None, self._failure

    def stop(self) -> None:
        """Ends it; it must have gone well to the last."""
        self.end()
        assert self._failure is None, self._failure

    def end(self) -> None:
        """Ends it, however it went."""
        with self._changed:
            self._is_ending = True
        self._thread.join(2 * ANSWER_SECONDS)
        self._raw.socket.close()

    def body(self, number: int) -> bytes:
        return b"honest message %d " % number * 10

    def _live(self) -> None:
        try:
            while True:
                with self._changed:
                    if self._is_ending:
                        return
                    number = self._count
                self._round(number)
                with self._changed:
                    self._count += 1
                    self._changed.notify_all()
        except (OSError, AssertionError, ValueError) as error:
            with self._changed:
                self._failure = f"the honest client failed at message {self._count}: {error!r}"
                self._changed.notify_all()

    def _round(self, number: int) -> None:
        self._raw.send(request(310, send_fields(b=self._topic), self.body(number)))
        stored = self._raw.answer()
        assert stored is not None, "connection closed instead of an answer to a send"
        assert stored.code == 0, stored
        assert stored.fields["queueOffset"] == str(number), stored
        self._raw.send(request(11, pull_fields(topic=self._topic, queueOffset=str(number))))
        found = self._raw.answer()
        assert found is not None, "connection closed instead of an answer to a pull"
        assert found.code == 0, found
        assert self.body(number) in found.body, "another message came back"

    def check_all_stored(self, address: str) -> None:
        """Pulls every message again, from a connection of its own."""
        offset = 0
        with Raw(address) as raw:
            while offset < self.count:
                raw.send(request(11, pull_fields(topic=self._topic, queueOffset=str(offset))))
                answer = raw.answer()
                assert answer is not None
                assert answer.code == 0, answer
                next_offset = int(answer.fields["nextBeginOffset"])
                assert next_offset > offset
                for number in range(offset, next_offset):
                    assert self.body(number) in answer.body, f"message {number} is not there"
                offset = next_offset


def send_fields(**changed: object) -> dict[str, object]:
    """Header fields of a send to queue 0."""
    fields: dict[str, object] = {
        "a": "PG", "b": "TopicTest", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1",
        "h": "0", "i": "UNIQ_KEY\x01ID1\x02", "j": "0", "k": "false", "m": "false",
    }  # fmt: skip
    return {name: value for name, value in {**fields, **changed}.items() if value is not None}


def pull_fields(**changed: object) -> dict[str, object]:
    """Header fields of a pull that does not wait."""
    fields: dict[str, object] = {
        "queueId": "0", "maxMsgNums": "32", "sysFlag": "4", "suspendTimeoutMillis": "0",
        "commitOffset": "0", "topic": "TopicTest", "queueOffset": "0", "subVersion": "0",
        "consumerGroup": "CG", "subscription": "*", "expressionType": "TAG",
    }  # fmt: skip
    return {name: value for name, value in {**fields, **changed}.items() if value is not None}


def resident_bytes(pid: int) -> int:
    """Memory a process holds now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmRSS")


@contextlib.contextmanager
def memory_within(pid: int, growth_max: int) -> Iterator[None]:
    """Watches a process while the block runs: it must not grow by more than this."""
    before = resident_bytes(pid)
    peak = before
    is_over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.005):
            peak = max(peak, resident_bytes(pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
    grown = max(peak, resident_bytes(pid)) - before
    assert grown <= growth_max, f"grew by {grown >> 20} MiB, {growth_max >> 20} MiB are allowed"


__all__ = [
    "ANSWER_SECONDS",
    "Honest",
    "Raw",
    "frame",
    "json_header",
    "memory_within",
    "pull_fields",
    "request",
    "resident_bytes",
    "send_fields",
    "talk",
]
