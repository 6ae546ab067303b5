"""mqadmin's commands about old files (codes 329 and 306), and reading below what they left: what it
prints and what a client gets, beside Apache's broker."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pyromq.codes import RequestCode
from tests.support.differential import Differential
from tests.support.foreign import JavaSession
from tests.support.mqadmin import Console
from tests.support.peers import Kind, Peer, running_peer
from tests.support.processes import Answer, ask, retries

pytestmark = [pytest.mark.foreign, pytest.mark.differential, pytest.mark.timeout(240)]

TOPIC, COUNT = "old", 45
BODY = bytes(100_000)
APACHES_FIRST_ROUND_SECONDS = 100.0
"""Its cleaning begins a minute after its start, then comes every ten seconds."""


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    files = {"mappedFileSizeCommitLog": str(1 << 20), "mappedFileSizeConsumeQueue": str(20 * 20)}
    # Everything is old enough at once; but nothing goes by itself: its hour is far.
    hour = (time.localtime().tm_hour + 12) % 24
    retention = {"fileReservedTime": "0", "deleteWhen": f"{hour:02}"}
    folder = tmp_path_factory.mktemp("peer")
    with running_peer(peer_kind, folder, files | retention) as running:
        yield running


def asked(broker: str, code: RequestCode, **more: str) -> Answer:
    return ask(broker, code, {"topic": TOPIC, "queueId": "0", **more})


def pull(broker: str, offset: int) -> Answer:
    return asked(
        broker, RequestCode.PULL_MESSAGE, consumerGroup="readers", queueOffset=str(offset),
        maxMsgNums="1", sysFlag="4", commitOffset="0", suspendTimeoutMillis="0",
        subscription="*", subVersion="0", expressionType="TAG",
    )  # fmt: skip


def test_old_files_go_at_an_operators_word_and_a_reader_below_is_told_where_to_begin(
    peer: Peer, differential: Differential
) -> None:
    with JavaSession(peer.namesrv) as java:
        console, broker = Console(java, peer), peer.broker
        console.note(f"deleteExpiredCommitLog -b {broker}")  # nothing is there yet
        console.note(f"cleanExpiredCQ -b {broker}")
        console.done(f"updateTopic -b {broker} -t {TOPIC} -r 1 -w 1")
        console.done(f"updateSubGroup -b {broker} -g readers")
        for number in range(COUNT):
            ext = {"a": "writers", "b": TOPIC, "c": "TBW102", "d": "1", "e": "0", "f": "0"}
            ext |= {"g": "1", "h": "0", "i": f"UNIQ_KEY\x01{number}\x02"}
            assert ask(broker, RequestCode.SEND_MESSAGE_V2, ext, BODY).code == 0
        console.note(f"deleteExpiredCommitLog -b {broker}")
        console.note("deleteExpiredCommitLog -c DefaultCluster")
        low = 0
        for _ in retries(APACHES_FIRST_ROUND_SECONDS, pause_seconds=0.2):
            low = int(asked(broker, RequestCode.GET_MIN_OFFSET).fields["offset"])
            if low > 0:
                break
        assert low > 0, "no file went"
        console.note(f"cleanExpiredCQ -b {broker}")
        console.note("cleanExpiredCQ -c DefaultCluster")
        console.note("deleteExpiredCommitLog -b 127.0.0.1:9")  # nobody
        # Between two looks more may have gone.
        for _ in retries(10):
            below = pull(broker, 0)
            low = int(asked(broker, RequestCode.GET_MIN_OFFSET).fields["offset"])
            if below.fields.get("nextBeginOffset") == str(low):
                break
        high = int(asked(broker, RequestCode.GET_MAX_OFFSET).fields["offset"])
        outcome: dict[str, object] = dict(console.forget())
        outcome["below min"] = [below.code, below.fields["nextBeginOffset"] == str(low)]
        outcome["max offset"] = high
        outcome["behind max"] = pull(broker, high + 5).code
    differential.check("mqadmin-retention", outcome)
