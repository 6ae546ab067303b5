"""Offsets kept by the brokers, and in a file: Apache's format, replaced as a whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from pyromq.client.instance import ClientInstance
from pyromq.client.offset_store import BrokerOffsets, FileOffsets
from pyromq.domain.route import MessageQueue
from pyromq.wire.remoting.headers.offsets import UpdateConsumerOffsetHeader

ONE, TWO = MessageQueue("a", 0, "T"), MessageQueue("a", 1, "T")


async def test_offsets_are_found_again_by_the_next_store(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "offsets.json"
    store = FileOffsets(path)
    assert await store.read(ONE) is None
    store.note(ONE, 5)
    store.note(TWO, 7)
    await store.persist()
    text = path.read_text()
    assert '{"brokerName":"a","queueId":0,"topic":"T"}:5' in text
    assert [file.name for file in path.parent.iterdir()] == ["offsets.json"]

    second = FileOffsets(path)
    assert (await second.read(ONE), await second.read(TWO)) == (5, 7)
    second.note(ONE, 6)
    await second.persist()
    third = FileOffsets(path)
    assert (await third.read(ONE), await third.read(TWO)) == (6, 7)


async def test_a_queue_that_is_forgotten_stays_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    store = FileOffsets(path)
    store.note(ONE, 5)
    await store.persist()
    store.forget(ONE)
    store.note(TWO, 1)
    await store.persist()
    assert await FileOffsets(path).read(ONE) == 5


async def test_a_damaged_file_costs_the_offsets_and_not_the_start(tmp_path: Path) -> None:
    path = tmp_path / "offsets.json"
    path.write_text('{"offsetTable":{')
    store = FileOffsets(path)
    assert await store.read(ONE) is None
    store.note(ONE, 1)
    await store.persist()
    assert await FileOffsets(path).read(ONE) == 1


async def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    blocker = tmp_path / "folder"
    blocker.write_text("a file where a folder should be")
    store = FileOffsets(blocker / "offsets.json")
    store.note(ONE, 3)
    await store.persist()
    blocker.unlink()
    await store.persist()
    assert await FileOffsets(blocker / "offsets.json").read(ONE) == 3


class RacingBroker:
    """Takes offsets as Apache's broker does: two that begin the table of a topic and a group at the
    same time each make a table, and one of these is lost."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[int, int]] = {}
        self.answered = 0

    async def address_of(self, _: MessageQueue) -> str:
        return "broker:10911"

    async def call(
        self, _address: str, _code: int, header: UpdateConsumerOffsetHeader, **_: Any
    ) -> None:
        table = self.tables.get(header.topic)
        await asyncio.sleep(0)  # the others look for the table, too
        if table is None:
            table = self.tables[header.topic] = {}
        table[header.queue_id] = header.commit_offset
        self.answered += 1


async def test_the_first_offsets_of_a_group_are_not_lost_in_the_broker() -> None:
    broker = RacingBroker()
    store = BrokerOffsets(cast(ClientInstance, broker), "G")
    for queue_id in range(4):
        store.note(MessageQueue("a", queue_id, "T"), 10 + queue_id)
        store.note(MessageQueue("a", queue_id, "U"), 20 + queue_id)
    await store.persist()
    assert broker.tables["T"] == {0: 10, 1: 11, 2: 12, 3: 13}
    assert broker.tables["U"] == {0: 20, 1: 21, 2: 22, 3: 23}
    await store.persist()
    assert broker.answered == 8
