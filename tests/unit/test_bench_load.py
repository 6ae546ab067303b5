"""The load generator counts and checks what it should, and the measuring script what that says.

Needs cargo to build bench/load (once, a few seconds); without it the first part is skipped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import loads, machine, report, servers
from bench.options import Options, parse
from tests.support.processes import ServerProcess

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


def options(**changes: Any) -> Options:
    words = ["--label=unit", "--servers=pyromq,apache", "--headers=json,binary"]
    parsed = parse(words)
    return dataclasses.replace(parsed, **changes)


@pytest.mark.parametrize("body", [16, 128, 65_536])
@pytest.mark.parametrize("rounds", [1, 3, 7])
def test_a_comparison_stays_under_its_bound_of_new_data(body: int, rounds: int) -> None:
    chosen = options(body=body, rounds=rounds)
    storing = sum(loads.SCENARIOS[name].stores for name in chosen.scenarios)
    runs = (rounds + 1) * len(chosen.headers) * storing * len(chosen.servers)
    stored = runs * chosen.messages_max() * (body + loads.STORED_EXTRA)
    warm_up = len(chosen.servers) * loads.WARM_UP_DATA_MAX
    assert stored + warm_up <= 3_000_000_000


def test_rows_hold_medians() -> None:
    rounds = tuple(
        {
            "messages_per_second": 1000.0 * n,
            "cpu_us_per_message": 10.0 / n,
            "messages_per_cpu_second": 100_000 * n,
            "latency_us": {"p50": n, "p99": 2 * n, "p999": 3 * n},
            "client_cpu_us_per_message": 0.5,
            "errors": {"2": {"count": n, "remark": ""}},
        }
        for n in (1, 2, 4)
    )
    cells = report.Row("sends", "json", "pyromq", rounds).cells()
    assert len(cells) == len(report.LOAD_HEAD)
    assert cells[3:] == ["2,000", "5.00 (2.50–10.00)", "200,000", "2", "4", "6", "0.50", "2"]


def test_the_page_says_how_it_was_measured_and_where_nothing_is() -> None:
    text = report.page(
        options(settings=("flushDiskType=SYNC_FLUSH",), body=180),
        versions=["pyromq 1.2.3", "Apache RocketMQ 5.5.0"],
        sections=["## Memory\n", "## Load\n"],
        stored_messages=2_000_000,
        file_system="ext4",
    )
    assert text.startswith("# unit, ")
    for said in (
        f"{len(os.sched_getaffinity(0))} cores of ",
        f"{platform.system()} {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        "pyromq 1.2.3; Apache RocketMQ 5.5.0. Commit: ",
        "flushDiskType=SYNC_FLUSH",
        "on ext4",
        "2,000,000, about 1,000 MB",
    ):
        assert said in text
    assert text.index("## Memory") < text.index("## Load")
    for hidden in (socket.gethostname(), str(Path.cwd()), str(Path.home()), tempfile.gettempdir()):
        assert hidden not in text


def test_tables_have_a_cell_for_every_head() -> None:
    seen = report.MemorySeen("idle", "pyromq", "one process", machine.Memory(2048, 1024, 3072))
    assert report.memory_section([seen]).splitlines()[-1] == (
        "| idle | pyromq | one process | 2.0 | 1.0 | 3.0 |"
    )
    assert len(seen.cells()) == len(report.MEMORY_HEAD)
    assert "Median of 1 start on" in report.ready_section(1, {"pyromq": [0.5]})
    assert report.ready_section(3, {"pyromq": [0.5, 2.0, 1.0]}).splitlines()[-1] == (
        "| pyromq | 1.00 | 0.50–2.00 |"
    )
    assert report.restart_section(64, [report.Restart("pyromq", 1500, 0.25)]).splitlines()[-1] == (
        "| pyromq | 1,500 | 0.25 |"
    )


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
    with pytest.raises(loads.MeasureFailed, match="Other"):
        loads.rmqload(target, ["pull", "--topic=Other", "--queues=1"])


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


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("--rounds=0", "--rounds"),
        ("--starts=0", "--starts"),
        ("--body=65537", "--body"),
        ("--set=flushDiskType", "--set"),
        ("--parts=load,nothing", "--parts"),
    ],
)
def test_bad_options_are_named(word: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse(["--label=unit", word])
    assert left.value.code == 2
    assert named in capsys.readouterr().err


def test_a_flush_type_that_was_set_replaces_the_default() -> None:
    assert parse(["--label=unit"]).settings == ("flushDiskType=ASYNC_FLUSH",)
    sync = "flushDiskType=SYNC_FLUSH"
    assert parse(["--label=unit", "--set", sync]).settings == (sync,)


def test_an_ephemeral_server_is_not_restarted() -> None:
    assert "restart" not in parse(["--label=unit", "--ephemeral"]).parts


@pytest.mark.parametrize("label", ["", "A", "../x", "a b", "-x"])
def test_labels_that_are_no_file_names_are_refused(
    label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parse([f"--label={label}"])
    assert left.value.code == 2
    assert "--label" in capsys.readouterr().err
