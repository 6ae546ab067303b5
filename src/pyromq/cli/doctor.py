"""`doctor`: what is wrong with a cluster or this machine, and which setting mends it.

Asked of the cluster: whether every address in the routes can be reached from here, whether it is
an address that others can reach, how full the disks are, and how far the brokers' clocks are from
this one. Looked at on this machine: kernel settings, and open files of the brokers that run here.
Nothing is changed, except that a producer named `pyromq-doctor` is registered for a moment to learn
a broker's time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pyromq.cli import machine
from pyromq.cli.calls import Call, Rows
from pyromq.cli.commands.brokers import UNREACHABLE, first_number
from pyromq.cli.output import show
from pyromq.client.admin import Admin, BrokerAddress
from pyromq.codes import RequestCode
from pyromq.wire.remoting.bodies.clients import Heartbeat, ProducerData, encode_heartbeat
from pyromq.wire.remoting.headers.clients import UnregisterClientHeader

Severity = Literal["error", "warning", "ok"]

CONNECT_SECONDS: Final = 3.0
CLOCK_WARNING_MS: Final = 1_000
"""Delays, transactions and searches by time go wrong by as much as clocks differ."""
CLOCK_ERROR_MS: Final = 30_000
DISK_WARNING: Final = 0.75
"""Apache's diskMaxUsedSpaceRatio: from here on old files are deleted before their time."""
DISK_ERROR: Final = 0.90
"""Apache's diskSpaceWarningLevelRatio: from here on messages are refused."""
GROUP: Final = "pyromq-doctor"


class Finding(NamedTuple):
    """One thing that was looked at. `mend` names the setting, empty if nothing is to be done."""

    severity: Severity
    check: str
    where: str
    found: str
    mend: str = ""


async def doctor(call: Call) -> int:
    admin, findings = call.admin, list[Finding]()
    findings += await check_name_servers(admin)
    brokers: list[BrokerAddress] = []
    try:
        brokers = await admin.brokers.addresses(call.optional("clusterName"), with_slaves=True)
    except UNREACHABLE as error:
        where = ", ".join(admin.names.addresses)
        findings.append(Finding("error", "brokers", where, str(error), "start a name server"))
    if not brokers and not any(one.check == "brokers" for one in findings):
        where = ", ".join(admin.names.addresses)
        mend = "set namesrvAddr of the brokers to these name servers"
        findings.append(Finding("error", "brokers", where, "no broker is registered", mend))
    outside = any(not _is_loopback(address) for address in admin.names.addresses)
    for broker in brokers:
        findings += check_address(broker, is_seen_from_outside=outside)
        found = await check_port(broker)
        findings.append(found)
        if found.severity != "ok":
            continue
        findings += await check_broker(admin, broker)
        findings.append(await check_clock(admin, broker))
        pid = machine.listener(int(broker.address.rpartition(":")[2]))
        if pid is not None and machine.is_here(broker.address):
            findings.append(machine_open_files(broker, pid))
    findings += check_kernel(machine.PROC)
    findings += check_disk(call.optional("data-dir"))
    return _shown(findings, as_json=call.wants_json)


def _shown(findings: Iterable[Finding], *, as_json: bool) -> int:
    order = {"error": 0, "warning": 1, "ok": 2}
    rows = sorted(findings, key=lambda one: order[one.severity])
    show([Rows(Finding._fields, rows)], as_json=as_json)
    return 1 if rows and rows[0].severity == "error" else 0


# ── the cluster ─────────────────────────────────────────────────────────────────────────────────


async def check_name_servers(admin: Admin) -> list[Finding]:
    findings = []
    for address in admin.names.addresses:
        began = time.perf_counter()
        try:
            await admin.servers.ask(address, RequestCode.GET_BROKER_CLUSTER_INFO)
        except UNREACHABLE as error:
            mend = "start it, or take it out of NAMESRV_ADDR; a firewall may be between"
            findings.append(Finding("error", "name server", address, str(error), mend))
        else:
            taken = (time.perf_counter() - began) * 1000
            findings.append(Finding("ok", "name server", address, f"answers in {taken:.0f} ms"))
    return findings


def check_address(broker: BrokerAddress, *, is_seen_from_outside: bool) -> list[Finding]:
    """Whether others can reach what the broker gives as its address."""
    host = broker.address.rpartition(":")[0].strip("[]")
    mend = "set brokerIP1 of the broker to an address that clients can reach"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return []
    if address.is_unspecified:
        found = "the route has an address that means `all interfaces`"
        return [Finding("error", "address", broker.address, found, mend)]
    if address.is_loopback:
        found = "the route has a loopback address: only clients on its own machine reach it"
        severity: Severity = "error" if is_seen_from_outside else "warning"
        return [Finding(severity, "address", broker.address, found, mend)]
    if address.is_link_local or address in _CONTAINER_NET:
        found = "the route has an address that is usually known inside one machine only"
        return [Finding("warning", "address", broker.address, found, mend)]
    return []


async def check_port(broker: BrokerAddress) -> Finding:
    host, _, port = broker.address.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError) as error:
        found = f"no connection: {error or f'no answer within {CONNECT_SECONDS:.0f} s'}"
        mend = (
            f"open port {port} in firewalls and containers, or set brokerIP1 and listenPort of "
            f"{broker.name} to what clients can reach"
        )
        return Finding("error", "port", broker.address, found, mend)
    writer.close()
    return Finding("ok", "port", broker.address, "can be reached from here")


