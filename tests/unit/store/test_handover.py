"""Another program ran on files that were older than our journal: nothing of either is lost.

The other program is a second `Metadata` over a copy of the files alone: like Apache's broker it
knows nothing of the journal, changes what it read and writes the files anew.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.store.handover import merged_offsets
from pyromq.store.metadata import FOLDER, Metadata
from pyromq.store.projection import DELAY_OFFSETS, GROUPS, OFFSETS, TOPICS
from pyromq.store.tables import Tables
from tests.support.clock import ManualClock
from tests.support.faulty_files import FaultyFiles

Verb = Callable[[Metadata], object]


class Shared:
    """One store directory that ours and the other program use in turn."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = FaultyFiles()
        self.clock = ManualClock()

    def open(self) -> Metadata:
        return Metadata.open_broker(self.root, sync_flush=True, clock=self.clock, files=self.files)

    def killed(self, metadata: Metadata) -> None:
        """Ours is killed: what its turn wrote is there, the files are as old as they are."""
        metadata.write()
        metadata._journal.close()
        self.files.abandon()
        self.clock.advance(1)

    async def other(self, *verbs: Verb) -> None:
        """Starts on the files, changes this, writes all files and stops."""
        folder = self.root.with_name("other")
        shutil.copytree(self.root, folder, ignore=shutil.ignore_patterns(FOLDER))
        metadata = started(
            Metadata.open_broker(folder, sync_flush=False, clock=self.clock, files=self.files)
        )
        for verb in verbs:
            verb(metadata)
        for file in (TOPICS, GROUPS, OFFSETS, DELAY_OFFSETS):  # Apache writes most of them anyway
            metadata._changed_files.add(file)
            metadata.tables.unknown_topics[""] = {"other": 1}
        await metadata.stop()
        shutil.rmtree(self.root / "config")
        shutil.copytree(folder / "config", self.root / "config")
        shutil.rmtree(folder)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(tmp_path / "store")
    yield shared
    shared.files.abandon()


def started(metadata: Metadata) -> Metadata:
    metadata.start(asyncio.get_running_loop().call_soon_threadsafe)
    return metadata


def topic(name: str, queues: int = 4) -> TopicConfig:
    return TopicConfig(topic_name=name, read_queue_nums=queues, write_queue_nums=queues)


async def projected(shared: Shared) -> Metadata:
    """Ours with two topics, a group and offsets, all of it shown by the files."""
    metadata = started(shared.open())
    metadata.put_topic(topic("t"))
    metadata.put_topic(topic("u"))
    metadata.put_group(GroupConfig(group_name="g"))
    for queue in range(4):
        metadata.commit_offset("g", "t", queue, 10)
    metadata.move_delay_offsets({1: 10, 2: 10})
    await metadata.project()
    return metadata


async def test_what_the_files_did_not_show_yet_stands_beside_what_the_other_changed(
    shared: Shared,
) -> None:
    metadata = await projected(shared)
    metadata.put_topic(topic("late"))
    metadata.put_topic(topic("t", 8))
    metadata.put_group(GroupConfig(group_name="late"))
    metadata.commit_offset("g", "t", 0, 20)
    metadata.commit_offset("late", "t", 3, 5)
    metadata.move_delay_offsets({1: 20})
    shared.killed(metadata)

    def change(other: Metadata) -> None:
        assert "late" not in other.tables.topics
        other.put_topic(topic("theirs"))
        other.put_topic(topic("u", 2))
        other.put_group(GroupConfig(group_name="theirs"))
        other.commit_offset("g", "t", 1, 30)
        other.move_delay_offsets({2: 30})

    await shared.other(change)
    again = started(shared.open())
    tables = again.tables
    queues = {name: config.read_queue_nums for name, config in tables.topics.items()}
    assert queues == {"t": 8, "u": 2, "late": 4, "theirs": 4}
    assert {"g", "late", "theirs"} <= tables.groups.keys()
    assert tables.offsets == {"t@g": {0: 20, 1: 30, 2: 10, 3: 10}, "t@late": {3: 5}}
    assert tables.delay_offsets == {1: 20, 2: 30}
    assert tables.topics_version.counter > metadata.tables.topics_version.counter
    await again.project()  # the files show it at once
    await shared.other()
    await again.stop()
    assert shared.open().tables.topics == tables.topics


async def test_after_a_clean_stop_the_other_is_right_also_where_it_goes_back(
    shared: Shared,
) -> None:
    metadata = await projected(shared)
    metadata.put_topic(topic("t", 8))
    metadata.commit_offset("g", "t", 0, 20)
    await metadata.stop()
    shared.files.abandon()

    def change(other: Metadata) -> None:
        other.put_topic(topic("t", 4))  # as it was before
        other.commit_offset("g", "t", 0, 10)
        other.delete_topic("u")

    await shared.other(change)
    tables = shared.open().tables
    assert {name: config.read_queue_nums for name, config in tables.topics.items()} == {"t": 4}
    assert tables.offset("g", "t", 0) == 10


async def test_an_entry_that_both_changed_is_as_the_other_left_it(shared: Shared) -> None:
    metadata = await projected(shared)
    metadata.put_topic(topic("t", 8))
    metadata.delete_group("g")
    shared.killed(metadata)
    await shared.other(
        lambda other: other.put_topic(topic("t", 16)),
        lambda other: other.put_group(GroupConfig(group_name="g", retry_max_times=3)),
    )
    tables = shared.open().tables
    assert tables.topics["t"].read_queue_nums == 16
    assert tables.groups["g"].retry_max_times == 3


