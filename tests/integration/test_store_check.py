"""`pyromq store check` and `repair` beside Apache's broker 5.5.0.

What it leaves is sound; what it makes of a damaged log is what check said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyromq.codes import RequestCode
from tests.support.apache import ApacheBroker
from tests.support.peers import running_namesrv
from tests.support.pyromq_server import PyromqServer
from tests.support.store_command import command, findings, flip, options, tree
from tests.support.store_content import QUEUES, Content, ask_all, pull_all

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(180)]

SIZES = {
    "mappedFileSizeCommitLog": 1 << 20,
    "mappedFileSizeConsumeQueue": 500 * 20,
    "maxHashSlotNum": 1000,
    "maxIndexNum": 4000,
}
PROPERTIES = {name: str(size) for name, size in SIZES.items()}
# A cold JVM would throw requests away; the timer's clean stop takes six seconds more.
PROPERTIES |= {"waitTimeMillsInSendQueue": "20000", "timerWheelEnable": "false"}
TOPIC, GROUP, COUNT = "checked", "checkers", 2_000
MAX = RequestCode.GET_MAX_OFFSET


def filled_by_apache(root: Path, namesrv: str, *, is_killed: bool) -> Content:
    content = Content()
    with ApacheBroker(root, namesrv=namesrv, properties=PROPERTIES) as apaches:
        content.put_topic(apaches.address, TOPIC)
        content.put_group(apaches.address, GROUP, 3)
        for _ in range(4):
            content.send(apaches.address, TOPIC, COUNT // 4)
        content.check(apaches.address)  # what is served has been dispatched
        if is_killed:
            apaches.kill()
        else:
            apaches.stop()
    return content


@pytest.fixture
def namesrv(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "names"
    folder.mkdir()
    with running_namesrv("ours", folder) as address:
        yield address


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_nothing_is_wrong_with_what_apaches_broker_leaves(
    is_killed: bool, tmp_path: Path, namesrv: str, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "store"
    filled_by_apache(root, namesrv, is_killed=is_killed)
    before = tree(root)
    code, said, _ = command(capfd, "check", root, sizes=SIZES)
    assert tree(root) == before
    notes = [one for one in findings(said) if one["severity"] == "note"]
    assert findings(said) == notes, "a false finding"
    assert ("unclean-stop" in {one["kind"] for one in notes}) == is_killed
    assert (code, said["message_count"]) == (0, COUNT)


def max_offsets(address: str) -> int:
    """Of all queues together."""
    places = [{"topic": TOPIC, "queueId": str(queue)} for queue in range(QUEUES)]
    return sum(int(a.ext["offset"]) for a in ask_all(address, [(MAX, p, b"") for p in places]))


def test_apache_cuts_at_a_bad_record_what_check_says_and_ours_serves_around_it(
    tmp_path: Path, namesrv: str, capfd: pytest.CaptureFixture[str]
) -> None:
    root, apaches_copy = tmp_path / "store", tmp_path / "copy"
    content = filled_by_apache(root, namesrv, is_killed=True)
    victim = content.records[TOPIC, 1][200]
    base = victim.log_offset - victim.log_offset % (1 << 20)
    flip(root / "commitlog" / f"{base:020}", victim.log_offset % (1 << 20) + 90)
    shutil.copytree(root, apaches_copy)

    code, said, _ = command(capfd, "check", root, sizes=SIZES)
    assert code == 1
    assert said["message_count"] == COUNT - 1
    cut = int(str(said["apache_cuts_messages"]))
    assert 0 < cut < COUNT
    with ApacheBroker(apaches_copy, namesrv=namesrv, properties=PROPERTIES) as apaches:
        assert max_offsets(apaches.address) == COUNT - cut - 1
        apaches.kill()

    command(capfd, "repair", root, "--yes", sizes=SIZES)
    doors = ("--namesrv-port", 0, "--broker-port", 0)
    with PyromqServer("standalone", "--data-dir", root, *doors, *options(SIZES)) as ours:
        for queue in range(QUEUES):
            wanted = content.records[TOPIC, queue]
            if queue == 1:
                wanted = [record for record in wanted if record != victim]
            assert pull_all(ours.broker, TOPIC, queue) == wanted
        assert max_offsets(ours.broker) == COUNT, "no place is given again"
