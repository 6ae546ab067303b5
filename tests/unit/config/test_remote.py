"""Changes of a configuration from afar: which keys, and all or nothing."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pyromq.config import (
    BrokerConfig,
    NamesrvConfig,
    ObserveConfig,
    RemotingConfig,
    Settings,
    StoreConfig,
)
from pyromq.config.known import KNOWN_UNUSED, NOT_YET
from pyromq.config.prop import properties_of
from pyromq.config.remote import BROKER_KEYS, NAMESRV_KEYS, RemoteConfiguration, unkept
from pyromq.errors import InvalidParameter, NoPermission, ServiceUnavailable
from pyromq.waiting import Latch, step

KINDS = (BrokerConfig, StoreConfig, NamesrvConfig, RemotingConfig, ObserveConfig)
TEXTS = {"deleteWhen", "regionId"}
"""Keys on the lists whose values are texts: hours, and a name that answers to sends carry."""


class SlowKeeper:
    """Keeps when it is told to."""

    name = "broker.conf"

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.latches: list[Latch[None]] = []

    def keep(self, values: Mapping[str, str]) -> Latch[None]:
        self.asked.append(dict(values))
        self.latches.append(Latch())
        return self.latches[-1]


class Subject:
    """A broker's configuration with a keeper in hand."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.broker = Settings(BrokerConfig())
        self.store = Settings(StoreConfig())
        self.keeper = SlowKeeper()
        self.remote = RemoteConfiguration(
            [self.broker, self.store],
            BROKER_KEYS,
            self.keeper,
            lambda: self.now_ms,
            fixed=[RemotingConfig()],
            facts={"useTLS": "false"},
        )
        self.errors: list[Exception] = []
        self.done = 0

    def ask(self, **values: str) -> None:
        def finish(_: None) -> None:
            self.done += 1

        step(self.remote.update(values), finish, self.errors.append)


@pytest.fixture
def subject() -> Subject:
    return Subject()


def run(update: Coroutine[Any, None, None]) -> None:
    with pytest.raises(StopIteration):
        update.send(None)


def every_key() -> set[str]:
    declared = {name for kind in KINDS for name in properties_of(kind)}
    return declared | KNOWN_UNUSED | NOT_YET.keys() | {"noSuchKey", ""}


@pytest.mark.parametrize(
    ("keys", "kinds"),
    [(BROKER_KEYS, (BrokerConfig, StoreConfig)), (NAMESRV_KEYS, (NamesrvConfig,))],
)
def test_the_lists_hold_nothing_that_could_run_a_command_or_lose_a_message(
    keys: frozenset[str], kinds: tuple[type[Any], ...]
) -> None:
    declared = {name: item for kind in kinds for name, item in properties_of(kind).items()}
    for key in keys:
        assert key in declared, f"{key} is no property of these"
        assert not declared[key].is_boot_only, f"{key} is read at the start only"
        assert declared[key].kind in (bool, int) or key in TEXTS, key
    words = {word.lower() for key in keys for word in re.findall("[A-Z]?[a-z]+", key)}
    kinds_of_harm = {"path", "addr", "home", "class", "command", "host", "port", "ip", "listen"}
    assert not words & kinds_of_harm
    assert [key for key in keys if "flush" in key.lower()] in ([], ["syncFlushTimeout"])
    assert "diskReserveBytes" not in keys, "messages must not take the last of the disk"


def test_a_key_that_is_not_on_the_list_is_refused_whatever_it_is(subject: Subject) -> None:
    before = subject.remote.texts()
    refused = sorted(every_key() - BROKER_KEYS)
    assert len(refused) > 400
    for key in refused:
        subject.ask(**{"traceOn": "false", key: "1"})
        error = subject.errors.pop()
        assert isinstance(error, NoPermission), key
        assert str(error) == (
            f"{key} cannot be changed from afar: set it in broker.conf and restart"
        )
    assert subject.remote.texts() == before
    assert subject.keeper.asked == []


def test_a_remark_does_not_repeat_a_key_of_any_length(subject: Subject) -> None:
    subject.ask(**{"k" * 10_000: "1"})
    assert len(str(subject.errors[0])) < 300


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("fileReservedTime", "-1", "0 to 1000000"),
        ("fileReservedTime", "soon", "0 to 1000000"),
        ("traceOn", "yes", "true or false"),
        ("deleteWhen", "24", "hours from 0 to 23"),
        ("brokerPermission", "8", "0 to 7"),
    ],
)
def test_a_value_that_the_property_does_not_take_changes_nothing(
    subject: Subject, key: str, value: str, accepted: str
) -> None:
    subject.ask(**{"regionId": "elsewhere", key: value})
    (error,) = subject.errors
    assert isinstance(error, InvalidParameter)
    assert f"{key}={value!r} (remote change) is not accepted: " in str(error)
    assert accepted in str(error)
    assert subject.broker.current == BrokerConfig()
    assert subject.keeper.asked == []


def test_what_is_kept_counts_and_not_before(subject: Subject) -> None:
    subject.ask(fileReservedTime=" 48 ", traceOn="FALSE", deleteWhen="01;13")
    assert subject.store.current == StoreConfig()
    assert subject.keeper.asked == [
        {"fileReservedTime": " 48 ", "traceOn": "FALSE", "deleteWhen": "01;13"}
    ]
    subject.now_ms = 2_000
    subject.keeper.latches[0].set(None)
    assert subject.done == 1
    assert subject.store.current.file_reserved_time_hours == 48
    assert subject.store.current.delete_hours == {1, 13}
    assert not subject.broker.current.trace_on
    assert (subject.remote.change_count, subject.remote.changed_at_ms) == (1, 2_000)
    texts = subject.remote.texts()
    assert (texts["fileReservedTime"], texts["traceOn"]) == ("48", "false")


def test_what_cannot_be_kept_does_not_count(subject: Subject) -> None:
    subject.ask(fileReservedTime="48")
    subject.keeper.latches[0].fail(ServiceUnavailable("broker.conf cannot be changed: no space"))
    assert [str(error) for error in subject.errors] == ["broker.conf cannot be changed: no space"]
    assert subject.store.current == StoreConfig()
    assert subject.remote.change_count == 0


def test_changes_at_the_same_time_all_count(subject: Subject) -> None:
    subject.ask(fileReservedTime="48")
    subject.ask(deleteWhen="05")
    for latch in subject.keeper.latches:
        latch.set(None)
    assert subject.store.current == replace(
        StoreConfig(), file_reserved_time_hours=48, delete_when="05"
    )
    assert subject.remote.change_count == 2


def test_listeners_hear_of_a_change_once_and_not_of_the_same_value(subject: Subject) -> None:
    heard: list[bool] = []
    subject.broker.on_change(lambda _old, new: heard.append(new.trace_on))
    subject.ask(traceOn="false", fileReservedTime="1")
    subject.ask(traceOn="false")
    for latch in subject.keeper.latches:
        latch.set(None)
    assert heard == [False]


def test_all_that_counts_is_shown(subject: Subject) -> None:
    texts = subject.remote.texts()
    for kind in (BrokerConfig, StoreConfig, RemotingConfig):
        assert properties_of(kind).keys() <= texts.keys()
    assert texts["useTLS"] == "false"
    assert texts["flushDiskType"] == "SYNC_FLUSH"


def test_without_a_keeper_changes_count_until_the_end() -> None:
    cell = Settings(NamesrvConfig())
    run(unkept([cell], NAMESRV_KEYS, lambda: 0).update({"enableTopicList": "false"}))
    assert not cell.current.enable_topic_list
    run(unkept([cell], NAMESRV_KEYS, lambda: 0).update({}))
