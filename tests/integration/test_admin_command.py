"""`pyromq admin` at a server with traffic: ours, or with --peer apache Apache's. The same tests.

What it says is compared with what Apache's mqadmin says of the same server at the same time, and
what it changes is looked at with mqadmin. Push consumers and producers run in a JVM of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.admin_command import AdminCommand
from tests.support.foreign import JavaSession
from tests.support.listeners import Listener, post
from tests.support.mqadmin import Console
from tests.support.mqadmin_market import COUNT, HALF, QUEUES, Market, open_market
from tests.support.peers import Kind, Peer, running_peer

pytestmark = [pytest.mark.foreign, pytest.mark.differential, pytest.mark.timeout(150)]

CLUSTER = "DefaultCluster"
BROKER = "broker-a"


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("peer")
    with running_peer(peer_kind, folder, {"traceTopicEnable": "true"}) as running:
        yield running


@pytest.fixture(scope="module")
def console(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with JavaSession(peer.namesrv, cwd=tmp_path_factory.mktemp("mqadmin")) as java:
        yield Console(java, peer)


@pytest.fixture(scope="module")
def clients(peer: Peer) -> Iterator[JavaSession]:
    with JavaSession(peer.namesrv) as session:
        yield session


@pytest.fixture(scope="module")
def market(console: Console, clients: JavaSession) -> Market:
    return open_market(console, clients)


@pytest.fixture
def settled(console: Console, market: Market) -> Market:
    """The market when everybody has committed all."""
    for group in ("shoppers", "pickers"):
        console.until(f"consumerProgress -g {group}", BROKER, "Consume Diff Total: 0")
    return market


@pytest.fixture(scope="module")
def admin(peer: Peer) -> AdminCommand:
    return AdminCommand(peer.namesrv)


def test_a_topic_is_created_changed_and_deleted_as_mqadmin_sees_it(
    admin: AdminCommand, console: Console, peer: Peer
) -> None:
    create = ("updateTopic", "-b", peer.broker, "-t", "goods", "-r", 3, "-w", 2)
    assert admin.say(*create, "--dry-run")[1] == (
        f"would create or change topic goods on {peer.broker}\n"
    )
    assert ["goods"] not in console.done("topicList").rows
    admin.ask(*create, "-a", "+message.type=FIFO")
    (route,) = admin.until("topicRoute", "-t", "goods", holds=lambda rows: rows)
    assert route == {
        "cluster": CLUSTER,
        "broker": BROKER,
        "addresses": [f"0={peer.broker}"],
        "readQueues": 3,
        "writeQueues": 2,
        "perm": "RW-",
        "sysFlag": 0,
    }
    assert console.done("topicRoute -t goods -l").rows[1][:2] == [CLUSTER, BROKER]
    status = admin.ask("topicStatus", "-t", "goods")
    assert [(row["queueId"], row["minOffset"], row["maxOffset"]) for row in status] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
    ]
    admin.ask("updateTopicPerm", "-c", CLUSTER, "-t", "goods", "-p", 4)
    admin.until("topicRoute", "-t", "goods", holds=lambda rows: rows[0]["perm"] == "R--")
    assert '"perm":4' in console.done("topicRoute -t goods").text.replace(" ", "")
    assert admin.ask("topicClusterList", "-t", "goods") == [{"cluster": CLUSTER}]
    allocated = admin.ask("allocateMQ", "-t", "goods", "-i", "one,two")
    assert [(row["client"], row["queueId"]) for row in allocated] == [
        ("one", 0),
        ("one", 1),
        ("two", 2),
    ]
    steps = admin.ask("deleteTopic", "-t", "goods", "-c", CLUSTER)
    assert [step["result"] for step in steps] == ["done", "done"]
    assert ["goods"] not in console.done("topicList").rows
    assert "TOPIC_NOT_EXIST (17)" in admin.refusal("topicRoute", "-t", "goods")
    assert "no cluster nowhere is known" in admin.refusal(
        "deleteTopic", "-t", "goods", "-c", "nowhere"
    )


def test_topics_and_groups_come_from_files(
    admin: AdminCommand, console: Console, peer: Peer, tmp_path: Path
) -> None:
    topics, groups = tmp_path / "topics.json", tmp_path / "groups.json"
    topics.write_text('[{"topicName": "apples", "readQueueNums": 1, "writeQueueNums": 1}]')
    groups.write_text('[{"groupName": "eaters", "retryMaxTimes": 3}]')
    admin.ask("updateTopicList", "-b", peer.broker, "-f", topics)
    admin.ask("updateSubGroupList", "-c", CLUSTER, "-f", groups)
    console.until("topicRoute -t apples -l", BROKER)
    assert ["retryMaxTimes", "=", "3"] in console.done("getConsumerConfig -g eaters").rows
    groups.write_text("[]")
    assert "the list is empty" in admin.refusal("updateSubGroupList", "-c", CLUSTER, "-f", groups)


def test_an_ordered_topic_has_its_order_at_the_name_server(
    admin: AdminCommand, console: Console
) -> None:
    admin.ask("updateTopic", "-c", CLUSTER, "-t", "toys", "-r", 4, "-w", 4, "-o", "true")
    assert admin.ask("updateOrderConf", "-t", "toys", "-m", "get") == {
        "topic": "toys",
        "orderConf": f"{BROKER}:4",
    }
    admin.ask("updateOrderConf", "-t", "toys", "-m", "put", "-v", f"{BROKER}:1")
    assert f"orderConf=[{BROKER}:1]" in console.done("updateOrderConf -t toys -m get").text
    admin.ask("updateOrderConf", "-t", "toys", "-m", "delete")
    assert "has no order configuration" in admin.refusal(
        "updateOrderConf", "-t", "toys", "-m", "get"
    )


def test_a_group_is_created_changed_and_deleted(
    admin: AdminCommand, console: Console, peer: Peer
) -> None:
    admin.ask("updateSubGroup", "-b", peer.broker, "-g", "buyers", "-r", 3, "-q", 2, "-o", "true")
    config = {row["key"]: row["value"] for row in admin.ask("getConsumerConfig", "-g", "buyers")}
    assert (config["retryMaxTimes"], config["retryQueueNums"]) == (3, 2)
    shown = console.done("getConsumerConfig -g buyers").rows
    for key in ("retryMaxTimes", "retryQueueNums", "consumeMessageOrderly", "consumeEnable"):
        assert [key, "=", str(config[key]).lower()] in shown
    admin.ask("deleteSubGroup", "-c", CLUSTER, "-g", "buyers", "-r", "true")
    assert admin.refusal("getConsumerConfig", "-g", "buyers").endswith("no broker has group buyers")


def test_values_and_write_permission_of_the_name_server(
    admin: AdminCommand, console: Console, peer: Peer
) -> None:
    admin.ask("updateKvConfig", "-s", "ORDER_TOPIC_CONFIG", "-k", "carts", "-v", "a:1")
    assert "orderConf=[a:1]" in console.done("updateOrderConf -t carts -m get").text
    admin.ask("deleteKvConfig", "-s", "ORDER_TOPIC_CONFIG", "-k", "carts")
    assert "has no order" in admin.refusal("updateOrderConf", "-t", "carts", "-m", "get")
    (wiped,) = admin.ask("wipeWritePerm", "-b", BROKER)
    count = int(wiped["result"].split()[0])
    assert count > 10
    assert wiped["result"].endswith(f"topics on {peer.namesrv}")
    (added,) = admin.ask("addWritePerm", "-b", BROKER)
    assert int(added["result"].split()[0]) == count


def test_one_of_several_name_servers_is_enough_to_ask_and_all_are_needed_to_change(
    admin: AdminCommand, peer: Peer
) -> None:
    both = AdminCommand(f"127.0.0.1:1;{peer.namesrv}")
    assert both.ask("topicList") == admin.ask("topicList")
    assert "127.0.0.1:1: no connection" in both.refusal(
        "updateKvConfig", "-s", "a", "-k", "b", "-v", "c"
    )


def test_brokers_are_listed_with_the_figures_of_mqadmin(
    admin: AdminCommand, console: Console, peer: Peer
) -> None:
    (broker,) = admin.ask("clusterList")
    row = console.done("clusterList").rows[1]
    assert [broker["cluster"], broker["broker"], str(broker["brokerId"])] == row[:3]
    assert [broker["address"], broker["version"]] == row[3:5]
    assert broker["active"]
    assert broker["error"] is None
    (more,) = admin.ask("clusterList", "-m")
    assert more["inToday"] >= 0
    status = {one["key"]: one["value"] for one in admin.ask("brokerStatus", "-b", peer.broker)}
    lines = console.done(f"brokerStatus -b {peer.broker}").text.splitlines()
    assert sorted(status) == sorted(line.partition(":")[0].strip() for line in lines if line)
    for command in ("cleanExpiredCQ", "deleteExpiredCommitLog"):
        (step,) = admin.ask(command, "-c", CLUSTER)
        assert step["result"] == "done"


def test_who_is_connected_and_what_he_does(
    admin: AdminCommand, console: Console, settled: Market
) -> None:
    found = admin.ask("consumerConnection", "-g", "shoppers")
    shown = console.done("consumerConnection -g shoppers").text
    (client,) = found["clients"]
    assert client["clientId"] == settled.shopper.client_id
    for value in client.values():
        assert value in shown
    assert {row["topic"] for row in found["subscriptions"]} == {"shop", "%RETRY%shoppers"}
    assert found["settings"]["messageModel"] == "CLUSTERING"
    status = admin.ask("consumerStatus", "-g", "shoppers", "-s")
    queues = [row for row in status["queues"] if row["topic"] == "shop"]
    assert [row["consumerOffset"] for row in queues] == [HALF] * QUEUES
    assert {row["topic"] for row in status["rates"]} == {"shop", "%RETRY%shoppers"}
    assert "ConsumeMessageThread" in status["jstack"][settled.shopper.client_id]
    mind = admin.ask("getConsumerStatus", "-g", "shoppers", "-t", "shop")
    assert [(row["client"], row["offset"]) for row in mind] == [
        (settled.shopper.client_id, HALF)
    ] * QUEUES
    assert "never" not in admin.refusal("producerConnection", "-g", "nobody", "-t", "shop")
    assert "no consumer of it was ever connected" in admin.refusal(
        "consumerConnection", "-g", "nobody"
    )


def test_progress_is_mqadmins(admin: AdminCommand, console: Console, settled: Market) -> None:
    found = admin.ask("consumerProgress", "-g", "shoppers", "-s", "true")
    rows = [row for row in found["queues"] if row["topic"] == "shop"]
    shown = [row for row in console.done("consumerProgress -g shoppers").rows if row[0] == "shop"]
    assert [
        [str(row[name]) for name in ("topic", "broker", "queueId", "brokerOffset")] for row in rows
    ] == [row[:4] for row in shown]
    assert [row["client"] for row in rows] == [settled.shopper.client_id] * QUEUES
    assert found["total"]["diffTotal"] == 0
    groups = {row["group"]: row for row in admin.ask("consumerProgress")}
    assert groups["shoppers"]["count"] == 1
    assert (groups["shoppers"]["type"], groups["shoppers"]["diffTotal"]) == ("PUSH", 0)
    one = admin.ask("brokerConsumeStats", "-b", admin.ask("clusterList")[0]["address"])
    assert sum(row["group"] == "shoppers" and row["topic"] == "shop" for row in one["queues"]) == 2
    (stats,) = admin.ask("statsAll", "-t", "shop")
    assert (stats["consumerGroup"], stats["backlog"]) == ("shoppers", 0)
    assert stats["in24Hours"] == COUNT
    assert admin.ask("startMonitoring", "--rounds", 1) == []
    rows = [tuple(row.values()) for row in admin.ask("topicList", "-c")]
    listed = {tuple(row) for row in console.done("topicList -c").rows if len(row) == 3}
    assert (CLUSTER, "shop", "shoppers") in rows
    assert {row for row in rows if row[2]} == {row for row in listed if row[0] == CLUSTER}


def test_offsets_are_reset_skipped_and_cloned_without_clients(
    admin: AdminCommand, console: Console, peer: Peer, settled: Market
) -> None:
    assert admin.ask("updateSubGroup", "-b", peer.broker, "-g", "later")[0]["result"] == "done"
    where = ("-g", "later", "-t", "shop")
    assert [row["offset"] for row in admin.ask("skipAccumulatedMessage", *where)] == [HALF, HALF]
    middle = admin.ask("resetOffsetByTime", *where, "-s", settled.shop.middle_ms)
    assert [row["offset"] for row in middle] == [HALF // 2, HALF // 2]

    def offsets(group: str) -> list[int]:
        rows = admin.ask("consumerProgress", "-g", group, "-t", "shop")["queues"]
        return [row["consumerOffset"] for row in rows]

    assert offsets("later") == [HALF // 2, HALF // 2]
    admin.ask("resetOffsetByTime", *where, "-s", 0, "-b", peer.broker, "-q", 1, "-o", 2)
    assert offsets("later") == [HALF // 2, 2]
    admin.ask("updateSubGroup", "-b", peer.broker, "-g", "twin")
    cloned = admin.ask("cloneGroupOffset", "-s", "later", "-d", "twin", "-t", "shop", "-o", "true")
    assert [row["offset"] for row in cloned] == [HALF // 2, 2]
    assert offsets("twin") == [HALF // 2, 2]
    shown = console.done("consumerProgress -g later -t shop").rows
    assert [row[4] for row in shown if row[0] == "shop"] == [str(HALF // 2), "2"]


def test_running_clients_learn_of_a_reset(admin: AdminCommand, market: Market) -> None:
    before = len(market.clerks["all"].heard(COUNT))
    rows = admin.ask("resetOffsetByTime", "-g", "clerks-all", "-t", "till", "-s", 0)
    assert [row["offset"] for row in rows] == [0, 0]
    assert len(market.clerks["all"].heard(before + COUNT)) >= before + COUNT


def test_messages_are_found_in_every_way(
    admin: AdminCommand, console: Console, settled: Market
) -> None:
    last = settled.shop.last
    by_place = admin.ask("queryMsgById", "-t", "shop", "-i", last["last_offset_id"])
    message = by_place["message"]
    shown = console.done(f"queryMsgById -t shop -i {last['last_offset_id']}").text
    for name in ("messageId", "offsetMessageId"):
        assert message[name] in (last["last_id"], last["last_offset_id"])
    assert (message["tags"], message["keys"]) == ("B", f"shop-{COUNT - 1}")
    assert f"[{message['keys']}]" in shown
    assert str(message["commitLogOffset"]) in shown
    tracks = {one["group"]: one["state"] for one in by_place["consumers"]}
    assert tracks["shoppers"] == "CONSUMED"
    assert "trackType=CONSUMED" in shown
    by_key = admin.ask("queryMsgByUniqueKey", "-t", "shop", "-i", last["last_id"])
    assert by_key["message"] == message
    (all_of_it,) = admin.ask("queryMsgByUniqueKey", "-t", "shop", "-i", last["last_id"], "-a")
    assert all_of_it["messageId"] == last["last_id"]
    (found,) = admin.ask("queryMsgByKey", "-t", "shop", "-k", "shop-3")
    assert (found["queueId"], found["queueOffset"]) == (1, 1)
    assert len(admin.ask("queryMsgByKey", "-t", "shop", "-k", "B", "-p", "T")) == HALF
    assert admin.ask("queryMsgByKey", "-t", "shop", "-k", "nothing") == []
    place = ("queryMsgByOffset", "-t", "shop", "-b", BROKER, "-i", 0, "-o")
    assert admin.ask(*place, 4)["keys"] == "shop-8"
    assert "no message at offset 1000" in admin.refusal(*place, 1000)
    content = admin.ask("queryCq", "-t", "shop", "-q", 0, "-i", 0, "-c", 3, "-g", "shoppers")
    assert content["queue"]["max"] == HALF
    assert [entry["index"] for entry in content["entries"]] == [0, 1, 2]
    absent = "0A000001000018B4AAC20000000000FF"
    assert f"no message {absent}" in admin.refusal("queryMsgById", "-t", "shop", "-i", absent)


def test_a_client_consumes_a_message_on_demand(admin: AdminCommand, settled: Market) -> None:
    words = ("queryMsgById", "-t", "shop", "-i", settled.shop.last["last_offset_id"])
    who = ("-g", "shoppers", "-d", settled.shopper.client_id)
    assert admin.say(*words, *who, "--dry-run")[1].startswith("would have ")
    assert admin.ask(*words, *who)["result"] == "CR_SUCCESS"


def test_messages_are_sent_and_printed(admin: AdminCommand, console: Console, peer: Peer) -> None:
    admin.ask("updateTopic", "-b", peer.broker, "-t", "leaflets", "-r", 2, "-w", 2)
    admin.until("topicRoute", "-t", "leaflets", holds=lambda rows: rows)
    where = ("-t", "leaflets", "-b", BROKER, "-i", 1)
    sent = [
        admin.ask("sendMessage", *where, "-p", f"Blatt {number} ü", "-k", f"k{number}", "-c", tag)
        for number, tag in enumerate("ABA")
    ]
    assert [one["status"] for one in sent] == ["SEND_OK"] * 3
    assert [one["queueOffset"] for one in sent] == [0, 1, 2]
    # Apache's broker puts messages into their queues after it has answered the send.
    printed = admin.until("printMsg", "-t", "leaflets", holds=lambda rows: len(rows) == 3)
    assert [row["body"] for row in printed] == ["Blatt 0 ü", "Blatt 1 ü", "Blatt 2 ü"]
    assert [row["messageId"] for row in printed] == [one["messageId"] for one in sent]
    assert [row["tags"] for row in admin.ask("printMsg", "-t", "leaflets", "-s", "A || C")] == [
        "A",
        "A",
    ]
    queue = ("printMsgByQueue", "-t", "leaflets", "-a", BROKER, "-i", 1)
    assert admin.ask(*queue) == [{"tag": "A", "count": 2}, {"tag": "B", "count": 1}]
    assert len(admin.ask(*queue, "-p", "true", "-f", "true")["messages"]) == 3
    one = admin.ask("consumeMessage", "-t", "leaflets", "-b", BROKER, "-i", 1, "-o", 1, "-c", 1)
    assert [row["queueOffset"] for row in one] == [1]
    assert admin.ask("printMsg", "-t", "leaflets", "-e", 1) == []
    admin.ask("queryMsgById", "-t", "leaflets", "-i", sent[0]["messageId"], "-s", "true")
    admin.until("printMsg", "-t", "leaflets", "-d", "false", holds=lambda rows: len(rows) == 4)
    assert "has no such queue" in admin.refusal(
        "sendMessage", "-t", "leaflets", "-b", BROKER, "-i", 7, "-p", "x"
    )
    assert console.done("consumeMessage -t leaflets").text.count("MSGID") == 4


def test_a_message_is_traced(admin: AdminCommand, clients: JavaSession, peer: Peer) -> None:
    admin.ask("updateTopic", "-b", peer.broker, "-t", "traced", "-r", 1, "-w", 1)
    admin.until("topicRoute", "-t", "traced", holds=lambda rows: rows)
    with Listener(clients, "traced", "tracers", "--trace") as listener:
        (message,) = post(clients, "traced", 1, "--trace")
        listener.heard(1)
        query = ("queryMsgTraceById", "-i", message["id"])
        rows = admin.until(*query, holds=lambda rows: len(rows) == 3)
    told = {row["type"]: (row["group"], row["status"]) for row in rows}
    assert told["Pub"] == ("pyromq-java-producer", "SUCCESS")
    assert told["SubBefore"][0] == "tracers"
    assert told["SubAfter"] == ("tracers", "SUCCESS")
    absent = "0A000001000018B4AAC20000000000FF"
    assert f"no trace of message {absent}" in admin.refusal("queryMsgTraceById", "-i", absent)


def test_probes_say_how_long_messages_take(admin: AdminCommand, market: Market) -> None:
    rows = admin.ask("sendMsgStatus", "-b", BROKER, "-c", 3)
    assert [row["status"] for row in rows[:3]] == ["SEND_OK"] * 3
    assert rows[3]["broker"] == "mean"
    assert len(admin.ask("checkMsgSendRT", "-t", BROKER, "-a", 2, "-s", 64)) == 3
    (broker,) = admin.ask("clusterRT", "-a", 3)
    assert (broker["broker"], broker["sent"], broker["failed"]) == (BROKER, 3, 0)


def test_a_cluster_is_exported(
    admin: AdminCommand, console: Console, market: Market, tmp_path: Path
) -> None:
    assert admin.ask("exportMetadata", "-c", CLUSTER, "-f", tmp_path) == {
        "exported": str(tmp_path / "metadata.json")
    }
    ours = json.loads((tmp_path / "metadata.json").read_text())
    console.done(f"exportMetadata -c {CLUSTER} -f {tmp_path}")
    theirs = json.loads((tmp_path / "metadata.json").read_text())
    assert sorted(ours) == sorted(theirs)
    assert ours["topicConfigTable"] == theirs["topicConfigTable"]
    assert sorted(ours["subscriptionGroupTable"]) == sorted(theirs["subscriptionGroupTable"])


def test_tail_shows_messages_as_they_come(admin: AdminCommand, peer: Peer) -> None:
    admin.ask("updateTopic", "-b", peer.broker, "-t", "ticks", "-r", 2, "-w", 2)
    admin.until("topicRoute", "-t", "ticks", holds=lambda rows: rows)
    words = ["tail", "ticks", "--since", str(int(time.time() * 1000) - 1000), "--max", "2"]
    words += ["--sql", "KEYS = 'wanted' AND TAGS IN ('A', 'B')", "--json", "-n", admin.namesrv]
    command = [sys.executable, "-m", "pyromq", "admin", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        # The second is sent when the first was seen: it comes out of a long poll.
        for number, tag in enumerate("AB"):
            for key, other in (("unwanted", tag), ("wanted", "C"), ("wanted", tag)):
                body = f"{number} {key} {other}"
                admin.ask("sendMessage", "-t", "ticks", "-p", body, "-k", key, "-c", other)
            lines.append(json.loads(process.stdout.readline()))
        assert process.wait(timeout=30) == 0
    assert [line["body"] for line in lines] == ["0 wanted A", "1 wanted B"]
    everything = admin.say("tail", "ticks", "--from", 0, "--max", 2, "--tag", "C || D", "--no-body")
    assert everything[0] == 0
    assert everything[1].count(" tags=C keys=wanted\n") == 2
    assert "TOPIC_NOT_EXIST" in admin.refusal("tail", "nothing")


def test_top_shows_brokers_and_groups(admin: AdminCommand, settled: Market) -> None:
    shown = admin.ask("top")
    (broker,) = shown["brokers"]
    assert (broker["broker"], broker["error"]) == (BROKER, "")
    (row,) = [one for one in shown["groups"] if one["group"] == "shoppers"]
    assert (row["topic"], row["clients"], row["backlog"]) == ("shop", 1, 0)
    assert (row["writtenTps"], row["consumedTps"]) == (0, 0)
    code, out, _ = admin.say("top")
    assert code == 0
    assert "shoppers" in out
    assert "\x1b" not in out


def test_doctor_finds_no_error_at_a_sound_cluster_and_knows_its_clock(
    admin: AdminCommand, peer: Peer
) -> None:
    found = admin.ask("doctor", "--data-dir", "/")
    of = {(one["check"], one["where"]): one["severity"] for one in found}
    assert of["port", peer.broker] == "ok"
    assert of["clock", f"{BROKER} {peer.broker}"] == "ok"
    assert of["name server", peer.namesrv] == "ok"
    assert of["address", peer.broker] == "warning"  # a loopback address
    assert any(check == "open files" for check, _ in of)
    assert all(one["mend"] for one in found if one["severity"] == "warning")
    producers = admin.ask("producer", "-b", peer.broker)
    assert not [row for row in producers if row["group"] == "pyromq-doctor"]


NOT_SUPPORTED = "with REQUEST_CODE_NOT_SUPPORTED (3)"


def test_properties_are_shown_and_changed_where_the_server_has_that(
    admin: AdminCommand, console: Console, peer: Peer, market: Market, tmp_path: Path
) -> None:
    commands: list[tuple[object, ...]] = [
        ("getBrokerConfig", "-b", peer.broker),
        ("updateBrokerConfig", "-b", peer.broker, "-k", "fileReservedTime", "-v", 71),
        ("getNamesrvConfig",),
        ("updateNamesrvConfig", "-k", "scanNotActiveBrokerInterval", "-v", 4999),
        ("cleanUnusedTopic", "-b", peer.broker),
        ("exportConfigs", "-c", CLUSTER, "-f", tmp_path),
        ("exportMetrics", "-c", CLUSTER, "-f", tmp_path),
    ]
    done = []
    for command in commands:
        code, _out, err = admin.say(*command, "--json")
        if code == 0:
            done.append(command[0])
        else:
            assert peer.kind == "ours", err
            assert NOT_SUPPORTED in err
    if "updateBrokerConfig" in done:
        config = {row["key"]: row["value"] for row in admin.ask("getBrokerConfig", "-c", CLUSTER)}
        assert config["fileReservedTime"] == "71"
        shown = console.done(f"getBrokerConfig -b {peer.broker}").text
        assert "fileReservedTime" in shown
    if "updateNamesrvConfig" in done:
        rows = {row["key"]: row["value"] for row in admin.ask("getNamesrvConfig")}
        assert rows["scanNotActiveBrokerInterval"] == "4999"
    if "exportConfigs" in done:
        configs = json.loads((tmp_path / "configs.json").read_text())
        assert configs["brokerConfigs"][BROKER]["brokerName"] == BROKER
        assert configs["clusterScale"]["masterBrokerSize"] == 1
    if "exportMetrics" in done:
        ours = json.loads((tmp_path / "metrics.json").read_text())
        console.done(f"exportMetrics -c {CLUSTER} -f {tmp_path}")
        theirs = json.loads((tmp_path / "metrics.json").read_text())
        assert _shape(ours) == _shape(theirs)


def _shape(data: object) -> object:
    """The names of all members."""
    return {name: _shape(value) for name, value in data.items()} if isinstance(data, dict) else None
