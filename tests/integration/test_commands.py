"""The commands as a user runs them: READY, ports, exit codes, signals, directories, restarts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile import Raw, request
from tests.support.processes import (
    Answer,
    ServerProcess,
    ask,
    await_answer,
    child_environment,
    free_port,
)
from tests.support.pyromq_server import STOP_SECONDS, PyromqServer

SEND = {
    "a": "PG", "b": "Orders", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1", "h": "0",
    "i": "UNIQ_KEY\x01ID1\x02TAGS\x01TagA\x02", "j": "0", "k": "false", "m": "false",
}  # fmt: skip
PULL = {
    "queueId": "0", "maxMsgNums": "32", "sysFlag": "4", "suspendTimeoutMillis": "0",
    "commitOffset": "0", "topic": "Orders", "queueOffset": "0", "subVersion": "0",
    "consumerGroup": "CG", "subscription": "*",
}  # fmt: skip
FREE_PORTS = ("--namesrv-port", 0, "--broker-port", 0)


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "pyromq", *map(str, arguments)],
        env=child_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def refused(*arguments: object, **environment: str) -> tuple[int, str]:
    """Exit code and the one line that says why."""
    done = run(*arguments, **environment)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("pyromq"), done.stderr
    return done.returncode, lines[0]


def send(broker: str, body: bytes = b"hello", **changed: str) -> Answer:
    answer = ask(broker, 310, {**SEND, **changed}, body)
    assert answer.code == 0, answer
    return answer


def pulled(broker: str, **changed: str) -> Answer:
    return ask(broker, 11, {**PULL, **changed})


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server() -> Iterator[PyromqServer]:
    with PyromqServer.ephemeral() as running:
        yield running


def test_ready_names_the_open_doors_with_their_real_ports(server: PyromqServer) -> None:
    assert list(server.doors) == ["namesrv", "broker"]
    for address in server.doors.values():
        assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", address)
    send(server.broker)
    assert b"hello" in pulled(server.broker).body


def test_the_broker_is_in_the_route_when_ready_is_said(server: PyromqServer) -> None:
    cluster = ask(server.namesrv, 106)
    assert f'"broker-a":{{"brokerAddrs":{{0:"{server.broker}"}}'.encode() in cluster.body
    send(server.broker)
    route = await_answer(server.namesrv, 105, {"topic": "Orders"})
    assert f'"0":"{server.broker}"'.encode() in route.body


def test_a_master_is_registered_as_0_whatever_broker_id_says() -> None:
    with PyromqServer.ephemeral("--set", "brokerId=5") as server:
        assert f'"brokerAddrs":{{0:"{server.broker}"}}'.encode() in ask(server.namesrv, 106).body


def test_serving_loads_nothing_but_ourselves_and_two_libraries() -> None:
    """READY within half a second is a matter of imports; the time itself is measured by bench."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "pyromq", "standalone", "--ephemeral"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stdout.readline().startswith("READY ")
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=STOP_SECONDS)
    names = re.findall(r"^import time: .*\| +([\w.]+)$", told, re.MULTILINE)
    packages = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert "pyromq" in packages
    not_ours = {"sitecustomize", "usercustomize", "_virtualenv", "org"}  # `copy` looks for Jython
    assert packages - not_ours <= {"pyromq", "msgspec", "uvloop", "typing_extensions"}


def test_fixed_ports_are_taken_and_the_vip_door_is_beside_the_broker(data_dir: Path) -> None:
    namesrv_port, broker_port = free_port(), free_port(-2)
    with PyromqServer(
        "standalone", "--data-dir", data_dir, "--namesrv-port", namesrv_port,
        "--broker-port", broker_port,
    ) as server:  # fmt: skip
        assert server.namesrv == f"127.0.0.1:{namesrv_port}"
        assert server.broker == f"127.0.0.1:{broker_port}"
        send(f"127.0.0.1:{broker_port - 2}")
        assert b"hello" in pulled(server.broker).body


@pytest.mark.parametrize("door", ["namesrv", "broker"])
def test_a_door_that_is_off_is_not_opened(door: str) -> None:
    with PyromqServer.ephemeral(f"--{door}-port", "off") as server:
        assert list(server.doors) == [{"namesrv": "broker", "broker": "namesrv"}[door]]


def test_doors_not_built_yet_parse_and_one_log_line_says_so() -> None:
    with PyromqServer.ephemeral(
        "--grpc-port", 0, "--http-port", 8088, "--mqtt-port", "off"
    ) as server:
        assert list(server.doors) == ["namesrv", "broker"]
        lines = [line for line in server.process.tail().splitlines() if "not built yet" in line]
    assert len(lines) == 1
    assert lines[0].endswith("doors not built yet, not opened: grpc, http")