async def test_a_deleted_group_stays_deleted_and_a_deleted_topic_comes_back(
    shared: Shared,
) -> None:
    metadata = await projected(shared)
    metadata.delete_group("g")
    metadata.drop_offsets(group="g")
    metadata.delete_topic("u")
    shared.killed(metadata)
    await shared.other(lambda other: other.put_topic(topic("theirs")))
    tables = shared.open().tables
    assert "g" not in tables.groups
    assert tables.offsets == {}
    assert sorted(tables.topics) == ["t", "theirs", "u"]
    assert "u" not in tables.doomed_topics


async def test_a_reset_that_no_client_has_adopted_yet_stays_marked(shared: Shared) -> None:
    metadata = await projected(shared)
    metadata.reset_offsets("g", "t", {0: 3, 1: 3}, is_marked=True)
    shared.killed(metadata)
    await shared.other(lambda other: other.commit_offset("g", "t", 1, 12))
    tables = shared.open().tables
    assert tables.offsets["t@g"] == {0: 3, 1: 3, 2: 10, 3: 10}  # the reset is not undone
    assert tables.resets == {"t@g": {0: 3, 1: 3}}


@pytest.mark.parametrize("step", ["rename", "write", "sync_directory"])
async def test_a_kill_between_announcing_and_renaming_a_content_loses_nothing(
    shared: Shared, step: str
) -> None:
    metadata = await projected(shared)
    metadata.put_topic(topic("late"))
    shared.files.fail(step, after=1 if step == "write" else 0)
    await metadata.project()
    metadata.put_topic(topic("later"))
    shared.killed(metadata)
    await shared.other(lambda other: other.put_topic(topic("theirs")))
    assert sorted(shared.open().tables.topics) == ["late", "later", "t", "theirs", "u"]


async def test_changes_while_a_content_is_made_are_not_taken_for_shown(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = await projected(shared)
    copies: list[object] = []

    def slowly(function: Callable[..., object], *arguments: object) -> object:
        result = function(*arguments)
        if (
            arguments and isinstance(arguments[0], Tables) and not copies
        ):  # made of what was copied before
            copies.append(result)
            metadata.put_topic(topic("meanwhile"))
            metadata.put_topic(topic("t", 7))
        return result

    async def to_thread(function: Callable[..., object], *arguments: object) -> object:
        return slowly(function, *arguments)

    metadata.put_topic(topic("late"))
    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    await metadata.project()
    monkeypatch.undo()
    assert '"meanwhile"' not in (shared.root / TOPICS).read_text()
    shared.killed(metadata)
    await shared.other(lambda other: other.put_topic(topic("theirs")))
    tables = shared.open().tables
    assert sorted(tables.topics) == ["late", "meanwhile", "t", "theirs", "u"]
    assert tables.topics["t"].read_queue_nums == 7


async def test_a_store_that_was_never_shown_keeps_all_of_it(shared: Shared) -> None:
    """Apache's broker may have written its first files beside a broker of ours that runs."""
    metadata = started(shared.open())
    metadata.put_topic(topic("t"))
    metadata.commit_offset("g", "t", 0, 10)
    (shared.root / "config").mkdir()
    await shared.other(lambda other: other.put_topic(topic("theirs")))
    shared.killed(metadata)
    tables = shared.open().tables
    assert sorted(tables.topics) == ["t", "theirs"]
    assert tables.offset("g", "t", 0) == 10


async def test_a_file_written_beside_a_running_broker_is_written_anew_at_once(
    shared: Shared,
) -> None:
    """An Apache broker that the lock refuses leaves what it had read; a clean stop must not."""
    metadata = await projected(shared)
    old = {path: path.read_text() for path in (shared.root / "config").glob("*.json")}
    metadata.put_topic(topic("late"))
    metadata.put_group(GroupConfig(group_name="late"))
    metadata.commit_offset("g", "t", 0, 99)
    await metadata.project()
    for path, text in old.items():
        path.write_text(text + " ")
    await metadata.stop()
    tables = shared.open().tables
    assert "late" in tables.topics
    assert "late" in tables.groups
    assert tables.offset("g", "t", 0) == 99


async def test_a_second_kill_before_any_new_content_loses_nothing_either(shared: Shared) -> None:
    metadata = await projected(shared)
    metadata.put_topic(topic("late"))
    shared.killed(metadata)
    await shared.other(lambda other: other.put_topic(topic("theirs")))
    second = shared.open()
    second.put_topic(topic("second"))
    shared.killed(second)  # the files are still the other's
    await shared.other(lambda other: other.put_topic(topic("theirs-2")))
    assert sorted(shared.open().tables.topics) == [
        "late", "second", "t", "theirs", "theirs-2", "u",
    ]  # fmt: skip


VALUES = st.none() | st.integers(0, 5)


@given(base=VALUES, ours=VALUES, theirs=VALUES)
@settings(max_examples=300)
def test_of_two_offsets_the_higher_counts_unless_one_was_set_back(
    base: int | None, ours: int | None, theirs: int | None
) -> None:
    def table(value: int | None) -> dict[int, int]:
        return {} if value is None else {0: value}

    merged = merged_offsets(table(ours), table(theirs), [{0: base}])[0]
    if theirs == base:
        assert merged == ours
    elif ours == base or ours is None or theirs is None:
        assert merged in (theirs, ours)
        if ours == base:
            assert merged in (theirs, max(ours or 0, theirs or 0))
    elif base is None or (ours > base and theirs > base):
        assert merged == max(ours, theirs)
    elif ours < base or theirs < base:
        assert merged == min(ours, theirs)