async def check_broker(admin: Admin, broker: BrokerAddress) -> list[Finding]:
    where = f"{broker.name} {broker.address}"
    try:
        info = await admin.brokers.runtime(broker.address)
    except UNREACHABLE as error:
        mend = "look into the broker's log: the port is open, and it does not answer"
        return [Finding("error", "broker", where, str(error), mend)]
    findings = [Finding("ok", "broker", where, str(info.get("brokerVersionDesc", "")))]
    for name in ("commitLogDiskRatio", "consumeQueueDiskRatio"):
        used = first_number(info.get(name, ""))
        if used is None or used < 0:
            continue
        findings.append(disk_finding(f"disk ({name})", where, used))
    if int(info.get("storeCorruptRecords", "0") or 0) > 0:
        found = f"{info['storeCorruptRecords']} damaged records"
        findings.append(
            Finding("error", "store", where, found, "stop it and run `pyromq store check`")
        )
    return findings


def disk_finding(check: str, where: str, used: float) -> Finding:
    found = f"{used * 100:.0f} % used"
    mend = "add space, or lower fileReservedTime (hours messages are kept)"
    if used >= DISK_ERROR:
        return Finding("error", check, where, f"{found}: messages are refused", mend)
    if used >= DISK_WARNING:
        return Finding("warning", check, where, f"{found}: old files go before their time", mend)
    return Finding("ok", check, where, found)


async def check_clock(admin: Admin, broker: BrokerAddress) -> Finding:
    """The broker's time: when it says that it saw a heartbeat of ours."""
    where = f"{broker.name} {broker.address}"
    client_id = f"{GROUP}@{os.getpid()}"
    heartbeat = Heartbeat(client_id=client_id, producer_data_set=[ProducerData(GROUP)])
    ask = admin.servers.ask
    try:
        before = time.time() * 1000
        await ask(broker.address, RequestCode.HEART_BEAT, body=encode_heartbeat(heartbeat))
        after = time.time() * 1000
        producers = await admin.clients.all_producers(broker.address)
        leave = UnregisterClientHeader(client_id=client_id, producer_group=GROUP)
        await ask(broker.address, RequestCode.UNREGISTER_CLIENT, leave)
    except UNREACHABLE as error:
        return Finding("warning", "clock", where, f"not known: {error}")
    seen = [
        one.last_update_timestamp for one in producers.get(GROUP, []) if one.client_id == client_id
    ]
    if not seen:
        return Finding("warning", "clock", where, "not known: it did not list our heartbeat")
    return clock_finding(where, before, after, seen[0])


def clock_finding(where: str, before_ms: float, after_ms: float, seen_ms: int) -> Finding:
    """`seen_ms` by the broker's clock lies between the two of ours; what is beyond differs."""
    ahead = max(seen_ms - after_ms, 0.0) or min(seen_ms - before_ms, 0.0)
    found = f"{abs(ahead):.0f} ms {'ahead of' if ahead > 0 else 'behind'} this machine"
    mend = "run chronyd or systemd-timesyncd on both machines"
    if abs(ahead) >= CLOCK_ERROR_MS:
        return Finding("error", "clock", where, found, mend)
    if abs(ahead) >= CLOCK_WARNING_MS:
        return Finding("warning", "clock", where, found, mend)
    return Finding("ok", "clock", where, "as this machine's" if ahead == 0 else found)


# ── this machine ────────────────────────────────────────────────────────────────────────────────

_CONTAINER_NET: Final = ipaddress.ip_network("172.17.0.0/16")
OPEN_FILES_MIN: Final = 65_535
_KERNEL: Final = (
    ("vm/max_map_count", 262_144, None, "for Apache's brokers, which map every file"),
    ("vm/swappiness", None, 10, "a broker that was swapped out answers late"),
    ("net/core/somaxconn", 1_024, None, "connections that come all at once are refused"),
)


def check_kernel(proc: Path) -> list[Finding]:
    findings = []
    for name, low, high, why in _KERNEL:
        try:
            value = int((proc / "sys" / name).read_text())
        except (OSError, ValueError):
            continue  # not this kind of system
        key = name.replace("/", ".")
        wanted = f"{low} or more" if low is not None else f"{high} or less"
        if (low is not None and value < low) or (high is not None and value > high):
            mend = f"sysctl -w {key}={low if low is not None else high}"
            found = f"{value}, better {wanted}: {why}"
            findings.append(Finding("warning", f"kernel {key}", "this machine", found, mend))
        else:
            findings.append(Finding("ok", f"kernel {key}", "this machine", str(value)))
    return findings


def machine_open_files(broker: BrokerAddress, pid: int) -> Finding:
    limit = machine.open_files_max(pid)
    where = f"{broker.name}, process {pid} of this machine"
    if limit is None:
        return Finding("warning", "open files", where, "its limit cannot be read", "run as root")
    if limit < OPEN_FILES_MIN:
        mend = f"LimitNOFILE={OPEN_FILES_MIN} in its systemd unit, or `ulimit -n {OPEN_FILES_MIN}`"
        found = f"at most {limit}, better {OPEN_FILES_MIN}: connections and files count"
        return Finding("warning", "open files", where, found, mend)
    return Finding("ok", "open files", where, f"at most {limit}")


def check_disk(directory: str | None) -> list[Finding]:
    if directory is None:
        return []
    try:
        space = os.statvfs(directory)
    except OSError as error:
        mend = "give --data-dir a directory of this machine"
        return [Finding("error", "disk", directory, str(error.strerror), mend)]
    used = 1 - space.f_bavail / space.f_blocks if space.f_blocks else 0.0
    return [disk_finding("disk", directory, used)]


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


__all__ = [
    "Finding",
    "check_address",
    "check_disk",
    "check_kernel",
    "clock_finding",
    "disk_finding",
    "doctor",
]
