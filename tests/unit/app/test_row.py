"""What each broker of `standalone --brokers N` has for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.app.options import parse
from pyromq.app.row import PlannedBroker, broker_names, planned, unserved_lines
from pyromq.app.settings import Configured, configure
from pyromq.errors import ConfigInvalid


def configured(*arguments: str) -> Configured:
    return configure(parse(["standalone", *arguments]))


def test_the_first_is_the_one_that_serves_alone_and_the_others_follow_it() -> None:
    assert planned(configured("--data-dir", "d"), 3) == [
        PlannedBroker("broker-a", 10911, Path("d"), 0),
        PlannedBroker("broker-b", 10921, Path("d/broker-b"), 0),
        PlannedBroker("broker-c", 10931, Path("d/broker-c"), 0),
    ]


def test_free_ports_are_free_ports_for_all() -> None:
    assert [each.port for each in planned(configured("--broker-port", "0"), 3)] == [0, 0, 0]


def test_the_replication_ports_have_the_same_distance() -> None:
    row = planned(configured("--set", "haListenPort=20000"), 2)
    assert [each.ha_port for each in row] == [20000, 20010]


@pytest.mark.parametrize(
    ("first", "names"),
    [
        ("broker-a", ["broker-a", "broker-b", "broker-c"]),
        ("orders", ["orders", "orders-b", "orders-c"]),
        ("a", ["a", "a-b", "a-c"]),
    ],
)
def test_names_follow_the_first_ones(first: str, names: list[str]) -> None:
    assert broker_names(first, 3) == names


def test_there_is_a_name_for_each_of_the_most() -> None:
    names = broker_names("broker-a", 26)
    assert (len(set(names)), names[-1]) == (26, "broker-z")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--broker-port", "65530"), "the last one's port would be 65540"),
        (("--broker-port", "off"), "2 brokers have nowhere to serve"),
    ],
)
def test_a_row_that_has_no_room_is_a_configuration_error(
    arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        planned(configured(*arguments), 2)


def test_stores_that_only_more_brokers_would_serve_are_named(tmp_path: Path) -> None:
    it = configured("--data-dir", str(tmp_path))
    for name in ("broker-b", "broker-d", "other"):
        (tmp_path / name / "commitlog").mkdir(parents=True)
    (tmp_path / "broker-c").mkdir()
    first, second = unserved_lines(it, 1)
    assert first.endswith("broker-b is not served: it takes --brokers 2")
    assert second.endswith("broker-d is not served: it takes --brokers 4")
    assert unserved_lines(it, 4) == []
