"""`standalone --brokers N`: processes that come and go together, and come back one by one."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_commands import FREE_PORTS, pulled, send
from tests.support.processes import ServerProcess, ask, child_environment, free_port, retries
from tests.support.pyromq_server import STOP_SECONDS, PyromqServer

WAIT_SECONDS = 20.0
SERVES = re.compile(r"(broker-\w) serves at (\S+) \(process (\d+)\)")


def lives(server: PyromqServer) -> list[tuple[str, str, int]]:
    """Name, address and process of every broker's life so far, as the log tells them."""
    found = SERVES.findall(server.process.tail())
    return [(name, address, int(pid)) for name, address, pid in found]


def is_alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def await_lives(server: PyromqServer, count: int) -> list[tuple[str, str, int]]:
    for _ in retries(WAIT_SECONDS):
        if len(found := lives(server)) >= count:
            return found
    raise AssertionError(f"{count} lives were expected:\n{server.process.tail()}")


def await_end(pid: int) -> None:
    for _ in retries(WAIT_SECONDS):
        if not is_alive(pid):
            return
    raise AssertionError(f"process {pid} is still there")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_ready_is_said_once_by_all_and_the_row_is_as_documented(data_dir: Path) -> None:
    first = free_port(-2, 8, 10, 18, 20)
    with PyromqServer(
        "standalone", "--data-dir", data_dir, "--namesrv-port", 0, "--broker-port", first,
        "--brokers", 3, "--set", "brokerClusterName=Row",
    ) as server:  # fmt: skip
        doors = dict(server.doors)
        names = doors.pop("namesrv")
        assert doors == {
            "broker-a": f"127.0.0.1:{first}",
            "broker-b": f"127.0.0.1:{first + 10}",
            "broker-c": f"127.0.0.1:{first + 20}",
        }
        cluster = ask(names, 106).body
        for name, address in doors.items():
            assert (
                f'"{name}":{{"brokerAddrs":{{0:"{address}"}},"brokerName":"{name}",'.encode()
                in (cluster)
            )
            send(address, name.encode())
            assert name.encode() in pulled(address).body
        assert cluster.count(b'"cluster":"Row"') == 3, "--set is for all"
        for place in (data_dir, data_dir / "broker-b", data_dir / "broker-c"):
            assert (place / "commitlog").is_dir()
        pids = [pid for _, _, pid in await_lives(server, 3)]
        assert len({*pids, server.pid}) == 4
        server.stop()
        assert not any(map(is_alive, pids))
        assert not list(data_dir.rglob("abort")), "all were stopped cleanly"


def test_one_that_is_killed_comes_back_with_its_messages_and_the_other_notices_nothing(
    data_dir: Path,
) -> None:
    with PyromqServer("standalone", "--data-dir", data_dir, *FREE_PORTS, "--brokers", 2) as server:
        a, b = server.doors["broker-a"], server.doors["broker-b"]
        for number in range(20):
            send(b, b"message %d" % number)
        send(a)
        pids = {name: pid for name, _, pid in await_lives(server, 2)}
        os.kill(pids["broker-b"], signal.SIGKILL)
        await_end(pids["broker-b"])
        send(a, b"meanwhile")
        name, address, pid = await_lives(server, 3)[-1]
        assert (name, address) == ("broker-b", b)
        assert pid != pids["broker-b"]
        answer = pulled(b)
        assert answer.fields["maxOffset"] == "20"
        for number in range(20):
            assert b"message %d" % number in answer.body
        assert f'{{0:"{b}"}}'.encode() in ask(server.namesrv, 106).body
        assert is_alive(pids["broker-a"])
        assert b"meanwhile" in pulled(a).body
        log = server.process.tail()
        assert re.search(r"ERROR pyromq.app: broker-b .* was ended by SIGKILL; started again", log)
        assert re.search(r"INFO  broker-b pyromq\.", log), "lines say whose they are"


def test_a_server_grows_and_what_is_not_served_is_named(data_dir: Path) -> None:
    with PyromqServer("standalone", "--data-dir", data_dir, *FREE_PORTS) as server:
        send(server.broker, b"from before")
    with PyromqServer("standalone", "--data-dir", data_dir, *FREE_PORTS, "--brokers", 2) as server:
        assert b"from before" in pulled(server.doors["broker-a"]).body
        send(server.doors["broker-b"], b"of the second")
    with PyromqServer("standalone", "--data-dir", data_dir, *FREE_PORTS) as server:
        server.process.terminate()
        assert server.process.await_exit(STOP_SECONDS) == 0
        told = server.process.tail().splitlines()
        (line,) = [line for line in told if " WARN " in line and "is not served" in line]
        assert line.endswith(f"{data_dir / 'broker-b'} is not served: it takes --brokers 2")


def test_one_that_cannot_start_is_named_and_the_other_serves(data_dir: Path) -> None:
    first = free_port(-2, 8, 10)
    process = ServerProcess(
        "brokers",
        [
            sys.executable, "-m", "pyromq", "standalone", "--data-dir", str(data_dir),
            "--namesrv-port", "0", "--broker-port", str(first), "--brokers", "2",
        ],
        environment=child_environment(),
    )  # fmt: skip
    with process:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", first + 10))
            taken.listen()
            for _ in retries(WAIT_SECONDS):
                log = process.tail()
                if "broker-a serves at" in log and "before it was ready; started again" in log:
                    break
            assert re.search(rf"pyromq broker-b: .*127\.0\.0\.1:{first + 10}", log), log
            assert re.search(r"broker-b .* ended with exit code 3 before it was ready", log), log
            send(f"127.0.0.1:{first}")
            assert process.stdout_lines == [], "not all are ready"
        process.await_line("READY namesrv=", WAIT_SECONDS)
        send(f"127.0.0.1:{first + 10}")
        assert process.stop(STOP_SECONDS) == 0


def test_control_c_reaches_the_brokers_once_and_they_end_cleanly(data_dir: Path) -> None:
    """A terminal sends SIGINT to the whole foreground process group."""
    with subprocess.Popen(
        [
            sys.executable, "-m", "pyromq", "standalone", "--data-dir", str(data_dir),
            *map(str, FREE_PORTS), "--brokers", "2",
        ],
        env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stdout.readline().startswith("READY ")
        os.killpg(server.pid, signal.SIGINT)
        _, log = server.communicate(timeout=STOP_SECONDS)
    assert server.returncode == 0, log
    assert not list(data_dir.rglob("abort"))


def test_brokers_end_cleanly_when_their_supervisor_is_killed(data_dir: Path) -> None:
    server = PyromqServer("standalone", "--data-dir", data_dir, *FREE_PORTS, "--brokers", 2).start()
    pids = [pid for _, _, pid in await_lives(server, 2)]
    server.kill()
    for pid in pids:
        await_end(pid)
    assert not list(data_dir.rglob("abort"))


def test_an_ephemeral_row_leaves_nothing_behind(tmp_path: Path) -> None:
    with PyromqServer(
        "standalone", "--ephemeral", "--brokers", 2, environment={"TMPDIR": str(tmp_path)}
    ):
        (directory,) = tmp_path.iterdir()
        assert (directory / "broker-b" / "commitlog").is_dir()
    assert list(tmp_path.iterdir()) == []
