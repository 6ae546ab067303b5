"""Server processes of the tests: start, wait for the line that says it serves, stop or kill.

Waiting is by event: one thread per process reads its output, so nobody sleeps to see whether a
server is up. What it printed last is part of every failure.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

TAIL_LINES = 60
KILL_SECONDS = 20.0


class ServerFailed(Exception):
    """A server did not start, stop or answer as it must."""


class ServerProcess:
    """A child process whose standard output and error are read line by line while it runs."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment) if environment is not None else None,
            cwd=cwd,
            text=True,
            errors="replace",
        )
        self._changed = threading.Condition()
        self._open_streams = 2
        self._stdout: list[str] = []
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, True), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, False), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], is_stdout: bool) -> None:
        for line in stream:
            with self._changed:
                self._tail.append(line.rstrip("\n"))
                if is_stdout:
                    self._stdout.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._open_streams -= 1
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def stdout_lines(self) -> list[str]:
        with self._changed:
            return list(self._stdout)

    def tail(self) -> str:
        with self._changed:
            return "\n".join(self._tail)

    def await_line(self, containing: str, timeout_seconds: float) -> str:
        """The first line of standard output with this text; fails when it can no longer come."""
        deadline = time.monotonic() + timeout_seconds
        seen = 0
        with self._changed:
            while True:
                for line in self._stdout[seen:]:
                    if containing in line:
                        return line
                seen = len(self._stdout)
                left = deadline - time.monotonic()
                if self._open_streams == 0 or left <= 0:
                    break
                self._changed.wait(left)
        reason = "ended" if self._process.poll() is not None else f"{timeout_seconds:.0f} s passed"
        raise ServerFailed(
            f"{self.name}: {reason} without {containing!r} on stdout; "
            f"exit code {self._process.poll()}; last output:\n{self.tail()}"
        )

    def stop(self, timeout_seconds: float = KILL_SECONDS) -> int:
        """SIGTERM, then the exit code. One that does not leave is killed, and the test fails."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ServerFailed(
                f"{self.name}: still there {timeout_seconds:.0f} s after SIGTERM; last output:\n"
                f"{self.tail()}"
            ) from error
        finally:
            self._close()

    def terminate(self) -> None:
        """SIGTERM, without waiting for what comes of it."""
        self._process.send_signal(signal.SIGTERM)

    def await_exit(self, timeout_seconds: float) -> int | None:
        """The exit code; None if it is still there after so long."""
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """kill -9."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(KILL_SECONDS)
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(KILL_SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        else:
            self._close()


def free_port(*neighbours: int) -> int:
    """A port that is free on 127.0.0.1, as are its neighbours at the given distances."""
    for _ in range(200):
        with contextlib.ExitStack() as held:
            try:
                first = held.enter_context(socket.socket())
                first.bind(("127.0.0.1", 0))
                port: int = first.getsockname()[1]
                for distance in neighbours:
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port + distance))
            except (OSError, OverflowError):
                continue
            return port
    raise ServerFailed(f"no free port with neighbours {neighbours}")


@dataclass(frozen=True)
class Answer:
    """What a server answered to `ask`."""

    code: int
    remark: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def ask(
    address: str,
    code: int,
    fields: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    version: int = 513,
    timeout_seconds: float = 5.0,
) -> Answer:
    """One remoting request with a JSON header, over a connection of its own."""
    header = json.dumps(
        {
            "code": code,
            "extFields": dict(fields or {}),
            "flag": 0,
            "language": "PYTHON",
            "opaque": 1,
            "serializeTypeCurrentRPC": "JSON",
            "version": version,
        }
    ).encode()
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout_seconds) as connection:
        lengths = struct.pack(">ii", 4 + len(header) + len(body), len(header))
        connection.sendall(lengths + header + body)
        with connection.makefile("rb") as stream:
            length, header_length = struct.unpack(">ii", _exactly(stream, 8))
            answer: dict[str, Any] = json.loads(_exactly(stream, header_length & 0xFFFFFF))
            body = _exactly(stream, length - 4 - (header_length & 0xFFFFFF))
    return Answer(answer["code"], answer.get("remark") or "", answer.get("extFields") or {}, body)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ConnectionError(f"connection closed after {len(data)} of {size} bytes")
    return data


def await_answer(
    address: str,
    code: int,
    fields: Mapping[str, str] | None = None,
    *,
    containing: bytes = b"",
    timeout_seconds: float = 20.0,
) -> Answer:
    """Asks until the answer has code 0 and this text in its body: a change has arrived."""
    last: object = None
    for _ in retries(timeout_seconds):
        try:
            answer = ask(address, code, fields)
        except OSError as error:
            last = error
            continue
        if answer.code == 0 and containing in answer.body:
            return answer
        last = answer
    raise ServerFailed(
        f"request {code} to {address}: no {containing!r} in time; last answer: {last}"
    )


def retries(timeout_seconds: float, pause_seconds: float = 0.02) -> Iterator[None]:
    """Tries, with a short pause between them, until the time is over; at least one."""
    deadline = time.monotonic() + timeout_seconds
    yield
    while time.monotonic() < deadline:
        time.sleep(pause_seconds)
        yield


def child_environment(**extra: str) -> dict[str, str]:
    """The environment of a child: ours without what would change a JVM or a client."""
    drop = {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "NAMESRV_ADDR", "ROCKETMQ_HOME"}
    return {name: value for name, value in os.environ.items() if name not in drop} | extra