def test_name_server_and_broker_run_as_single_processes(tmp_path: Path) -> None:
    conf = tmp_path / "broker.conf"
    conf.write_text(
        "brokerClusterName = OtherCluster\nbrokerName=broker-z\nbrokerId=0\ndeleteWhen=04\n"
        f"storePathRootDir={tmp_path / 'store'}\nlistenPort=0\nflushDiskType=ASYNC_FLUSH\n"
        "noSuchProperty=1\n"
    )
    with (
        PyromqServer("namesrv", "--data-dir", tmp_path / "names", "--namesrv-port", 0) as names,
        PyromqServer("broker", "-c", conf, "-n", names.namesrv) as broker,
    ):
        assert list(names.doors) == ["namesrv"]
        assert list(broker.doors) == ["broker"]
        cluster = ask(names.namesrv, 106).body
        assert b'"OtherCluster":["broker-z"]' in cluster
        send(broker.broker)
        await_answer(names.namesrv, 105, {"topic": "Orders"}, containing=b"broker-z")
        log = broker.process.tail()
        assert log.count("noSuchProperty") == 1
        broker.stop()
        assert b'"OtherCluster"' not in ask(names.namesrv, 106).body, "no farewell"


def test_a_broker_without_its_name_server_serves_and_registers_when_it_comes(
    tmp_path: Path,
) -> None:
    port = free_port()
    with PyromqServer(
        "broker", "--data-dir", tmp_path / "store", "--broker-port", 0, "-n", f"127.0.0.1:{port}"
    ) as broker:
        send(broker.broker)
        with PyromqServer(
            "namesrv", "--data-dir", tmp_path / "names", "--namesrv-port", port
        ) as names:
            await_answer(names.namesrv, 105, {"topic": "Orders"}, containing=b"broker-a")


def test_the_environment_names_the_name_server_and_properties(tmp_path: Path) -> None:
    done = run("broker", "-m", NAMESRV_ADDR="10.0.0.1:9876", PYROMQ_BROKER_NAME="from-env")
    assert done.returncode == 0
    assert "namesrvAddr=10.0.0.1:9876" in done.stdout.splitlines()
    assert "brokerName=from-env" in done.stdout.splitlines()


def test_later_sources_win(tmp_path: Path) -> None:
    conf = tmp_path / "broker.conf"
    conf.write_text("brokerName=from-file\nlistenPort=1111\nbrokerClusterName=from-file\n")
    done = run(
        "broker", "-p", "-c", conf, "--set", "brokerName=from-set", "--set", "listenPort=2222",
        "--broker-port", 3333,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert {"brokerName=from-set", "listenPort=3333", "brokerClusterName=from-file"} <= set(lines)
    assert lines == sorted(lines)


def test_version_and_help_end_with_zero() -> None:
    version = run("--version")
    assert (version.returncode, version.stdout) == (0, "pyromq 0.1.0\n")
    for command in ("standalone", "namesrv", "broker"):
        assert run(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no command given"),
        (("bogus",), "bogus"),
        (("standalone", "--bogus"), "--bogus"),
        (("standalone", "--broker-port", "65536"), "0 to 65535, or off"),
        (("standalone", "--broker-port", "-1"), "0 to 65535, or off"),
        (("standalone", "--brokers", "27"), "1 to 26"),
        (("standalone", "--brokers", "2", "--broker-port", "65530"), "65540"),
        (("standalone", "--brokers", "2", "--broker-port", "off"), "nowhere to serve"),
        (("broker", "--supervised", "broker-b"), "standard input is not a pipe"),
        (("standalone", "--set", "flushDiskType=MAYBE"), "SYNC_FLUSH, ASYNC_FLUSH"),
        (("standalone", "--set", "authenticationEnabled=true"), "authenticationEnabled"),
        (("standalone", "--set", "nonsense"), "key=value"),
        (("standalone", "--config", "/nonexistent.conf"), "/nonexistent.conf"),
        (("standalone", "--data-dir", "/dev/null/x"), "/dev/null/x"),
        (("standalone", "--ephemeral", "--data-dir", "x"), "--data-dir"),
        (("standalone", "--namesrv-port", "off", "--broker-port", "off"), "nothing is left"),
        (("standalone", "--host", "0.0.0.0"), "--insecure"),
        (("broker", "--host", "0.0.0.0"), "allowInsecure"),
        (("namesrv", "--host", "192.0.2.1"), "--insecure"),
        (("broker", "-n", "no-port"), "namesrvAddr"),
        (("proxy",), "not built yet"),
        (("admin", "clusterList", "-n", "x"), "name server address 'x'"),
        (("bench", "send"), "invalid choice"),
        (("store", "check", "x"), "is no store"),
    ],
)
def test_bad_arguments_and_configuration_are_exit_code_2_and_one_line(
    arguments: tuple[str, ...], words: str
) -> None:
    code, line = refused(*arguments)
    assert code == 2
    assert words in line


