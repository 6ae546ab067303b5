"""From a command line to configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.app.options import parse
from pyromq.app.settings import Configured, configure, property_lines
from pyromq.errors import ConfigInvalid


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAMESRV_ADDR", raising=False)


def configured(*arguments: str, data_dir: str | None = None) -> Configured:
    return configure(parse(arguments), data_dir)


def test_defaults_are_the_products() -> None:
    it = configured("standalone")
    assert it.namesrv is not None
    assert it.broker is not None
    assert (it.namesrv.listen_port, it.broker.listen_port) == (9876, 10911)
    assert it.remoting.bind_address == "127.0.0.1"
    assert it.store.root == Path("pyromq-data")
    assert it.store.is_sync_flush
    assert it.broker.auto_create_topic_enable
    assert it.remarks == []


def test_ports_belong_to_their_doors() -> None:
    it = configured(
        "standalone", "--namesrv-port", "1", "--broker-port", "2", "--set", "listenPort=3"
    )
    assert it.namesrv is not None
    assert it.broker is not None
    assert (it.namesrv.listen_port, it.broker.listen_port) == (1, 2)
    it = configured("standalone", "--set", "listenPort=3")
    assert it.namesrv is not None
    assert it.broker is not None
    assert (it.namesrv.listen_port, it.broker.listen_port) == (9876, 3)
    it = configured("namesrv", "--set", "listenPort=3")
    assert it.namesrv is not None
    assert it.namesrv.listen_port == 3


def test_single_processes_are_configured_alone() -> None:
    assert configured("namesrv").broker is None
    assert configured("broker").namesrv is None
    assert configured("standalone", "--broker-port", "off").broker is None
    assert configured("standalone", "--namesrv-port", "off").namesrv is None


def test_an_ephemeral_broker_does_not_join_the_cluster_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NAMESRV_ADDR", "10.0.0.1:9876")
    lasting, it = configured("standalone"), configured("standalone", data_dir="/tmp/x")
    assert lasting.broker is not None
    assert it.broker is not None
    assert lasting.broker.namesrv_addr == "10.0.0.1:9876"
    assert it.broker.namesrv_addr == ""


def test_an_ephemeral_process_takes_free_ports_and_does_not_wait_for_the_disk() -> None:
    it = configured("standalone", "--ephemeral", data_dir="/tmp/x")
    assert it.namesrv is not None
    assert it.broker is not None
    assert (it.namesrv.listen_port, it.broker.listen_port) == (0, 0)
    assert it.store.root == Path("/tmp/x")
    assert not it.store.is_sync_flush
    it = configured(
        "standalone", "--ephemeral", "--broker-port", "7", "--set", "flushDiskType=SYNC_FLUSH",
        data_dir="/tmp/x",
    )  # fmt: skip
    assert it.broker is not None
    assert it.broker.listen_port == 7
    assert it.store.is_sync_flush


def test_a_public_address_needs_to_be_wanted_and_creates_no_topics_by_itself() -> None:
    with pytest.raises(ConfigInvalid, match="--insecure"):
        configured("broker", "--host", "0.0.0.0")
    it = configured("broker", "--host", "0.0.0.0", "--insecure")
    assert it.broker is not None
    assert not it.broker.auto_create_topic_enable
    it = configured(
        "broker", "--host", "0.0.0.0", "--insecure", "--set", "autoCreateTopicEnable=true"
    )
    assert it.broker is not None
    assert it.broker.auto_create_topic_enable


def test_later_sources_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "broker.conf"
    conf.write_text("brokerName=file\nbrokerClusterName=file\nregionId=file\nnamesrvAddr=file:1\n")
    monkeypatch.setenv("NAMESRV_ADDR", "environment:1")
    monkeypatch.setenv("PYROMQ_BROKER_CLUSTER_NAME", "environment")
    monkeypatch.setenv("PYROMQ_regionId", "environment")
    it = configured("broker", "-c", str(conf), "--set", "regionId=set")
    assert it.broker is not None
    broker = it.broker
    assert broker.broker_name == "file"
    assert broker.broker_cluster_name == "environment"
    assert broker.region_id == "set"
    assert broker.namesrv_addr == "file:1"
    it = configured("broker", "-c", str(conf), "-n", "option:1")
    assert it.broker is not None
    assert it.broker.namesrv_addr == "option:1"


def test_keys_that_nothing_reads_are_remarked_once() -> None:
    it = configured("standalone", "--set", "noSuchKey=1", "--set", "slaveReadEnable=true")
    unknown, known = it.remarks
    assert "noSuchKey (--set)" in unknown
    assert "slaveReadEnable" in known


def test_what_cannot_be_promised_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="authenticationEnabled"):
        configured("broker", "--set", "authenticationEnabled=true")


def test_properties_are_printed_sorted_and_important_ones_in_their_order() -> None:
    it = configured("broker", "--set", "brokerName=b")
    lines = property_lines(it, is_important_only=False)
    assert lines == sorted(lines)
    assert {"brokerName=b", "flushDiskType=SYNC_FLUSH", "allowInsecure=false"} <= set(lines)
    important = property_lines(it, is_important_only=True)
    assert important[0] == "namesrvAddr="
    assert set(important) < set(lines)
    names = property_lines(configured("namesrv"), is_important_only=False)
    assert not [line for line in names if line.startswith(("brokerName", "flushDiskType"))]
