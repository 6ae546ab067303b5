"""Apache's mqadmin 5.5.0, unmodified: options that the other tests leave out, what is wrong with a
command, and the rounds of startMonitoring; each beside Apache's server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession
from tests.support.listeners import Listener
from tests.support.mqadmin import Console
from tests.support.mqadmin_market import COUNT, HALF, Stock, stock
from tests.support.peers import Kind, Peer, running_peer

pytestmark = [pytest.mark.foreign, pytest.mark.differential, pytest.mark.timeout(120)]

CLUSTER = "DefaultCluster"
LATER = 4_102_444_800_000
"""A time in ms at which no message was stored."""
EXPONENTIAL = (
    '{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000,"max":9000,"multiplier":3}}'
)


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with running_peer(peer_kind, tmp_path_factory.mktemp("peer")) as running:
        yield running


@pytest.fixture(scope="module")
def console(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with JavaSession(peer.namesrv, cwd=tmp_path_factory.mktemp("mqadmin")) as java:
        yield Console(java, peer)


@pytest.fixture(autouse=True)
def _nothing_noted(console: Console) -> None:
    console.forget()


@pytest.fixture(scope="module")
def clients(peer: Peer) -> Iterator[JavaSession]:
    with JavaSession(peer.namesrv) as session:
        yield session


@pytest.fixture(scope="module")
def wares(console: Console, clients: JavaSession) -> Stock:
    """A topic of which group "traders" has consumed everything, and left."""
    wares = stock(console, clients, "wares")
    with Listener(clients, "wares", "traders") as listener:
        assert len(listener.heard(COUNT)) == COUNT
    console.until("consumerProgress -g traders", "Consume Diff Total: 0")
    return wares


def test_messages_are_found_within_limits_of_time_and_number(
    console: Console, wares: Stock, differential: Differential
) -> None:
    middle = wares.middle_ms
    by_tag = "queryMsgByKey -t wares -k A -p T"
    # Times are indexed in seconds: within one, every message counts.
    assert len(console.note(f"{by_tag} -b 0 -e {LATER}").rows) == 1 + HALF
    console.note(f"{by_tag} -b {LATER} -e {LATER + 1}")
    console.note(f"{by_tag} -m 3")
    console.note(f"queryMsgByKey -t wares -k wares-3 -p K -c {CLUSTER} -m 1")
    console.note(f"queryMsgByKey -t wares -k wares-3 -e {middle} -b {LATER}")
    unique = f"queryMsgByUniqueKey -t wares -i {wares.first['first_id']}"
    console.note(f"{unique} -s 0 -e {LATER}")
    console.note(f"{unique} -s {LATER} -e {LATER + 1}")
    assert (
        console.note(f"printMsg -t wares -b {middle} -e {LATER} -d false").text.count("MSGID")
        == HALF
    )
    console.note(f"printMsg -t wares -e {middle} -s A||B -c UTF-8")
    queue = "printMsgByQueue -t wares -a broker-a -i 1"
    console.note(f"{queue} -p true -d true -b {middle} -e {LATER}")
    console.note(f"{queue} -f true -s A")
    console.note("consumeMessage -t wares -g samplers -b broker-a -i 0 -o 3 -c 2")
    console.note(f"consumeMessage -t wares -g samplers -b broker-a -i 0 -s 0 -e {middle}")
    console.note("consumeMessage -t wares -g samplers -b broker-a -i 0 -o 8 -c 5")
    console.note(f"queryCq -t wares -q 1 -i 8 -c 5 -b {console.broker}")
    console.note("queryCq -t wares -q 1 -i 10 -c 5")
    # Behind the last entry Apache's answer has no body, which mqadmin does not expect.
    nothing = ["Queue data:", "max: 10, min: 0", "=" * 38]
    differential.check(
        "mqadmin-limits",
        console.forget(),
        ours={"queryCq -t wares -q 1 -i 10 -c 5": nothing},
    )


def test_settings_of_topics_and_groups_have_further_options(
    console: Console, differential: Differential
) -> None:
    at = f"-b {console.broker}"
    console.note(f"updateTopic {at} -t units -r 2 -w 2 -u true -s true")
    console.until("topicRoute -t units -l", "broker-a")
    console.note("topicRoute -t units")
    console.note(f"updateTopic {at} -t units -r 2 -w 2 -a +message.type=DELAY")
    console.note(f"updateTopic {at} -t units -r 2 -w 2 -a -message.type")
    for words in ("-r 0 -w 0", "-r 1 -w -1", "-r 2 -w 2 -p 8", "-r 2 -w 2 -p 2", "-r many"):
        console.note(f"updateTopic {at} -t units {words}")
    console.note(f"updateSubGroup {at} -g growing -r 4 -p {EXPONENTIAL}")
    console.note("getConsumerConfig -g growing")
    console.note(f"updateSubGroup {at} -g not*legal")
    console.note(f"updateSubGroup {at} -g growing -q -1")
    console.note(f"deleteSubGroup {at} -g growing")
    console.note(f"clusterList -c {CLUSTER}")
    console.note(f"clusterList -m -c {CLUSTER}")
    at = "-b ADDRESS"
    differential.check(
        "mqadmin-further-options",
        console.forget(),
        ours={  # Apache takes numbers of queues that no queue can have.
            f"updateTopic {at} -t units -r 0 -w 0": [illegal("readQueueNums[0]", 1)],
            f"updateTopic {at} -t units -r 1 -w -1": [illegal("writeQueueNums[-1]", 1)],
            f"updateSubGroup {at} -g growing -q -1": [illegal("retryQueueNums[-1]", 0)],
        },
    )


def illegal(value: str, least: int) -> str:
    return f"! CODE: 29 DESC: {value} is illegal, accepted is {least} to 1024"


def test_progress_and_offsets_of_a_group_have_further_options(
    console: Console, wares: Stock, differential: Differential
) -> None:
    console.note("consumerProgress -g traders -t wares -c DefaultCluster")
    levels = {}
    for level in (0, 1):
        printed = console.done(f"brokerConsumeStats -b {console.broker} -l {level} -t 3000")
        levels[f"level {level}"] = printed.only("wares").masked()
    console.note("resetOffsetByTime -g traders -t wares -s 2020-01-01#00:00:00:000 -f true")
    console.note("consumerProgress -g traders -t wares")
    printed = console.done(f"brokerConsumeStats -b {console.broker} -l 1")
    levels["level 1, behind"] = printed.only("wares").masked()
    console.note(f"resetOffsetByTime -g traders -t wares -s {wares.middle_ms} -f false")
    console.note("consumerProgress -g traders -t wares")
    console.note("resetOffsetByTime -g traders -t wares -s yesterday")
    console.note(f"resetOffsetByTime -g traders -t wares -s 0 -b {console.broker} -q 0 -o 100")
    console.note(f"resetOffsetByTime -g traders -t wares -s 0 -b {console.broker} -q 9 -o 1")
    console.note("skipAccumulatedMessage -g traders -t wares -f true")
    console.done(f"updateSubGroup -b {console.broker} -g heirs")
    console.note("cloneGroupOffset -s traders -d heirs -t wares -o true")
    console.note("consumerProgress -g heirs -t wares")
    outcome = {**levels, **console.forget()}
    reset_of_no_queue = "resetOffsetByTime -g traders -t wares -s 0 -b ADDRESS -q 9 -o 1"
    ours = {
        # At Apache's, what was pulled before a reset stays in flight though nobody has it.
        f"consumerProgress -g traders -t wares{again}": nothing_in_flight(
            outcome[f"consumerProgress -g traders -t wares{again}"]
        )
        for again in ("", " (2)")
    }
    # Apache sets the offset of a queue that the topic does not have.
    ours[reset_of_no_queue] = [
        *outcome[reset_of_no_queue][:2],
        "! CODE: 29 DESC: CODE: 29 DESC: queueId[9] is illegal, "
        "topic:[wares] topicConfig.readQueueNums:[2]",
    ]
    differential.check("mqadmin-further-progress", outcome, ours=ours)


def nothing_in_flight(lines: list[str]) -> list[str]:
    """The same text about a group of which no message is on its way."""
    told = [re.sub(r"(wares  broker-a(?:  \d+){4})  \d+", r"\1  0", line) for line in lines]
    return [re.sub(r"(Inflight Total: )\d+", r"\g<1>0", line) for line in told]


def test_what_is_wrong_with_a_command_is_told_as_apache_tells_it(
    console: Console, wares: Stock, differential: Differential
) -> None:
    at = f"-b {console.broker}"
    unique = wares.first["first_id"]
    for command in (
        "topicStatus -t nothing",
        "queryMsgByKey -t nothing -k key",
        f"queryMsgByUniqueKey -t nothing -i {unique}",
        f"queryMsgById -t nothing -i {wares.first['first_offset_id']}",
        "queryMsgById -t wares -i nonsense",
        "queryMsgByOffset -t wares -b nobody -i 0 -o 0",
        "queryMsgByOffset -t wares -b broker-a -i 9 -o 0",
        "queryMsgByOffset -t nothing -b broker-a -i 0 -o 0",
        "queryCq -t nothing -q 0 -i 0",
        "queryCq -t wares -q 9 -i 0",
        "queryCq -t wares -q 0 -i -1",
        "consumeMessage -t nothing",
        "consumeMessage -t wares -b nobody -i 0",
        "consumeMessage -t wares -b broker-a -i 9 -o 0",
        "printMsgByQueue -t nothing -a broker-a -i 0 -p true",
        "sendMessage -t wares -p body -b broker-a -i 9",
        "producerConnection -g nobody -t nothing",
        "consumerConnection -g traders",
        "consumerStatus -g traders",
        "consumerStatus -g nobody -i 127.0.0.1@1",
        f"updateTopicPerm {at} -t nothing -p 4",
        "updateTopicPerm -c NoCluster -t wares -p 4",
        "updateOrderConf -t wares -m put",
        "updateOrderConf -t wares -m nonsense",
        "cloneGroupOffset -s nobody -d traders -t wares",
        "cloneGroupOffset -s traders -d nobody -t wares",
        "cloneGroupOffset -s traders -d traders -t nothing",
        "getConsumerConfig -g nobody-at-all",
        f"deleteSubGroup {at} -g nobody",
        f"deleteTopic -c {CLUSTER} -t nothing",
        "topicClusterList -t nothing",
    ):
        console.note(command)
    # Apache's answer about a queue that the topic does not have has no body either.
    ours = {"queryCq -t wares -q 9 -i 0": ["! CODE: 1 DESC: 9@wares is not exist!"]}
    differential.check("mqadmin-wrong", console.forget(), ours=ours)


def test_a_round_of_monitoring_reports_what_groups_have_left(
    console: Console, clients: JavaSession, wares: Stock, differential: Differential
) -> None:
    del wares  # its messages and its group
    console.done("resetOffsetByTime -g traders -t wares -s 0")
    with Listener(clients, "wares", "traders") as listener:
        assert len(listener.heard(COUNT)) == COUNT
        rows = clients.run("monitor")
    kinds = [row["report"] for row in rows]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    undone = [row for row in rows if row["report"] == "undone" and row["topic"] == "wares"]
    assert all(0 <= row["single"] <= row["total"] <= COUNT for row in undone)
    outcome = {
        "undone": [row["group"] for row in undone],
        "running": [
            row["topics"] for row in rows if row["report"] == "running" and "wares" in row["topics"]
        ],
    }
    # The command begins these rounds after 20 s, in threads of its own, and says nothing itself.
    assert console.say("startMonitoring").masked() == []
    differential.check("mqadmin-monitoring", outcome)
