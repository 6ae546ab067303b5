"""The same faults on Apache RocketMQ 5.5.0 and on our server, as a table.

    python -m tools.compare_faults [--kills 4]

kill   SIGKILL under load, SYNC_FLUSH, then every rule of tests/support/checker.py
EIO    one sync of the log fails (strace), SYNC_FLUSH: what do the sends get, and do more go through
flip   200 messages acknowledged, SIGKILL, one bit of the 50th body flipped, a start: what is there
full   a tmpfs filled up with messages, room again, SIGKILL, a start: which acknowledged ones are
       there, and did sends succeed again before the start; needs root
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
from dataclasses import dataclass, field
from pathlib import Path

from pyromq.codes import RequestCode
from pyromq.wire.record import decode_records
from tests.support.apache import ApacheBroker
from tests.support.disk_error_run import SEND
from tests.support.history import Outcome, Try, body_of, try_of
from tests.support.kill_run import SETTINGS, Server, run, server
from tests.support.processes import ServerFailed, ask, retries
from tests.support.pyromq_server import PyromqServer
from tests.support.small_disk import MIB, CannotMount, mounted
from tests.support.strace import Strace

TOPIC = "compared"
MESSAGES, FLIPPED = 200, 50
SENDS_WITH_ERROR = 20
DISK_MIB, BALLAST_MIB = 64, 24
BODY_BYTES = 50_000
REFUSALS_IN_A_ROW = 50
FULL_SECONDS = 20.0
"""How long sends go on after the first one that was refused, where some still succeed."""
HEAL_SECONDS = 30.0
"""Three of the rounds in which Apache's broker looks at its disk."""
MODE = "SYNC_FLUSH"
NO_CLEANING = {"cleanFileForciblyEnable": "false"}
"""Both would make room on a full disk by deleting old messages, which is not the question."""


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
        wanted = {**SETTINGS, **NO_CLEANING}
        settings = {key: str(value) for key, value in wanted.items() if key != "reserveAheadSize"}
        settings["flushDiskType"] = self._mode
        # Its files of 138 MB would fill a small disk before any message does.
        settings["timerWheelEnable"] = "false"
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


def ours(store: Path, mode: str) -> Server:
    """Our server, with the same settings."""
    return server(store, mode, **NO_CLEANING)


Starter = Callable[[Path, str], Server]


@contextmanager
def running(start: Starter, store: Path) -> Iterator[Server]:
    current = start(store, MODE)
    current.start()
    try:
        yield current
    finally:
        current.kill()


def send(address: str, number: int, size: int = 100, timeout_seconds: float = 30.0) -> int:
    """The code of the answer to one message."""
    ext = {"a": "producers", "b": TOPIC, "c": "TBW102", "d": "1", "e": "0", "f": "0", "g": "0"}
    ext |= {"h": "0", "i": f"UNIQ_KEY\x01{number}\x02"}
    body = body_of(Try("compared", number, 0), size)
    return ask(address, SEND, ext, body, timeout_seconds=timeout_seconds).code


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


@dataclass
class Sends:
    """Messages of one number after the other, and what their answers were."""

    acknowledged: set[int] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    """Of those that were not acknowledged."""
    next_number: int = 0

    def send(self, address: str) -> bool:
        """Whether it was acknowledged."""
        number, self.next_number = self.next_number, self.next_number + 1
        try:
            code = send(address, number, BODY_BYTES, timeout_seconds=10)
        except OSError as error:
            self.answers[type(error).__name__] += 1
            return False
        if code != 0:
            self.answers[f"code {code}"] += 1
            return False
        self.acknowledged.add(number)
        return True

    def until_full(self, address: str) -> None:
        """Until many in a row were refused, or until some were for so long."""
        in_a_row, first_refused = 0, None
        while in_a_row < REFUSALS_IN_A_ROW:
            in_a_row = 0 if self.send(address) else in_a_row + 1
            if in_a_row and first_refused is None:
                first_refused = time.monotonic()
            if first_refused is not None and time.monotonic() - first_refused > FULL_SECONDS:
                break

    def until_taken(self, address: str) -> float | None:
        """The seconds until one was acknowledged; None if none was."""
        began = time.monotonic()
        for _ in retries(HEAL_SECONDS, pause_seconds=0.1):
            if self.send(address):
                return time.monotonic() - began
        return None


def full(start: Starter, store: Path, _: int) -> str:
    sends = Sends()
    with mounted(store.with_name("disk"), DISK_MIB) as disk:
        root = disk.path / "store"
        ballast = disk.take("ballast", BALLAST_MIB * MIB)
        with running(start, root) as current:
            sends.until_full(current.broker)
            count = len(sends.acknowledged)
            told = ", ".join(f"{n} x {answer}" for answer, n in sorted(sends.answers.items()))
            ballast.unlink()
            healed_seconds = sends.until_taken(current.broker)
            acknowledged = set(sends.acknowledged)
        try:
            with running(start, root) as current:
                found = {which.seq for which in received(current.broker) if which is not None}
                again = sends.until_taken(current.broker)
        except ServerFailed as error:
            return f"{count} acknowledged; does not start: {str(error).splitlines()[-1][:100]}"
    heals = (
        f"taken again {healed_seconds:.1f} s after there was room"
        if healed_seconds is not None
        else f"nothing taken for {HEAL_SECONDS:.0f} s after there was room"
    )
    restarted = "" if again is not None else "; nor after a start"
    return (
        f"{count} acknowledged, then {told}; {heals}{restarted}; "
        f"of all {len(acknowledged)} acknowledged {len(acknowledged - found)} cannot be consumed "
        f"after a start"
    )


FAULTS = {"kill": kill, "EIO": eio, "flip": flip, "full": full}
SERVERS: dict[str, Starter] = {"pyromq": ours, "Apache 5.5.0": Apache}


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
                try:
                    outcome = FAULTS[fault](start, Path(directory) / "store", chosen.kills)
                except CannotMount as error:
                    outcome = f"NOT TRIED: {error}"
            rows.append(f"| {fault} | {name} | {outcome} |")
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
