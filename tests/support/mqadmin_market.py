"""Traffic for the tests of mqadmin: stocked topics and push consumers that stay.

The consumers live in a JVM of their own. A Java client commits its offsets 10 s after its start for
the first time, so everything that must have committed is started together and early.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.support.foreign import JavaSession, Row
from tests.support.listeners import Listener
from tests.support.mqadmin import Console

QUEUES = 2
HALF = 10
COUNT = 2 * HALF
CLERKS = ("all", "half", "place", "none")


@dataclass(frozen=True)
class Stock:
    """A topic with messages 0 … 19, even numbers in queue 0; tags A and B, keys `<topic>-<n>`."""

    topic: str
    first: Row
    last: Row
    middle_ms: int
    """A time at which messages 0 … 9 were stored and the others not yet."""


@dataclass(frozen=True)
class Market:
    """Topic "shop" with a group of its own, and "till" whose groups have their offsets moved."""

    shop: Stock
    shopper: Listener
    till: Stock
    picker: Listener
    """Of group "pickers", which wants tag A of "till" only: queue 0."""
    clerks: dict[str, Listener]
    """By the last word of their groups, such as "all" of "clerks-all"."""


def stock(console: Console, clients: JavaSession, topic: str) -> Stock:
    console.done(f"updateTopic -b {console.broker} -t {topic} -r {QUEUES} -w {QUEUES}")
    console.until(f"topicRoute -t {topic} -l", "broker-a")
    sending = ("send", "--topic", topic, "--mode", "ordered", "--shards", QUEUES, "--count", HALF)
    sample = ("--tags", "A,B", "--keys", f"{topic}-")
    first = clients.one(*sending, *sample)
    middle_ms = time.time_ns() // 1_000_000 + 2
    last = clients.one(*sending, *sample, "--first", HALF)
    return Stock(topic, first, last, middle_ms)


def open_market(console: Console, clients: JavaSession) -> Market:
    """Everybody has received all of his topic, and nobody has committed yet."""
    shop, till = stock(console, clients, "shop"), stock(console, clients, "till")
    console.done(f"updateSubGroup -b {console.broker} -g shoppers -r 3")
    shopper = Listener(clients, "shop", "shoppers")
    clerks = {name: Listener(clients, "till", f"clerks-{name}") for name in CLERKS}
    picker = Listener(clients, "till", "pickers", "--sub", "A")
    assert len(picker.heard(HALF)) == HALF
    for listener in (shopper, *clerks.values()):
        assert len(listener.heard(COUNT)) == COUNT
    return Market(shop, shopper, till, picker, clerks)
