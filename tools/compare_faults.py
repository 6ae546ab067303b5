"""The same faults on Apache RocketMQ 5.5.0 and on our server, as a table.

    python -m tools.compare_faults [--kills 4]

kill   SIGKILL under load, SYNC_FLUSH, then every rule of tests/support/checker.py
EIO    one sync of the log fails (strace), SYNC_FLUSH: what do the sends get, and do more go through
flip   200 messages acknowledged, SIGKILL, one bit of the 50th body flipped, a start: what is there
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyromq.codes import RequestCode
from pyromq.wire.record import decode_records
from tests.support.apache import ApacheBroker
from tests.support.disk_error_run import SEND
from tests.support.history import Outcome, Try, body_of, try_of
from tests.support.kill_run import SETTINGS, Server, run, server
from tests.support.processes import ServerFailed, ask
from tests.support.pyromq_server import PyromqServer
from tests.support.strace import Strace

TOPIC = "compared"
MESSAGES, FLIPPED = 200, 50
SENDS_WITH_ERROR = 20
MODE = "SYNC_FLUSH"


class Apache:
    """Apache's broker with the settings of ours, beside a name server of ours."""

    def __init__(self, store: Path, mode: str) -> None:
        self._store, self._mode = store, mode
        self._names = PyromqServer("namesrv", "--namesrv-port", 0, "--data-dir", f"{store}-names")
        self._broker: ApacheBroker | None = None
        self.ready_seconds = 0.0

    def start(self) -> None:
        began = time.monotonic()
        self._names.start()
        settings = {key: str(value) for key, value in SETTINGS.items() if key != "reserveAheadSize"}
        settings["flushDiskType"] = self._mode
        self._broker = ApacheBroker(self._store, namesrv=self._names.namesrv, properties=settings)
        self._broker.start()
        self.ready_seconds = time.monotonic() - began

    @property
    def broker(self) -> str:
        assert self._broker is not None
        return self._broker.address

    @property
    def pid(self) -> int:
        assert self._broker is not None
        return self._broker.pid

    def stop(self) -> None:
        self.kill()  # a clean stop of Apache's broker takes 10 s and is not the question

    def kill(self) -> None:
        if self._broker is not None:
            self._broker.kill()
        self._names.kill()


Starter = Callable[[Path, str], Server]


@contextmanager
def running(start: Starter, store: Path) -> Iterator[Server]:
    current = start(store, MODE)
    current.start()
    try:
        yield current
    finally:
        current.kill()


def send(address: str, number: int) -> int:
    """The code of the answer to one message."""
    ext = {"a": "producers", "b": TOPIC, "c": "TBW102", "d": "1", "e": "0", "f": "0", "g": "0"}
    ext |= {"h": "0", "i": f"UNIQ_KEY\x01{number}\x02"}
    body = body_of(Try("compared", number, 0), 100)
    return ask(address, SEND, ext, body, timeout_seconds=30).code


def received(address: str) -> list[Try | None]:
    """All messages there are; None for bytes that nobody sent."""
    queue = {"topic": TOPIC, "queueId": "0"}
    high = int(ask(address, RequestCode.GET_MAX_OFFSET, queue).fields["offset"])
    found: list[Try | None] = []
    offset = 0
    while offset < high:
        ext = queue | {"consumerGroup": "readers", "queueOffset": str(offset), "maxMsgNums": "32"}
        ext |= {"sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0"}
        ext |= {"subscription": "*", "subVersion": "0", "expressionType": "TAG"}
        answer = ask(address, RequestCode.PULL_MESSAGE, ext)
        following = int(answer.fields["nextBeginOffset"])
        found += [try_of(record.body) for record in decode_records(answer.body)]
        if following <= offset:
            break
        offset = following
    return found


def kill(start: Starter, store: Path, kills: int) -> str:
    result = asyncio.run(run(store, MODE, kills, random.Random(1), start))
    rules = Counter(violation.rule for violation in result.violations)
    broken = ", ".join(f"{count} x {rule}" for rule, count in sorted(rules.items())) or "none"
    acknowledged = sum(sent.outcome is Outcome.OK for sent in result.history.sent)
    for violation in result.violations[:5]:
        print(f"    {violation.rule}: {violation.text}", flush=True)
    return (
        f"{kills} kills, {acknowledged} acknowledged; rules broken: {broken}; "
        f"up again in at most {result.ready_seconds_max:.1f} s"
    )


def eio(start: Starter, store: Path, _: int) -> str:
    with running(start, store) as current:
        for number in range(SENDS_WITH_ERROR):
            assert send(current.broker, number) == 0
        calls = [f"{name}:error=EIO:when=1" for name in ("msync", "fdatasync", "fsync")]
        with Strace(current.pid, *calls) as strace:
            numbers = range(SENDS_WITH_ERROR, 2 * SENDS_WITH_ERROR)
            codes = [send(current.broker, number) for number in numbers]
            current.kill()
            failed = sum(call.is_injected for call in strace.calls())
    told = ", ".join(f"{count} x code {code}" for code, count in sorted(Counter(codes).items()))
    return f"{failed} syncs failed; first send {codes[0]}; of {len(codes)} sends {told}"


def flip(start: Starter, store: Path, _: int) -> str:
    with running(start, store) as current:
        for number in range(MESSAGES):
            assert send(current.broker, number) == 0
        current.kill()
    body = body_of(Try("compared", FLIPPED, 0), 100)
    for segment in sorted((store / "commitlog").iterdir()):
        data = bytearray(segment.read_bytes())
        at = data.find(body)
        if at >= 0:
            data[at + len(body) // 2] ^= 1
            segment.write_bytes(data)
    try:
        with running(start, store) as current:
            found = received(current.broker)
            again = send(current.broker, MESSAGES)
    except ServerFailed as error:
        return f"does not start: {str(error).splitlines()[-1][:100]}"
    good = sum(which is not None for which in found)
    return (
        f"{good} of {MESSAGES - 1} undamaged messages are there, "
        f"{len(found) - good} with wrong bytes; the next send gets {again}"
    )


FAULTS = {"kill": kill, "EIO": eio, "flip": flip}
SERVERS: dict[str, Starter] = {"pyromq": server, "Apache 5.5.0": Apache}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=4)
    options.add_argument("--faults", default=",".join(FAULTS))
    chosen = options.parse_args()
    rows = ["| fault | server | outcome |", "| --- | --- | --- |"]
    for fault in chosen.faults.split(","):
        for name, start in SERVERS.items():
            print(f"{fault} on {name} …", flush=True)
            with tempfile.TemporaryDirectory(prefix="compare-faults-") as directory:
                outcome = FAULTS[fault](start, Path(directory) / "store", chosen.kills)
            rows.append(f"| {fault} | {name} | {outcome} |")
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
