"""Apache's mqadmin 5.5.0, unmodified: the commands that keep a broker going, each beside Apache's.

Lists of topics and groups, KV configuration, allocation of queues, trial messages, replicas, cold
reads, unused topics, consume mode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.differential import Differential
from tests.support.foreign import JavaSession
from tests.support.mqadmin import Console, Said
from tests.support.peers import Kind, Peer, running_peer

pytestmark = [pytest.mark.foreign, pytest.mark.differential, pytest.mark.timeout(120)]

CLUSTER = "DefaultCluster"
NOWHERE = "127.0.0.1:9"
"""Nobody listens there."""


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with running_peer(peer_kind, tmp_path_factory.mktemp("peer")) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mqadmin runs: some commands read files there."""
    return tmp_path_factory.mktemp("mqadmin")


@pytest.fixture(scope="module")
def console(peer: Peer, files: Path) -> Iterator[Console]:
    with JavaSession(peer.namesrv, cwd=files) as java:
        yield Console(java, peer)


@pytest.fixture(autouse=True)
def _nothing_noted(console: Console) -> None:
    console.forget()


def test_topics_and_groups_are_created_from_a_file(
    console: Console, files: Path, differential: Differential
) -> None:
    topics = [
        {"topicName": f"listed-{n}", "readQueueNums": n, "writeQueueNums": n, "perm": 6}
        for n in (1, 2)
    ]
    (files / "topics.json").write_text(json.dumps(topics))
    fresh = {**topics[0], "topicName": "listed-0"}
    (files / "wrong.json").write_text(json.dumps([fresh, {"topicName": "bad*name"}]))
    (files / "partly.json").write_text(json.dumps([topics[0], fresh]))
    groups = [{"groupName": f"listed-{n}", "retryMaxTimes": n} for n in (1, 2)]
    (files / "groups.json").write_text(json.dumps(groups))
    (files / "empty.json").write_text("[]")
    at, of_cluster = f"-b {console.broker}", f"-c {CLUSTER}"
    console.note(f"updateTopicList {at} -f topics.json")
    console.until("topicRoute -t listed-2 -l", "broker-a")
    console.note("topicRoute -t listed-2")
    console.note(f"updateTopicList {of_cluster} -f topics.json")
    console.note(f"updateTopicList {at} -f wrong.json")
    assert ["listed-0"] not in console.done("topicList").rows
    console.note(f"updateTopicList {at} -f empty.json")
    console.note(f"updateTopicList {at} -f partly.json")
    outcome: dict[str, object] = {"listed-0": ["listed-0"] in console.done("topicList").rows}
    console.note(f"updateSubGroupList {at} -f groups.json")
    assert ["retryMaxTimes", "=", "2"] in console.note("getConsumerConfig -g listed-2").rows
    console.note(f"updateSubGroupList {of_cluster} -f groups.json")
    console.note(f"updateSubGroupList {at} -f empty.json")
    # At the first topic that it has already as it is, Apache's broker forgets the rest of the list.
    outcome |= console.forget()
    differential.check("mqadmin-lists", outcome, ours={"listed-0": True})


def test_the_kv_configuration_is_changed(console: Console, differential: Differential) -> None:
    console.note("updateKvConfig -s space -k key -v value")
    console.note("deleteKvConfig -s space -k key")
    console.note("deleteKvConfig -s space -k key")
    console.note("deleteKvConfig -s nowhere -k key")
    differential.check("mqadmin-kv", console.forget())


