"""The command line: Apache's letters, and values that are refused."""

from __future__ import annotations

import pytest

from pyromq.cli.bench.options import parse
from pyromq.errors import ConfigInvalid


def test_apaches_letters_mean_what_they_mean_there() -> None:
    line = "producer -n a:1 -t T -w 3 -s 4096 -k true -l 5 -p 60 -q 7 -d true -e 2 -c true -ri 500"
    found = parse(line.split(), {})
    assert (found.namesrv, found.topic, found.workers, found.size) == ("a:1", "T", 3, 4096)
    assert (found.keys, found.tags, found.properties, found.count) == (True, 5, 60, 7)
    assert (found.delay, found.delay_level, found.compress, found.interval) == (True, 2, True, 500)
    assert parse(["batch", "-b", "8"], {}).batch_size == 8
    line = "consumer -t T -w 2 -g G -f SQL92 -e a>1 -r 0.5"
    found = parse(line.split(), {})
    assert (found.group, found.filter_type, found.expression) == ("G", "SQL92", "a>1")
    assert (found.workers, found.fail_rate) == (2, 0.5)


def test_without_options_they_are_apaches_defaults() -> None:
    found = parse(["producer"], {})
    assert (found.topic, found.workers, found.size, found.keys) == ("BenchmarkTest", 64, 128, False)
    assert (found.group, found.namesrv) == ("benchmark_producer", "127.0.0.1:9876")
    assert (found.count, found.duration, found.rate, found.tags) == (None, None, None, 0)
    assert parse(["batch"], {}).batch_size == 16
    assert parse(["consumer"], {}).group == "benchmark_consumer"


def test_the_name_server_comes_from_the_environment_unless_it_is_given() -> None:
    assert parse(["batch"], {"NAMESRV_ADDR": "b:2"}).namesrv == "b:2"
    assert parse(["batch", "-n", "c:3"], {"NAMESRV_ADDR": "b:2"}).namesrv == "c:3"


def test_a_switch_may_stand_alone_or_with_its_value() -> None:
    assert parse(["producer", "-k"], {}).keys
    assert not parse(["producer", "-k", "false"], {}).keys


def test_no_more_workers_than_order_keys() -> None:
    found = parse(["ordered", "-w", "8"], {})
    assert (found.workers, found.order_keys) == (8, 8)
    found = parse(["ordered", "-w", "8", "--order-keys", "3"], {})
    assert (found.workers, found.order_keys) == (3, 3)
    found = parse(["ordered", "-w", "2", "--order-keys", "3"], {})
    assert (found.workers, found.order_keys) == (2, 3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "KIND"),
        ("what", "invalid choice"),
        ("producer -w 0", "1 or more"),
        ("producer -q x", "a whole number"),
        ("producer -q ٣", "a whole number"),
        ("producer -k maybe", "true or false"),
        ("producer --duration -1", "expected one argument|seconds"),
        ("producer --duration 0", "seconds"),
        ("producer --duration nan", "seconds"),
        ("consumer -r 2", "0 to 1"),
        ("consumer -f SQL", "invalid choice"),
        ("consumer -s 10", "unrecognized"),
        ("producer --dur 3", "unrecognized"),
        ("producer -b 3", "unrecognized"),
        ("consumer --pull -r 0.1", "no -r"),
    ],
)
def test_what_is_not_accepted_is_named(line: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        parse(line.split(), {})
