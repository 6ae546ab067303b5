"""One store directory that goes back and forth between ours and Apache's broker 5.5.0.

At each hand-over the owner stops cleanly or is killed, in the middle of what it does. The next one
must have every message with equal bytes in its queue, every topic, group and committed offset, and
deliver what waits, never early. Only what Apache itself loses by a kill is not asked for: offsets
that were committed there, of which it writes the first after ten seconds.

In `make test` five hand-overs in a fixed order; `make interop-campaign ROUNDS=30` as many as wanted
in a random one. A failure prints its seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import delayed
from tests.support.apache import ApacheBroker
from tests.support.ledger import enter
from tests.support.peers import Kind, running_namesrv
from tests.support.processes import ServerFailed, child_environment, retries
from tests.support.pyromq_server import PyromqServer
from tests.support.store_content import Content, assert_file_sizes

ROUNDS = int(os.environ.get("PYROMQ_INTEROP_ROUNDS", "0"))
SEED = int(os.environ.get("PYROMQ_SEED", "0")) or random.randrange(1, 1 << 32)

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.timeout(180 + 60 * ROUNDS),
    pytest.mark.usefixtures("java_program"),
]

PROPERTIES = {
    "messageDelayLevel": "1s 4s",
    "mappedFileSizeCommitLog": str(256 * 1024),
    "mappedFileSizeConsumeQueue": str(300 * 20),
    "maxHashSlotNum": "500",
    "maxIndexNum": "2000",
}
SOON, LATER = 1, 2
DELAY_MS = {SOON: 1000, LATER: 4000}
TOPIC = "handed"
GROUP = "handed-group"


class Store:
    """The directory and what has been promised about it."""

    def __init__(self, root: Path, namesrv: str) -> None:
        self.root = root
        self.namesrv = namesrv
        self.content = Content()
        self.waiting: list[delayed.Waiting] = []
        self.may_come_twice = False
        """A server was killed while it delivered."""
        self.unknown_to_apache: list[str] = []
        """Made in the seconds before ours was killed."""

    @contextlib.contextmanager
    def owned_by(self, kind: Kind) -> Iterator[PyromqServer | ApacheBroker]:
        """The server on the directory; killed at the end unless it was stopped."""
        if kind == "ours":
            words = [
                word for key, value in PROPERTIES.items() for word in ("--set", f"{key}={value}")
            ]
            doors = ("--namesrv-port", 0, "--broker-port", 0)
            ours = PyromqServer("standalone", "--data-dir", self.root, *doors, *words).start()
            try:
                yield ours
            finally:
                ours.kill()
        else:
            # A cold JVM would throw requests away; the timer's clean stop takes six seconds more.
            more = {"waitTimeMillsInSendQueue": "20000", "timerWheelEnable": "false"}
            with ApacheBroker(
                self.root, namesrv=self.namesrv, properties={**PROPERTIES, **more}
            ) as apaches:
                yield apaches

    def hand_over(self, kind: Kind, is_killed: bool, number: int) -> None:
        """A server takes the directory over, shows all of it, adds to it and leaves."""
        content = self.content
        with self.owned_by(kind) as owner:
            address = owner.broker if isinstance(owner, PyromqServer) else owner.address
            unknown = self.unknown_to_apache if kind == "apache" else []
            content.check(address, but=unknown)
            if number == 0:
                content.put_topic(address, TOPIC)
                content.put_group(address, GROUP, 3)
                delayed.create_topic(address)
            self._check_delayed(address)
            topic, group = f"topic-{number}", f"group-{number}"
            content.put_topic(address, topic, 4 + 2 * (number % 2))
            content.put_group(address, group, number)
            content.send(address, TOPIC, 150)
            if not (is_killed and kind == "apache"):
                content.commit(address, GROUP, TOPIC, 10 * number + 1)
                content.commit(address, group, TOPIC, number + 1)
            self._send_delayed(address)
            if is_killed and kind == "ours":
                self._await_files(topic, group)
                # Apache starts from files that know nothing of what comes now.
                content.put_topic(address, f"late-{topic}")
                content.put_group(address, f"late-{group}", 7)
                content.send(address, f"late-{topic}", 20)
                content.commit(address, f"late-{group}", TOPIC, 5)
                self.unknown_to_apache += [f"late-{topic}", f"late-{group}"]
            if is_killed:
                self.may_come_twice = True
                owner.kill()
            else:
                owner.stop()
            if kind == "ours" and not is_killed:
                self.unknown_to_apache.clear()
        assert_file_sizes(self.root, PROPERTIES)

    def _await_files(self, topic: str, group: str) -> None:
        """Until the files that Apache reads show what was done so far; ours writes every 5 s."""
        wanted = {
            "topics.json": topic,
            "subscriptionGroup.json": group,
            "consumerOffset.json": f"{TOPIC}@{group}",
        }
        for _ in retries(20):
            with contextlib.suppress(FileNotFoundError):  # not yet, or between two renames
                texts = {name: (self.root / "config" / name).read_text() for name in wanted}
                if all(f'"{wanted[name]}"' in text for name, text in texts.items()):
                    return
        raise AssertionError(f"{topic} and {group} never came into the files")

    def _send_delayed(self, address: str) -> None:
        first = len(self.waiting)
        self.waiting += delayed.send(address, range(first, first + 10), (SOON,))
        self.waiting += delayed.send(address, range(first + 10, first + 30), (LATER,))

    def _check_delayed(self, address: str) -> None:
        """What waited comes: all of it, not early, and once unless a server was killed at it."""
        for _ in retries(20):
            copies = delayed.delivered(address)
            if len(copies) == len(self.waiting):
                break
        assert sorted(copies) == [message.number for message in self.waiting]
        waits = delayed.waiting(address, SOON) | delayed.waiting(address, LATER)
        for message in self.waiting:
            records = copies[message.number]
            due_ms = waits[message.number].store_timestamp_ms + DELAY_MS[message.level]
            assert min(record.store_timestamp_ms for record in records) >= due_ms
            assert len(records) == 1 or self.may_come_twice


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with running_namesrv("ours", tmp_path) as namesrv:
        yield Store(tmp_path / "store", namesrv)


def test_ours_and_apache_take_turns_on_one_store(store: Store) -> None:
    store.hand_over("ours", True, 0)
    store.hand_over("apache", False, 1)
    store.hand_over("ours", False, 2)
    store.hand_over("apache", True, 3)
    store.hand_over("ours", True, 4)
    store.hand_over("apache", True, 5)
    with store.owned_by("ours") as owner:
        assert isinstance(owner, PyromqServer)
        store.content.check(owner.broker)


def test_neither_starts_while_the_other_owns_the_store(store: Store) -> None:
    with store.owned_by("ours") as owner:
        assert isinstance(owner, PyromqServer)
        store.content.put_topic(owner.broker, TOPIC)
        store.content.send(owner.broker, TOPIC, 200)
        with pytest.raises(ServerFailed, match="Lock failed"), store.owned_by("apache"):
            pass
        # What it did on its way: it loads and repairs the store before it asks for the lock, writes
        # the files of config/ anew and removes `abort`. All of ours must outlive that.
        store.content.put_topic(owner.broker, "after")
        store.content.send(owner.broker, TOPIC, 200)
        store.content.check(owner.broker)
        owner.stop()
    with store.owned_by("ours") as owner:  # the next start finds its index gone, and makes it again
        assert isinstance(owner, PyromqServer)
        store.content.check(owner.broker)
        owner.stop()
    with store.owned_by("apache") as owner:
        before = {path: path.stat().st_mtime_ns for path in store.root.glob("pyromq/*")}
        command = [sys.executable, "-m", "pyromq", "standalone", "--data-dir", str(store.root)]
        refused = subprocess.run(
            [*command, "--namesrv-port", "0", "--broker-port", "0"],
            capture_output=True,
            text=True,
            env=child_environment(),
            timeout=30,
            check=False,
        )
        assert refused.returncode == 3, refused.stderr
        assert refused.stdout == ""
        assert str(store.root) in refused.stderr
        assert {path: path.stat().st_mtime_ns for path in store.root.glob("pyromq/*")} == before
        assert isinstance(owner, ApacheBroker)
        # Refused, it may have deleted our index file; ours renews that at its next start.
        store.content.check(owner.address, with_keys=False)


if ROUNDS:  # else it is no test at all: nothing is skipped

    def test_campaign_of_random_hand_overs(store: Store) -> None:
        print(f"PYROMQ_SEED={SEED}")  # noqa: T201 — shown when the test fails
        chance = random.Random(SEED)
        started = time.monotonic()
        done = 0
        try:
            for number in range(ROUNDS):
                kind: Kind = "apache" if number % 2 else "ours"
                store.hand_over(kind, chance.random() < 0.5, number)
                done += 1
        finally:
            enter("interop", SEED, done, int(done != ROUNDS))
            print(f"{done} hand-overs in {time.monotonic() - started:.0f} s")  # noqa: T201
