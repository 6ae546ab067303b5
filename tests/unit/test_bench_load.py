"""The load generator counts and checks what it should, and what runs it believes nothing else.

Needs cargo to build bench/load (once, a few seconds); without it the first part is skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import loads, machine, servers
from tests.support.processes import ServerProcess, ask
from tests.support.pyromq_server import PyromqServer

PER_QUEUE = 1000


@pytest.fixture(scope="module")
def rmqload() -> Path:
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not there to build bench/load")
    loads.build_generator()
    return loads.RMQLOAD


@pytest.fixture(scope="module")
def null_server(rmqload: Path) -> Iterator[str]:
    command = [str(rmqload), "null-server", "--seconds=60", f"--messages={PER_QUEUE}"]
    with ServerProcess("null-server", command) as process:
        yield process.await_line("READY ", 10).split()[1]


def run(rmqload: Path, mode: str, address: str, *options: str) -> tuple[int, dict[str, Any], str]:
    command = [str(rmqload), mode, f"--addr={address}", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.timeout(360)
@pytest.mark.parametrize("header", ["json", "binary"])
@pytest.mark.parametrize("shape", ["--connections=3 --depth=16", "--connections=4 --batch=32"])
def test_sends_are_counted_exactly(
    rmqload: Path, null_server: str, header: str, shape: str
) -> None:
    options = (*shape.split(), f"--header={header}", "--count=3200", "--no-stored-check")
    code, numbers, error = run(rmqload, "send", null_server, *options)
    assert (code, error) == (0, "")
    assert numbers["messages"] == 3200
    assert numbers["errors"] == {}
    assert numbers["latency_us"]["max"] >= numbers["latency_us"]["p50"] > 0


def test_messages_by_the_clock_are_as_many_as_the_rate_says(
    rmqload: Path, null_server: str
) -> None:
    options = ("--rate=200", "--count=40", "--connections=2", "--depth=4", "--seconds=20")
    code, numbers, _ = run(rmqload, "send", null_server, *options, "--no-stored-check")
    assert code == 0
    assert (numbers["messages"], numbers["unsent"]) == (40, 0)
    assert numbers["seconds"] >= 39 / 200, "they did not come at once"


def test_many_topics_are_sent_to_in_turn(rmqload: Path) -> None:
    with PyromqServer.ephemeral() as server:
        options = ("--topics=3", "--queues=2", "--topic=Many", "--count=12", "--depth=5")
        code, numbers, error = run(rmqload, "send", server.broker, *options)
        assert (code, error) == (0, "")
        assert numbers["confirmed"] == numbers["stored"] == 12
        for topic in ("Many-00000", "Many-00001", "Many-00002"):
            for queue in ("0", "1"):
                answer = ask(server.broker, 30, {"topic": topic, "queueId": queue})
                assert answer.fields["offset"] == "2", (topic, queue)


def test_a_flow_brings_every_message_to_its_consumer(rmqload: Path) -> None:
    with PyromqServer.ephemeral() as server:
        options = ("--rate=500", "--seconds=1", "--warm-up=0.2", "--connections=2", "--depth=8")
        code, numbers, error = run(rmqload, "flow", server.broker, *options, "--queues=3")
    assert (code, error) == (0, "")
    assert numbers["confirmed"] == numbers["received"] >= 100
    assert numbers["end_to_end_us"]["max"] >= numbers["end_to_end_us"]["p50"] > 0


@pytest.mark.parametrize("missing", ["--rate=5", "--seconds=1"])
def test_a_flow_without_rate_or_end_is_refused(rmqload: Path, missing: str) -> None:
    code, _, error = run(rmqload, "flow", "127.0.0.1:1", missing)
    assert code == 2
    assert "--rate and --seconds are needed" in error


def test_the_bare_echo_has_quantiles(rmqload: Path) -> None:
    done = subprocess.run(
        [str(rmqload), "echo", "--seconds=0.05"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    numbers = json.loads(done.stdout)
    assert numbers["ok"]
    assert 0 < numbers["latency_us"]["p50"] <= numbers["latency_us"]["max"]


def test_sends_that_were_not_stored_are_found(rmqload: Path, null_server: str) -> None:
    code, numbers, _ = run(rmqload, "send", null_server, "--count=10", "--stored-wait=0.1")
    assert code == 1
    assert (numbers["confirmed"], numbers["stored"], numbers["ok"]) == (10, 0, False)


def test_pulls_bring_every_record_once(rmqload: Path, null_server: str) -> None:
    options = ("--connections=2", "--depth=3", "--queues=5", "--check-crc", "--passes=2")
    code, numbers, error = run(rmqload, "pull", null_server, *options)
    assert (code, error) == (0, "")
    assert numbers["messages"] == numbers["expected"] == 5 * PER_QUEUE * 2


def test_records_of_another_topic_are_found(rmqload: Path, null_server: str) -> None:
    code, numbers, _ = run(rmqload, "pull", null_server, "--topic=Other", "--queues=1")
    assert code == 1
    assert numbers["wrong"] == 1
    assert "LoadTest" in numbers["first_wrong"]


def refuse_everything(listener: socket.socket) -> None:
    """Answers each request with code 2 until the client leaves."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        while prefix := stream.read(8):
            size, header_size = struct.unpack(">ii", prefix)
            request = json.loads(stream.read(header_size))
            stream.read(size - 4 - header_size)
            answer = {"code": 2, "opaque": request["opaque"], "flag": 1, "remark": "busy"}
            header = json.dumps(answer).encode()
            connection.sendall(struct.pack(">ii", 4 + len(header), len(header)) + header)


