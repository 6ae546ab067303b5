"""Apache's mqadmin 5.5.0, unmodified, reads, changes and exports the configuration of broker and
name server; what it prints beside what it prints about Apache's.

Ours takes only keys of its allow list, and no value that the property does not take; Apache's
takes whatever is not on its black list and says nothing about the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyromq.config import BrokerConfig, NamesrvConfig, RemotingConfig, StoreConfig
from pyromq.config.prop import properties_of
from tests.support.differential import Differential
from tests.support.foreign import JavaSession
from tests.support.mqadmin import Console, Said
from tests.support.peers import Kind, Peer, running_peer

pytestmark = [pytest.mark.foreign, pytest.mark.differential, pytest.mark.timeout(120)]

CLUSTER = "DefaultCluster"
NOT_COMPARED = frozenset(
    """
    bindAddress brokerIP1 brokerIP2 flushDiskType haListenPort kvConfigPath listenPort namesrvAddr
    rocketmq.broker.rebalance.lockMaxLiveTime storePathCommitLog storePathRootDir
    mappedFileSizeCommitLog mappedFileSizeConsumeQueue maxHashSlotNum maxIndexNum
    """.split()  # noqa: SIM905 — as they are printed
)
"""Properties whose values are the test's own, or of the machine."""


@pytest.fixture(scope="module")
def peer(
    java_program: None, peer_kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with running_peer(peer_kind, tmp_path_factory.mktemp("peer")) as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mqadmin runs and exports to."""
    return tmp_path_factory.mktemp("mqadmin")


@pytest.fixture(scope="module")
def console(peer: Peer, files: Path) -> Iterator[Console]:
    with JavaSession(peer.namesrv, cwd=files) as java:
        yield Console(java, peer)


@pytest.fixture(autouse=True)
def _nothing_noted(console: Console) -> None:
    console.forget()


def values(said: Said) -> dict[str, str]:
    """`key = value` lines."""
    pairs = (line.partition("=") for line in said.text.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign and key.strip()}


def shared(said: Said, *kinds: type[Any]) -> dict[str, str]:
    """What is printed of the properties that Apache's server has too and that are comparable."""
    printed = values(said)
    names = {
        name
        for kind in kinds
        for name, declared in properties_of(kind).items()
        if not declared.is_ours and name not in NOT_COMPARED
    }
    return {name: printed.get(name, "is not printed") for name in sorted(names)}


def test_the_brokers_configuration_is_shown_and_changed(
    console: Console, differential: Differential
) -> None:
    at, of_cluster = f"-b {console.broker}", f"-c {CLUSTER}"
    shown = console.done(f"getBrokerConfig {at}")
    outcome: dict[str, object] = {"heading": shown.masked()[0]}
    outcome["values"] = shared(shown, BrokerConfig, StoreConfig, RemotingConfig)
    shown = console.done(f"getBrokerConfig {of_cluster}")
    outcome["heading of cluster"] = shown.masked()[0]
    for command in (
        f"updateBrokerConfig {at} -k fileReservedTime -v 48",
        f"updateBrokerConfig {of_cluster} -k deleteWhen -v 01;13",
        f"updateBrokerConfig {of_cluster} -a true -k traceOn -v false",
        f"updateBrokerConfig {at} -k bindAddress -v 0.0.0.0",
        f"updateBrokerConfig {at} -k rocketmqHome -v /tmp",
        f"updateBrokerConfig {at} -k noSuchKey -v 1",
        f"updateBrokerConfig {at} -k deleteFileBatchMax -v many",
        "updateBrokerConfig -c NoCluster -k traceOn -v true",
        "updateBrokerConfig -k traceOn -v true",
        "getBrokerConfig -c NoCluster",
    ):
        console.note(command)
    changed = values(console.done(f"getBrokerConfig {at}"))
    kept = ("fileReservedTime", "deleteWhen", "traceOn", "deleteFileBatchMax")
    outcome["changed"] = {key: changed[key] for key in kept}
    assert outcome["changed"] == {
        "fileReservedTime": "48",
        "deleteWhen": "01;13",
        "traceOn": "false",
        "deleteFileBatchMax": "10",
    }
    # Apache takes any key and any value that is not on its black list, and tells nobody that it
    # does nothing with it.
    refused = {
        "-k bindAddress -v 0.0.0.0": closed("bindAddress"),
        "-k rocketmqHome -v /tmp": closed("rocketmqHome"),
        "-k noSuchKey -v 1": closed("noSuchKey"),
        "-k deleteFileBatchMax -v many": "CODE: 29 DESC: deleteFileBatchMax='many' (remote change) "
        "is not accepted: 1 to 2147483647",
    }
    differential.check(
        "mqadmin-broker-config",
        {**outcome, **console.forget()},
        ours={
            f"updateBrokerConfig -b ADDRESS {words}": [f"! {failure} BROKER: ADDRESS"]
            for words, failure in refused.items()
        },
    )


def closed(key: str) -> str:
    return (
        f"CODE: 16 DESC: {key} cannot be changed from afar: "
        "set it in a property file given with -c and restart"
    )


def test_a_brokers_permission_is_in_all_routes_at_once(
    console: Console, differential: Differential
) -> None:
    console.done(f"updateTopic -b {console.broker} -t read-only -r 1 -w 1")
    assert '"perm":6' in console.until("topicRoute -t read-only", '"perm"').text
    console.note(f"updateBrokerConfig -b {console.broker} -k brokerPermission -v 4")
    console.note("topicRoute -t read-only")
    assert '"perm":4' in console.done("topicRoute -t read-only").text
    console.note(f"updateBrokerConfig -b {console.broker} -k brokerPermission -v 6")
    console.note("topicRoute -t read-only")
    differential.check("mqadmin-broker-permission", console.forget())


def test_the_name_servers_configuration_is_shown_and_changed(
    console: Console, differential: Differential
) -> None:
    shown = console.done("getNamesrvConfig")
    outcome: dict[str, object] = {"heading": shown.masked()[0]}
    outcome["values"] = shared(shown, NamesrvConfig)
    for command in (
        "updateNamesrvConfig -k scanNotActiveBrokerInterval -v 7000",
        "updateNamesrvConfig -k kvConfigPath -v /tmp/kvConfig.json",
        "updateNamesrvConfig -k noSuchKey -v 1",
        "updateNamesrvConfig -k enableTopicList -v perhaps",
    ):
        console.note(command)
    changed = values(console.done("getNamesrvConfig"))
    outcome["changed"] = changed["scanNotActiveBrokerInterval"]
    assert outcome["changed"] == "7000"
    console.done("updateNamesrvConfig -k enableAllTopicList -v false")
    console.note("topicList")
    console.done("updateNamesrvConfig -k enableAllTopicList -v true")
    assert not console.note("topicList", in_order=False).failures
    refused = {
        "-k kvConfigPath -v /tmp/kvConfig.json": closed("kvConfigPath"),
        "-k noSuchKey -v 1": closed("noSuchKey"),
        "-k enableTopicList -v perhaps": "CODE: 29 DESC: enableTopicList='perhaps' (remote change) "
        "is not accepted: true or false",
    }
    differential.check(
        "mqadmin-namesrv-config",
        {**outcome, **console.forget()},
        ours={
            f"updateNamesrvConfig {words}": [f"! {failure}"] for words, failure in refused.items()
        },
    )


def test_configuration_metrics_and_metadata_are_exported(
    console: Console, files: Path, differential: Differential
) -> None:
    console.done(f"updateTopic -b {console.broker} -t exported -r 2 -w 3")
    console.done(f"updateSubGroup -b {console.broker} -g exporters -r 5 -q 2")
    console.until("topicRoute -t exported -l", "broker-a")

    def exported(command: str, file: str) -> Any:
        assert "success" in console.note(command).text
        return json.loads((files / file).read_text())

    configs = exported(f"exportConfigs -c {CLUSTER} -f out", "out/configs.json")
    of_broker = configs["brokerConfigs"]["broker-a"]
    for key in ("maxMessageSize", "messageDelayLevel", "fileReservedTime"):
        assert of_broker[key], key
    of_broker.pop("traceOn"), of_broker.pop("fileReservedTime")  # changed by another test
    metrics = exported(f"exportMetrics -c {CLUSTER} -f out", "out/metrics.json")
    outcome: dict[str, object] = {"configs": configs, "metrics": blank(metrics)}
    outcome["topics"] = exported(
        f"exportMetadata -b {console.broker} -t true -f out", "out/topic.json"
    )
    outcome["all topics"] = exported(
        f"exportMetadata -b {console.broker} -t true -s true -f out2", "out2/topic.json"
    )
    groups = exported(
        f"exportMetadata -b {console.broker} -g true -f out", "out/subscriptionGroup.json"
    )
    outcome["groups"] = groups
    assert "exporters" in groups["subscriptionGroupTable"]
    outcome["cluster"] = exported(f"exportMetadata -c {CLUSTER} -f out", "out/metadata.json")
    outcome["cluster's topics"] = exported(
        f"exportMetadata -c {CLUSTER} -t true -f out3", "out3/topic.json"
    )
    outcome["cluster's groups"] = exported(
        f"exportMetadata -c {CLUSTER} -g true -f out3", "out3/subscriptionGroup.json"
    )
    console.note("exportConfigs -c NoCluster -f out")
    console.note("exportMetrics -c NoCluster -f out")
    console.note("exportMetadata -c NoCluster -f out")
    console.note("exportMetadata")
    differential.check(
        "mqadmin-export",
        {**{name: timeless(tree) for name, tree in outcome.items()}, **console.forget()},
    )


def blank(tree: Any) -> Any:
    """The same members; figures differ from run to run."""
    if isinstance(tree, dict):
        return {key: blank(value) for key, value in tree.items()}
    if isinstance(tree, str):
        return re.sub(r"\d+(\.\d+)?", "N", tree)
    return "a number" if isinstance(tree, int | float) else tree


def timeless(tree: Any) -> Any:
    """Without versions and times."""
    if isinstance(tree, dict):
        return {
            key: timeless(value)
            for key, value in tree.items()
            if key not in ("dataVersion", "exportTime", "timestamp", "messageAverageSize")
        }
    return tree
