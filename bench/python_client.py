"""Sends per second of `pyromq.client` on one core, against our server and Apache's.

Run from the repository's root: `.venv/bin/python -m bench.python_client [--servers pyromq,apache]`.

The client is kept on core 0, the servers on the others. Some hundred senders each await their send
before the next, so that as many are in flight all the time; in the end the topic's offsets must
have grown by what was confirmed. CPU time is the client process' own: what one core could do if it
had nothing else to wait for, and steadier than the rate on a machine with other work.

With `--grpc-python` and `--proxy-classpath` the official client rocketmq-python-client sends too,
through Apache's proxy before the same Apache broker. It needs an interpreter with that package:

    uv venv VENV && VIRTUAL_ENV=VENV uv pip install rocketmq-python-client==5.1.2
    mvn dependency:build-classpath -Dmdep.outputFile=cp.txt  # of a pom with rocketmq-proxy 5.5.0
    python -m bench.python_client --grpc-python VENV/bin/python --proxy-classpath cp.txt
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvloop

from bench.machine import machine, on_core
from bench.report import commit, table
from bench.servers import SERVERS, START_SECONDS, Server, servers_named
from pyromq.client import ClientInstance, Message, Producer
from pyromq.client.offsets import max_offset
from pyromq.wire.remoting.frame import SerializeType
from tests.support.foreign import java_command
from tests.support.processes import ServerProcess, child_environment, free_port

TOPIC = "PythonClient"
CLIENT_CORE = 0
SETTINGS = ("flushDiskType=ASYNC_FLUSH",)
PROXY_JVM = ("-Xms256m", "-Xmx1g", "-XX:MaxDirectMemorySize=512m", "-XX:-UsePerfData")
RESULTS = Path(__file__).parent / "results"
HEAD = ("server", "headers", "way", "messages/s", "best", "µs CPU of the client per message")

DISPATCH_SECONDS = 20.0
"""Longest wait until queues show what was confirmed: Apache's broker makes their entries later."""


@dataclass(frozen=True)
class Round:
    """One measured stretch."""

    per_second: float
    cpu_us: float


async def run_round(producer: Producer, count: int, in_flight: int, size: int) -> Round:
    """Single messages, each awaited by one of `in_flight` senders."""
    body = bytes(size)
    share = count // in_flight

    async def sender() -> None:
        for _ in range(share):
            result = await producer.send(Message(TOPIC, body, tag="TagA", keys=["key"]))
            assert result.is_ok, result

    return await _timed(sender, in_flight, share * in_flight)


