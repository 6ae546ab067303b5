"""From files, options and variables to one checked configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyromq.config import (
    BrokerConfig,
    FlushDiskType,
    NamesrvConfig,
    RemotingConfig,
    Source,
    StoreConfig,
    environment_source,
    file_source,
    leftover_lines,
    leftovers,
    load,
    namesrv_source,
    set_source,
)
from pyromq.config.prop import properties_of
from pyromq.config.sources import text_of
from pyromq.errors import ConfigInvalid

KINDS = (BrokerConfig, StoreConfig, RemotingConfig)


def test_without_sources_everything_is_default() -> None:
    assert load(BrokerConfig, []) == BrokerConfig()
    assert load(StoreConfig, []) == StoreConfig()
    assert load(RemotingConfig, []) == RemotingConfig()
    assert load(NamesrvConfig, []) == NamesrvConfig()


def test_a_later_source_counts_more() -> None:
    low = Source("low", {"brokerName": "a", "brokerPermission": "4"})
    high = Source("high", {"brokerName": "b"})
    broker = load(BrokerConfig, [low, high])
    assert (broker.broker_name, broker.broker_permission) == ("b", 4)


def test_an_existing_broker_conf_is_taken(tmp_path: Path) -> None:
    """The sample file of Apache's distribution, with what people add to it."""
    path = tmp_path / "broker.conf"
    path.write_text(
        "# licensed …\n"
        "brokerClusterName = DefaultCluster\n"
        "brokerName = broker-a\n"
        "brokerId = 0\n"
        "deleteWhen = 04\n"
        "fileReservedTime = 48\n"
        "brokerRole = ASYNC_MASTER\n"
        "flushDiskType = ASYNC_FLUSH\n"
        "storePathRootDir=/data/store \n"
        "storePathCommitLog=/data/store/commitlog\n"
        "namesrvAddr=10.0.0.1:9876;10.0.0.2:9876\n"
    )
    sources = [file_source(path)]
    store = load(StoreConfig, sources)
    assert store.flush_disk_type is FlushDiskType.ASYNC_FLUSH
    assert store.root == Path("/data/store")
    broker = load(BrokerConfig, sources)
    assert broker.namesrv_addresses == ("10.0.0.1:9876", "10.0.0.2:9876")
    assert store.file_reserved_time_hours == 48
    assert leftovers(KINDS, sources) == []


def test_a_wrong_value_names_its_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broker.conf"
    path.write_text("brokerName=a\n\nlistenPort=70000\n")
    expected = f"listenPort='70000' ({path}:3) is not accepted: 0 to 65535"
    with pytest.raises(ConfigInvalid, match=f"^{re.escape(expected)}$"):
        load(BrokerConfig, [file_source(path)])


def test_a_wrong_value_that_is_overridden_does_not_matter() -> None:
    low = Source("broker.conf", {"listenPort": "none"})
    assert load(BrokerConfig, [low, set_source(["listenPort=1"])]).listen_port == 1


def test_a_check_across_properties_names_the_origin_of_the_one_at_fault() -> None:
    with pytest.raises(ConfigInvalid, match=r"bindAddress='0\.0\.0\.0' \(--host\)"):
        load(RemotingConfig, [Source("--host", {"bindAddress": "0.0.0.0"})])


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"missing\.conf cannot be read"):
        file_source(tmp_path / "missing.conf")
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        file_source(tmp_path)


def test_set_options_are_key_and_value() -> None:
    source = set_source(["brokerName=x", "namesrvAddr=a:1;b:2", "regionId=", "brokerName=y=z"])
    assert source.values == {"brokerName": "y=z", "namesrvAddr": "a:1;b:2", "regionId": ""}


@pytest.mark.parametrize("text", ["brokerName", "=x", "", "a b=1", "1a=2", "ä=1"])
def test_a_set_option_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"--set .* is not accepted: key=value"):
        set_source([text])


def test_namesrv_addr_is_a_default_that_files_override() -> None:
    source = namesrv_source({"NAMESRV_ADDR": "h:1"})
    assert load(BrokerConfig, [source]).namesrv_addr == "h:1"
    file = Source("broker.conf", {"namesrvAddr": "h:2"})
    assert load(BrokerConfig, [source, file]).namesrv_addr == "h:2"
    assert namesrv_source({}).values == {}
    assert namesrv_source({"NAMESRV_ADDR": ""}).values == {}


@pytest.mark.parametrize(
    "variable", ["PYROMQ_FLUSH_DISK_TYPE", "PYROMQ_flushDiskType", "PYROMQ_FLUSHDISKTYPE"]
)
def test_a_variable_sets_the_property_of_its_name(variable: str) -> None:
    source = environment_source({variable: "ASYNC_FLUSH", "HOME": "/"}, KINDS)
    assert source.values == {"flushDiskType": "ASYNC_FLUSH"}


def test_a_variable_that_fits_no_property_is_reported_under_its_own_name() -> None:
    source = environment_source({"PYROMQ_FLUSH_DISC": "x"}, KINDS)
    left = leftovers(KINDS, [source])
    assert [(item.key, item.origin) for item in left] == [("PYROMQ_FLUSH_DISC", "environment")]


def test_unknown_and_known_leftovers_make_one_line_each() -> None:
    source = Source(
        "broker.conf",
        {"brokrName": "x", "timerWheelEnable": "1", "foo": "1", "slaveReadEnable": "1"},
        {"brokrName": 2, "foo": 9},
    )
    assert leftover_lines(leftovers(KINDS, [source])) == [
        "unknown properties, ignored: brokrName (broker.conf:2), foo (broker.conf:9)",
        "properties of Apache RocketMQ without effect here: timerWheelEnable, slaveReadEnable",
    ]
    assert leftover_lines([]) == []


def test_a_key_of_two_sources_is_left_over_once_with_its_last_origin() -> None:
    left = leftovers(KINDS, [Source("f", {"foo": "1"}), Source("--set", {"foo": "2"})])
    assert [(item.key, item.origin) for item in left] == [("foo", "--set")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("authenticationEnabled", "true"),
        ("aclEnable", "true"),
        ("minInSyncReplicas", "2"),
        ("storeType", "defaultRocksDB"),
        ("enableDLegerCommitLog", "TRUE "),
        ("readOnlyCommitLogStorePaths", "/a,/b"),
    ],
)
def test_a_promise_that_cannot_be_kept_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigInvalid, match=f"^{key}=.*not available"):
        leftovers(KINDS, [Source("broker.conf", {key: value})])


@pytest.mark.parametrize(
    ("key", "value"),
    [("aclEnable", "false"), ("minInSyncReplicas", "1"), ("storeType", "default")],
)
def test_a_key_that_promises_nothing_is_only_reported(key: str, value: str) -> None:
    left = leftovers(KINDS, [Source("broker.conf", {key: value})])
    assert [(item.key, item.is_known) for item in left] == [(key, True)]


def test_a_source_can_leave_out_what_does_not_concern_a_part() -> None:
    source = Source("broker.conf", {"listenPort": "1", "brokerName": "b"}, {"brokerName": 4})
    left = source.without("listenPort")
    assert load(NamesrvConfig, [left]).listen_port == 9876
    assert left.origin("brokerName") == "broker.conf:4"


@pytest.mark.parametrize("kind", [*KINDS, NamesrvConfig])
def test_every_default_survives_being_written_and_read(kind: type) -> None:
    defaults = kind()
    values = {name: text_of(declared, defaults) for name, declared in properties_of(kind).items()}
    assert load(kind, [Source("file", values)]) == defaults
