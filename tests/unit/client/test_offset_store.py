"""Offsets kept in a file: Apache's format, replaced as a whole."""

from __future__ import annotations

from pathlib import Path

from pyromq.client.offset_store import FileOffsets
from pyromq.domain.route import MessageQueue

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