async def run_batches(producer: Producer, count: int, in_flight: int, size: int) -> Round:
    """The same in batches of 32."""
    body = bytes(size)
    senders = max(1, in_flight // 32)
    share = max(1, count // 32 // senders)

    async def sender() -> None:
        for _ in range(share):
            batch = [Message(TOPIC, body, tag="TagA", keys=["key"]) for _ in range(32)]
            result = await producer.send_batch(batch)
            assert result.is_ok, result

    return await _timed(sender, senders, share * senders * 32)


async def _timed(sender: object, senders: int, count: int) -> Round:
    assert callable(sender)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(sender() for _ in range(senders)))
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return Round(count / seconds, used / count * 1e6)


WAYS = {"single": run_round, "batches of 32": run_batches}


async def stored(instance: ClientInstance) -> int:
    queues = await instance.routes.readable_queues(TOPIC)
    return sum([await max_offset(instance, queue) for queue in queues])


async def measure(
    server: Server, options: argparse.Namespace
) -> list[tuple[str, str, str, str, str, str]]:
    """Rows of the table for one server."""
    rows: list[tuple[str, str, str, str, str, str]] = []
    for serialize_type in map(SerializeType.__getitem__, options.headers.split(",")):
        instance = ClientInstance(server.namesrv, serialize_type=serialize_type)
        async with (
            instance,
            Producer(
                server.namesrv, "bench", instance=instance, send_timeout_ms=30_000
            ) as producer,
        ):
            await producer.send(Message(TOPIC, b"the topic is made"))
            await run_round(producer, options.warm_up, options.in_flight, options.size)
            for way, run in WAYS.items():
                if way not in options.ways.split(","):
                    continue
                before = await stored(instance)
                rounds = [
                    await run(producer, options.messages, options.in_flight, options.size)
                    for _ in range(options.rounds)
                ]
                wanted = options.messages * options.rounds
                grown = await stored(instance) - before
                deadline = time.monotonic() + DISPATCH_SECONDS
                while grown <= 0.9 * wanted and time.monotonic() < deadline:
                    await asyncio.sleep(0.2)
                    grown = await stored(instance) - before
                assert 0.9 * wanted < grown <= wanted, (grown, wanted)
                rates = [each.per_second for each in rounds]
                cpu = statistics.median(each.cpu_us for each in rounds)
                rows.append(
                    (
                        server.name,
                        serialize_type.name,
                        way,
                        f"{statistics.median(rates):,.0f}",
                        f"{max(rates):,.0f}",
                        f"{cpu:.1f}",
                    )
                )
                print(*rows[-1], sep="\t", flush=True)
    return rows


def measure_grpc(
    namesrv: str, root: Path, options: argparse.Namespace
) -> tuple[str, str, str, str, str, str]:
    """The official client's row, through a proxy that runs for it."""
    home = root / "proxy"
    (home / "conf").mkdir(parents=True)
    port = free_port()
    (home / "conf" / "rmq-proxy.json").write_text(
        json.dumps(
            {
                "rocketMQClusterName": "DefaultCluster",
                "namesrvAddr": namesrv,
                "grpcServerPort": port,
                "remotingListenPort": free_port(),
            }
        )
    )
    classpath = Path(options.proxy_classpath).read_text().strip()
    flags = (*PROXY_JVM, f"-Duser.home={home}")
    proxy = ServerProcess(
        "Apache proxy",
        [java_command(), *flags, "-cp", classpath, "org.apache.rocketmq.proxy.ProxyStartup"],
        environment=child_environment(ROCKETMQ_HOME=str(home)),
        cwd=home,
    )
    try:
        proxy.await_line("startup successfully", START_SECONDS)
        _move(proxy.pid, sorted(os.sched_getaffinity(0) - {CLIENT_CORE}) or [CLIENT_CORE])
        script = Path(__file__).with_name("grpc_python_client.py")
        words = [f"127.0.0.1:{port}", TOPIC, options.grpc_messages, options.rounds]
        done = subprocess.run(
            ["taskset", "-c", str(CLIENT_CORE), options.grpc_python, str(script)]
            + [str(word) for word in (*words, options.in_flight, options.size)],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    finally:
        proxy.kill()
    rounds = [Round(**json.loads(line)) for line in done.stdout.splitlines() if line[:1] == "{"]
    rates = [each.per_second for each in rounds]
    row = (
        "Apache, by its proxy",
        "gRPC",
        "rocketmq-python-client 5.1.2, single",
        f"{statistics.median(rates):,.0f}",
        f"{max(rates):,.0f}",
        f"{statistics.median(each.cpu_us for each in rounds):.1f}",
    )
    print(*row, sep="\t", flush=True)
    return row


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.python_client", description=__doc__)
    parser.add_argument("--servers", default="pyromq,apache", help="a list of: pyromq, apache")
    parser.add_argument("--headers", default="JSON,ROCKETMQ", help="forms of the headers")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"a list of: {', '.join(WAYS)}")
    parser.add_argument("--messages", type=int, default=102_400, help="per round")
    parser.add_argument("--warm-up", type=int, default=51_200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=512)
    parser.add_argument("--size", type=int, default=128, help="bytes of a body")
    parser.add_argument("--grpc-python", help="an interpreter that has rocketmq-python-client")
    parser.add_argument("--proxy-classpath", help="a file with rocketmq-proxy's class path")
    parser.add_argument("--grpc-messages", type=int, default=20_480, help="per round")
    parser.add_argument("--label", help="writes results/<date>-<label>.md")
    options = parser.parse_args(arguments)
    names = options.servers.split(",")
    if not set(names) <= set(SERVERS):
        parser.error(f"--servers {options.servers}: a list of {', '.join(SERVERS)}")
    rows: list[tuple[str, str, str, str, str, str]] = []
    versions: list[str] = []
    load_before = os.getloadavg()[0]
    kind = machine()
    with tempfile.TemporaryDirectory(prefix="bench-python-") as root:
        for server in servers_named(names, Path(root), list(SETTINGS), is_ephemeral=False):
            server.start()
            others = sorted(os.sched_getaffinity(0) - {CLIENT_CORE}) or [CLIENT_CORE]
            try:
                versions.append(server.version)
                for pid in server.pids.values():
                    _move(pid, others)
                with on_core(os.getpid(), CLIENT_CORE):
                    rows += uvloop.run(measure(server, options))
                if options.grpc_python and server.name == "Apache":
                    rows.append(measure_grpc(server.namesrv, Path(root), options))
            finally:
                server.clear()
    text = page(options, rows, versions, kind, load_before)
    print(text)
    if options.label:
        date = datetime.datetime.now(datetime.UTC).date()
        (RESULTS / f"{date}-{options.label}.md").write_text(text)
    return 0


def _move(pid: int, cores: list[int]) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def page(
    options: argparse.Namespace,
    rows: Sequence[Sequence[str]],
    versions: Sequence[str],
    kind: str,
    load_before: float,
) -> str:
    load = os.getloadavg()[0]
    return "\n".join(
        (
            f"# {options.label or 'python-client'}, {datetime.datetime.now(datetime.UTC).date()}",
            "",
            f"- Machine: {kind}; Python {platform.python_version()}, uvloop {version('uvloop')}."
            f" Load average {load_before:.1f} before, {load:.1f} after, of {os.cpu_count()} cores.",
            f"- Servers: {'; '.join(versions)}; ASYNC_FLUSH. Commit: {commit()}.",
            f"- `python -m bench.python_client`: {options.in_flight} in flight, bodies of"
            f" {options.size} bytes with key and tag, {options.rounds} rounds of"
            f" {options.messages:,} messages after {options.warm_up:,}; the client on core"
            f" {CLIENT_CORE}, the servers on the others. Medians, and the best round.",
            "",
            table(HEAD, rows),
            "",
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