def test_queues_are_allocated_and_trial_messages_sent(
    console: Console, differential: Differential
) -> None:
    console.done(f"updateTopic -b {console.broker} -t trial -r 4 -w 4")
    console.until("topicRoute -t trial -l", "broker-a")
    # The client puts the queues in the order of a hash table: it is the same in every run.
    allocated = console.note("allocateMQ -t trial -i 10.0.0.1,10.0.0.2,10.0.0.3")
    assert allocated.text.count("queueId") == 4
    console.note("allocateMQ -t nothing -i 10.0.0.1")
    sent = console.say("checkMsgSendRT -t trial -a 4 -s 16")
    assert [row[1:3] for row in sent.rows[1:5]] == [[str(queue), "true"] for queue in range(4)]
    outcome: dict[str, object] = {"checkMsgSendRT": trial_rows(sent)}
    # To the topic with the broker's name.
    status = console.done("sendMsgStatus -b broker-a -s 32 -c 3")
    assert status.text.count("sendStatus=SEND_OK") == 3
    outcome["sendMsgStatus"] = [
        re.sub(r"(queue(?:Id|Offset))=\d+", r"\1=N", line) for line in status.masked()
    ]
    round_trip = console.say(f"clusterRT -a 3 -s 16 -i 1 -c {CLUSTER}", lines=2)
    assert round_trip.rows[1][:2] == [CLUSTER, "broker-a"]
    assert round_trip.rows[1][3:] == ["3", "0"]
    outcome["clusterRT"] = [
        round_trip.rows[0],
        *([*row[:2], *row[3:]] for row in round_trip.rows[1:2]),
    ]
    nowhere = console.say("clusterRT -a 3 -i 1 -c NoCluster", lines=2)
    assert nowhere.text.splitlines()[1].startswith("cluster [NoCluster] not exist")
    console.done("consumeMessage -t trial -g trial-readers -b broker-a -i 0 -o 0 -c 1")
    console.note(f"brokerConsumeStats -b {console.broker} -o true")
    differential.check("mqadmin-trial", {**outcome, **console.forget()})


def test_producers_are_listed(console: Console, peer: Peer, differential: Differential) -> None:
    console.done(f"updateTopic -b {console.broker} -t freight -r 1 -w 1")
    console.until("topicRoute -t freight -l", "broker-a")
    nobody = console.note(f"producer -b {console.broker}")
    assert "haulers" not in nobody.text
    with JavaSession(peer.namesrv) as clients:
        clients.begin(
            "send", "--topic", "freight", "--group", "haulers", "--count", 120, "--pause-ms", 30
        )
        listed = console.until(f"producer -b {console.broker}", "haulers")
        (row,) = [line for line in listed.masked() if "haulers" in line]
        clients.finish()
    differential.check("mqadmin-producers", {**console.forget(), "listed": row})


def test_replicas_are_told_of_and_there_are_none(
    console: Console, differential: Differential
) -> None:
    status = console.note(f"haStatus -b {console.broker}")
    assert ["#SlaveNum", "0"] in status.rows
    console.note(f"haStatus -c {CLUSTER}")
    again = console.say(f"haStatus -b {console.broker} -i 1", lines=10)
    assert again.text.count("#SlaveNum") >= 2
    console.note("haStatus")
    console.note(f"resetMasterFlushOffset -b {console.broker} -o 100")
    differential.check("mqadmin-replicas", masked_log_end(console.forget()))


def masked_log_end(outcome: dict[str, list[str]]) -> dict[str, list[str]]:
    """The log is longer at Apache's, whose broker writes messages of its own."""
    return {
        command: [
            "#MasterCommitLogMaxOffset N" if line.startswith("#MasterCommitLogMaxOffset") else line
            for line in lines
        ]
        for command, lines in outcome.items()
    }


def test_limits_of_cold_reads_are_put_shown_and_removed(
    console: Console, differential: Differential
) -> None:
    at, of_cluster = f"-b {console.broker}", f"-c {CLUSTER}"
    console.note(f"getColdDataFlowCtrInfo {at}")
    console.note(f"updateColdDataFlowCtrGroupConfig {at} -g cold -v 1048576")
    console.note(f"updateColdDataFlowCtrGroupConfig {of_cluster} -g colder -v 7")
    console.note(f"updateColdDataFlowCtrGroupConfig {at} -g coldest -v many")
    shown = console.note(f"getColdDataFlowCtrInfo {of_cluster}", in_order=False)
    assert '"cold":1048576' in shown.text
    console.note(f"removeColdDataFlowCtrGroupConfig {at} -g cold")
    console.note(f"removeColdDataFlowCtrGroupConfig {of_cluster} -g nobody")
    assert '"cold"' not in console.note(f"getColdDataFlowCtrInfo {at}").text
    console.note(f"setCommitLogReadAheadMode {at} -m 0")
    console.note(f"setCommitLogReadAheadMode {of_cluster} -m 0")
    console.note(f"setCommitLogReadAheadMode {at} -m 1")
    console.note(f"setCommitLogReadAheadMode {at} -m 2")
    at = "-b ADDRESS"
    differential.check(
        "mqadmin-cold-reads",
        console.forget(),
        ours={
            # Apache takes it, ignores it and writes an error into its log.
            f"updateColdDataFlowCtrGroupConfig {at} -g coldest -v many": [
                "! CODE: 29 DESC: the limit 'many' of coldest is no number of bytes a second"
            ],
            # The system's read-ahead for an mmap; ours reads by pread.
            f"setCommitLogReadAheadMode {at} -m 1": [
                "============ADDRESS============",
                "! CODE: 3 DESC: the mode 1 is not supported: "
                "this server leaves read-ahead to the system (mode 0)",
            ],
        },
    )


