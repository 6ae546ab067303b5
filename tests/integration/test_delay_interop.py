"""Delayed messages that wait in a store when another server takes it over, in both directions.

The first server delivers some and is stopped; the second one delivers the rest, each message once,
with the properties it waited with. With `--peer apache` both servers are Apache's, which checks the
test itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.wire.record import Record, parse_properties
from tests.support.delayed import (
    await_delivered,
    create_topic,
    delivered,
    delivered_count,
    send,
    waiting,
)
from tests.support.peers import Kind, StoreOwner

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("java_program"),
]

PROPERTIES = {
    "messageDelayLevel": "1s 5s",
    "mappedFileSizeCommitLog": str(1024 * 1024),
    "mappedFileSizeConsumeQueue": str(500 * 20),
    "maxHashSlotNum": "1000",
    "maxIndexNum": "4000",
}
SOON, LATER = 1, 2
COUNT = 60


@pytest.fixture(params=["ours", "apache"], ids=["ours_wrote", "apache_wrote"])
def writer(request: pytest.FixtureRequest, peer_kind: Kind) -> Kind:
    if peer_kind == "apache" and request.param == "ours":
        pytest.skip("--peer apache: our server stays out")
    kind: Kind = request.param
    return kind


def properties_of(record: Record) -> dict[str, str]:
    """Without their order: Apache's comes from a HashMap."""
    return parse_properties(record.properties.decode())


def test_the_next_server_delivers_what_waits_and_nothing_twice(
    writer: Kind, peer_kind: Kind, tmp_path: Path
) -> None:
    reader: Kind = "ours" if writer == "apache" != peer_kind else "apache"
    with StoreOwner(writer, tmp_path, properties=PROPERTIES) as owner:
        create_topic(owner.broker)
        send(owner.broker, range(COUNT), (SOON,))
        send(owner.broker, range(COUNT, 3 * COUNT), (LATER,))
        await_delivered(owner.broker, COUNT)
        owner.stop()

    with StoreOwner(reader, tmp_path, properties=PROPERTIES) as owner:
        assert delivered_count(owner.broker) >= COUNT
        send(owner.broker, range(3 * COUNT, 4 * COUNT), (SOON,))
        await_delivered(owner.broker, 4 * COUNT)
        copies = delivered(owner.broker)
        waited = waiting(owner.broker, SOON) | waiting(owner.broker, LATER)
    assert sorted(copies) == sorted(waited) == list(range(4 * COUNT))
    for number, records in copies.items():
        [copy] = records
        assert properties_of(copy) == properties_of(waited[number])
        assert copy.born_host == waited[number].born_host
        assert copy.store_timestamp_ms >= waited[number].store_timestamp_ms + 1000