def test_a_public_address_is_served_when_that_is_wanted(tmp_path: Path) -> None:
    with PyromqServer(
        "standalone", "--data-dir", tmp_path / "data", *FREE_PORTS, "--host", "0.0.0.0",
        "--insecure", "--set", "brokerIP1=127.0.0.1",
    ) as server:  # fmt: skip
        port = server.broker.rpartition(":")[2]
        assert server.broker == f"0.0.0.0:{port}"
        names = f"127.0.0.1:{server.namesrv.rpartition(':')[2]}"
        assert f'{{0:"127.0.0.1:{port}"}}'.encode() in ask(names, 106).body
        answer = ask(f"127.0.0.1:{port}", 310, SEND, b"hello")
        assert answer.code == 17, "topics are not created automatically on a public address"


@pytest.mark.parametrize("door", ["namesrv", "broker"])
def test_a_port_in_use_is_exit_code_3_and_nothing_is_written(door: str, data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = {"namesrv": "broker", "broker": "namesrv"}[door]
        code, line = refused(
            "standalone", "--data-dir", data_dir, f"--{door}-port", port, f"--{other}-port", 0
        )
    assert code == 3
    assert f"127.0.0.1:{port}" in line
    assert not data_dir.exists()


@pytest.mark.parametrize("command", ["standalone", "broker", "namesrv"])
def test_two_processes_on_one_data_directory_are_exit_code_3(command: str, data_dir: Path) -> None:
    ports = {"broker": FREE_PORTS[2:], "namesrv": FREE_PORTS[:2]}.get(command, FREE_PORTS)
    with PyromqServer(command, "--data-dir", data_dir, *ports) as server:
        done = run(command, "--data-dir", data_dir, *ports)
        assert done.returncode == 3, done.stderr
        assert re.search(r"in use|has this store open", done.stderr)
        assert "READY" not in done.stdout
        if command != "namesrv":
            send(server.broker)
    with PyromqServer(command, "--data-dir", data_dir, *ports):
        pass  # the lock went with its process


def test_sigterm_stops_cleanly_while_clients_wait(server: PyromqServer) -> None:
    send(server.broker)
    with socket.create_connection(_endpoint(server.broker)) as idle:
        idle.sendall(b"\x00\x00")  # half a frame
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < STOP_SECONDS


def test_a_pull_that_waits_is_answered_when_the_server_stops(server: PyromqServer) -> None:
    send(server.broker)
    waiting = {**PULL, "sysFlag": "6", "queueOffset": "1", "suspendTimeoutMillis": "15000"}
    with Raw(server.broker) as raw:
        raw.send(request(11, waiting) + request(28))
        assert raw.answer() is not None  # of 28: the pull waits
        server.stop()
        answer = raw.answer()
    assert answer is not None
    assert answer.code == 14


def test_sigint_stops_like_sigterm(data_dir: Path) -> None:
    server = PyromqServer("standalone", "--data-dir", data_dir, *FREE_PORTS).start()
    os.kill(server.pid, signal.SIGINT)
    server.stop()


def test_a_second_sigterm_ends_the_process_at_once(tmp_path: Path) -> None:
    """The first stop is held up by a name server that does not answer the farewell."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        process = ServerProcess(
            "broker",
            [
                sys.executable, "-m", "pyromq", "broker", "--broker-port", "0", "--data-dir",
                str(tmp_path), "-n", f"127.0.0.1:{deaf.getsockname()[1]}",
            ],
            environment=child_environment(),
        )  # fmt: skip
        with process:
            process.await_line("READY", 20)
            os.kill(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while "stopping" not in process.tail():
                assert time.monotonic() < deadline
            os.kill(process.pid, signal.SIGTERM)
            assert process.stop(2) == -signal.SIGTERM


def test_sigterm_while_starting_ends_cleanly_too(tmp_path: Path) -> None:
    """It waits for a name server that takes the connection and says nothing."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        process = ServerProcess(
            "broker",
            [
                sys.executable, "-m", "pyromq", "broker", "--broker-port", "0", "--data-dir",
                str(tmp_path), "-n", f"127.0.0.1:{deaf.getsockname()[1]}",
            ],
            environment=child_environment(),
        )  # fmt: skip
        with process:
            registering, _ = deaf.accept()
            started = time.monotonic()
            assert process.stop(STOP_SECONDS) == 0
            assert time.monotonic() - started < STOP_SECONDS
            assert process.stdout_lines == []
            registering.close()