@contextlib.contextmanager
def refusing_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refuser = threading.Thread(target=accept_and_hold, args=(listener,), daemon=True)
        refuser.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        refuser.join(10)


def test_refusals_are_counted_by_code(rmqload: Path) -> None:
    with refusing_server() as address:
        options = ("--count=5", "--no-create", "--no-stored-check")
        code, numbers, _ = run(rmqload, "send", address, *options)
    assert code == 1
    assert numbers["messages"] == 0
    assert numbers["errors"] == {"2": {"count": 5, "remark": "busy"}}
    assert loads.was_only_busy(numbers)


def test_a_server_that_refuses_everything_gives_no_numbers(rmqload: Path) -> None:
    assert rmqload.is_file()
    arguments = ("send", "--count=5", "--no-create", "--no-stored-check")
    with (
        refusing_server() as address,
        pytest.raises(loads.MeasureFailed, match="no message got through"),
    ):
        loads.rmqload(servers.NullServer(address, os.getpid()), arguments)


def accept_and_hold(listener: socket.socket) -> None:
    """The generator's connection for questions comes first and asks nothing here."""
    connection, _ = listener.accept()
    with connection:
        refuse_everything(listener)


def test_a_silent_server_is_named_as_such(rmqload: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        code, numbers, error = run(rmqload, "send", address, "--count=1", "--timeout=0.2")
    assert (code, numbers) == (3, {})
    assert "request 17: no answer in time" in error


@pytest.mark.parametrize("address", ["10.0.0.1:10911", "0.0.0.0:10911", "localhost:10911"])
def test_only_loopback_addresses_are_loaded(rmqload: Path, address: str) -> None:
    code, numbers, error = run(rmqload, "send", address, "--count=1")
    assert (code, numbers) == (2, {})
    assert address in error


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = "\n".join(
        f"device {place} {kind} rw 0 0"
        for place, kind in [("/", "ext4"), ("/tmp", "ext2"), ("/tmp", "tmpfs"), ("/tmpx", "xfs")]
    )
    assert machine.file_system(Path("/tmp/a/b"), mounts) == "tmpfs"
    assert machine.file_system(Path("/tmpy"), mounts) == "ext4"
    assert machine.file_system(Path("/tmp"), "") == "unknown file system"


@pytest.mark.parametrize("is_ephemeral", [False, True])
def test_our_server_serves_and_leaves_nothing_even_when_killed(
    tmp_path: Path, is_ephemeral: bool
) -> None:
    (server,) = servers.servers_named(
        ["pyromq"], tmp_path, ["flushDiskType=ASYNC_FLUSH"], is_ephemeral=is_ephemeral
    )
    try:
        assert server.start() > 0
        assert server.address.startswith("127.0.0.1:")
        assert machine.Memory.of(server.broker_pid).private_kb > 0
        assert list(tmp_path.iterdir())
    finally:
        server.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_gives_no_numbers(rmqload: Path, null_server: str) -> None:
    assert rmqload.is_file()
    target = servers.NullServer(null_server, os.getpid())
    assert loads.rmqload(target, ["pull", "--queues=1"])["messages"] == PER_QUEUE
    with pytest.raises(loads.MeasureFailed, match="LoadTest"):
        loads.rmqload(target, ["pull", "--topic=Other", "--queues=1"])


def test_a_failed_run_is_told_by_what_was_wrong() -> None:
    printed = '{"mode": "flow", "errors": {"21": {"count": 3, "remark": "moved"}}, "wrong": 0}'
    assert loads.what_went_wrong(printed, "") == "errors {'21': {'count': 3, 'remark': 'moved'}}"
    assert loads.what_went_wrong("", "rmqload: no answer\n") == "rmqload: no answer"


def test_only_busy_answers_are_forgiven() -> None:
    busy = {
        "mode": "send",
        "errors": {"2": {"count": 1}},
        "wrong": 0,
        "unasked": 0,
        "stopped_by": "seconds",
        "stored": 5,
        "confirmed": 5,
    }
    assert loads.was_only_busy(busy)
    flow = {**busy, "mode": "flow", "received": 5}
    del flow["stored"]
    assert loads.was_only_busy(flow)
    assert not loads.was_only_busy({**flow, "received": 4})
    changes: list[dict[str, Any]] = [
        {"mode": "pull"},
        {"errors": {}},
        {"errors": {"2": {"count": 1}, "1": {"count": 1}}},
        {"wrong": 1},
        {"unasked": 1},
        {"stopped_by": "stall"},
        {"stored": 4},
    ]
    for change in changes:
        assert not loads.was_only_busy(busy | change), change