def test_unused_topics_are_cleaned_and_the_consume_mode_is_set(
    console: Console, differential: Differential
) -> None:
    console.note(f"cleanUnusedTopic -b {console.broker}")
    console.note(f"cleanUnusedTopic -c {CLUSTER}")
    console.note("cleanUnusedTopic -c NoCluster")
    console.note("cleanUnusedTopic")
    console.done(f"updateTopic -b {console.broker} -t modes -r 1 -w 1")
    console.done(f"updateSubGroup -b {console.broker} -g modes")
    mode = "setConsumeMode -t modes -g modes -m"
    console.note(f"{mode} PULL -b {console.broker}")
    console.note(f"{mode} PULL -c {CLUSTER}")
    console.note(f"{mode} POP -q 2 -b {console.broker}")
    console.note(f"{mode} PUSH -b {console.broker}")
    console.note(f"setConsumeMode -t nothing -g modes -m PULL -b {console.broker}")
    console.note(f"setConsumeMode -t %RETRY%modes -g modes -m PULL -b {console.broker}")
    console.note(mode + " PULL")
    pop = "CODE: 3 DESC: the mode POP is not supported: this server has no POP consumption"
    differential.check(
        "mqadmin-unused", console.forget(), ours={f"{mode} POP -q 2 -b ADDRESS": [f"! {pop}"]}
    )


def test_a_broker_that_is_not_there_and_a_cluster_that_is_not_are_told(
    console: Console, differential: Differential
) -> None:
    for command in (
        "brokerStatus", "brokerConsumeStats", "cleanExpiredCQ", "cleanUnusedTopic",
        "deleteExpiredCommitLog", "getBrokerConfig", "getColdDataFlowCtrInfo", "haStatus",
        "producer",
    ):  # fmt: skip
        assert console.note(f"{command} -b {NOWHERE}").failures
    for command in (
        f"updateTopic -b {NOWHERE} -t lost",
        f"updateSubGroup -b {NOWHERE} -g lost",
        f"updateBrokerConfig -b {NOWHERE} -k traceOn -v true",
        "updateTopic -c NoCluster -t lost",
        "updateSubGroup -c NoCluster -g lost",
        "deleteTopic -c NoCluster -t lost",
        "deleteSubGroup -c NoCluster -g lost",
        "brokerStatus -c NoCluster",
        "cleanExpiredCQ -c NoCluster",
        "deleteExpiredCommitLog -c NoCluster",
        "clusterList -c NoCluster",
        "haStatus -c NoCluster",
        "topicClusterList -t nothing",
        "sendMessage -t trial -p body -b nobody -i 0",
        "consumerConnection -g nobody",
        "noSuchCommand -b x",
    ):
        console.note(command)
    # The client makes up a topic's route from the one of TBW102, and sends in vain.
    vain = trial_rows(console.say("checkMsgSendRT -t not*legal -a 2"))
    differential.check("mqadmin-errors", {**console.forget(), "checkMsgSendRT": vain})


def trial_rows(said: Said) -> list[list[str]]:
    """What `checkMsgSendRT` prints, without times."""
    return [row[:2] if row[:2] == ["Avg", "RT:"] else row[:3] for row in said.rows]