def test_an_ephemeral_server_leaves_nothing_behind(tmp_path: Path) -> None:
    server = ServerProcess(
        "ephemeral",
        [sys.executable, "-m", "pyromq", "standalone", "--ephemeral"],
        environment=child_environment(TMPDIR=str(tmp_path)),
    )
    with server:
        server.await_line("READY", 20)
        (directory,) = tmp_path.iterdir()
        assert (directory / "commitlog").is_dir()
        assert server.stop(STOP_SECONDS) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_ephemeral_server_left_goes_with_the_next_one(tmp_path: Path) -> None:
    def ephemeral() -> ServerProcess:
        return ServerProcess(
            "ephemeral",
            [sys.executable, "-m", "pyromq", "standalone", "--ephemeral"],
            environment=child_environment(TMPDIR=str(tmp_path)),
        )

    with ephemeral() as first:
        first.await_line("READY", 20)
        first.kill()
    (left,) = tmp_path.iterdir()
    assert (left / "commitlog").is_dir()
    with ephemeral() as second:
        second.await_line("READY", 20)
        (directory,) = tmp_path.iterdir()
        assert directory != left
        assert second.stop(STOP_SECONDS) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_server_may_end_with_the_program_that_started_it(tmp_path: Path) -> None:
    """The program is killed: nobody is left to send a signal."""
    starter = (
        "import subprocess, sys\n"
        "server = subprocess.Popen(\n"
        "    [sys.executable, '-m', 'pyromq', 'standalone', '--ephemeral', '--stop-with-stdin'],\n"
        "    stdin=subprocess.PIPE)\n"
        "server.wait()\n"
    )
    process = ServerProcess(
        "starter",
        [sys.executable, "-c", starter],
        environment=child_environment(TMPDIR=str(tmp_path)),
    )
    with process:
        ready = process.await_line("READY", 20)
        assert len(list(tmp_path.iterdir())) == 1
        process.kill()  # waits until nobody holds its output: the server has ended, too
    assert list(tmp_path.iterdir()) == []
    address = ready.split("broker=")[1]
    with pytest.raises(ConnectionRefusedError):
        ask(address, 105)


def test_an_ephemeral_server_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _ = refused(
            "standalone", "--ephemeral", "--broker-port", taken.getsockname()[1],
            TMPDIR=str(tmp_path),
        )  # fmt: skip
    assert code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["clean", "kill -9"])
def test_messages_topics_groups_and_offsets_are_there_after_a_restart(
    end: str, data_dir: Path
) -> None:
    arguments = ("standalone", "--data-dir", data_dir, *FREE_PORTS)
    server = PyromqServer(*arguments).start()
    try:
        for number in range(20):
            send(server.broker, b"message %d" % number)
        assert ask(server.broker, 200, body=b'{"groupName":"CG","retryMaxTimes":5}').code == 0
        commit = {"topic": "Orders", "queueId": "0", "consumerGroup": "CG", "commitOffset": "7"}
        assert ask(server.broker, 15, commit).code == 0
        kv = {"namespace": "N", "key": "K", "value": "V"}
        assert ask(server.namesrv, 100, kv).code == 0
    finally:
        if end == "clean":
            server.stop()
        else:
            server.kill()
    with PyromqServer(*arguments) as server:
        answer = pulled(server.broker)
        assert answer.fields["maxOffset"] == "20"
        for number in range(20):
            assert b"message %d" % number in answer.body
        where = {"topic": "Orders", "queueId": "0", "consumerGroup": "CG"}
        assert ask(server.broker, 14, where).fields == {"offset": "7"}
        assert b'"retryMaxTimes":5' in ask(server.broker, 352, {"group": "CG"}).body
        assert ask(server.namesrv, 101, kv).fields == {"value": "V"}
        send(server.broker, b"after")
        assert pulled(server.broker, queueOffset="20").body.count(b"after") == 1


def test_logs_go_to_stderr_and_what_a_peer_sends_cannot_fake_a_line(
    server: PyromqServer,
) -> None:
    with socket.create_connection(_endpoint(server.broker)) as evil:
        evil.sendall(b"PROXY evil\x1b[31m TCP4 \r\n")
        with contextlib.suppress(ConnectionResetError):
            assert evil.recv(1) == b""
    ask(server.broker, 38, {"consumerGroup": "x\nFAKE LINE\n"})
    assert ask(server.broker, 28).code == 0
    log = server.process.tail().splitlines()
    assert not [line for line in log if "FAKE" in line and not re.match(r"[0-9-]{10}T", line)]
    assert "\x1b" not in server.process.tail()


def test_the_data_directory_defaults_to_the_working_directory(tmp_path: Path) -> None:
    process = ServerProcess(
        "default",
        [sys.executable, "-m", "pyromq", "standalone", *map(str, FREE_PORTS)],
        environment=child_environment(),
        cwd=tmp_path,
    )
    with process:
        process.await_line("READY", 20)
        assert process.stop(STOP_SECONDS) == 0
    assert (tmp_path / "pyromq-data" / "commitlog").is_dir()
    assert (tmp_path / "pyromq-data" / "config" / "topics.json").is_file()


def _endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
