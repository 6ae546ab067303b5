"""Metadata as one part: changes, sequences, the projection's life, and what a start believes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.errors import StartFailed, StoreDamaged, StoreFailed
from pyromq.store.journal import begin_generation
from pyromq.store.metadata import OFFSET_VERSION_STEP, Metadata
from pyromq.store.projection import DELAY_OFFSETS, GROUPS, KV, OFFSETS, TOPICS
from pyromq.store.tables import Tables
from pyromq.units import MIB
from pyromq.wire import dialect
from tests.support.clock import ManualClock
from tests.support.faulty_files import FaultyFiles

Open = Callable[[], Metadata]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    files = FaultyFiles()
    yield files
    files.abandon()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def open_broker(root: Path, files: FaultyFiles, clock: ManualClock) -> Open:
    return lambda: Metadata.open_broker(root, sync_flush=True, clock=clock, files=files)


@pytest.fixture
def memory(clock: ManualClock) -> Metadata:
    return Metadata.in_memory(clock=clock)


def topic(name: str) -> TopicConfig:
    return TopicConfig(topic_name=name)


def group(name: str) -> GroupConfig:
    return GroupConfig(group_name=name)


def start(metadata: Metadata) -> Metadata:
    metadata.start(asyncio.get_running_loop().call_soon_threadsafe)
    return metadata


# --- changes and sequences ------------------------------------------------------------------------


def test_each_change_has_its_sequence_and_shows_at_once(memory: Metadata) -> None:
    sequences = [
        memory.put_topic(topic("t")),
        memory.put_group(group("g")),
        memory.put_forbidden("g", "t", 1),
        memory.put_kv("n", "k", "v"),
        memory.commit_offset("g", "t", 0, 5),
        memory.drop_offsets(group="g"),
        memory.move_delay_offsets({1: 5}),
        memory.delete_kv("n", "k"),
        memory.delete_group("g"),
        memory.delete_topic("t"),
    ]
    assert sequences == list(range(1, 11))
    assert memory.positions() == (10, 0, 0, 0)
    memory.write()
    assert memory.positions() == (10, 10, 0, 10)
    assert not memory.tables.topics


def test_changing_nothing_returns_the_last_sequence(memory: Metadata) -> None:
    version = memory.tables.topics_version
    last = memory.put_kv("n", "k", "v")
    assert memory.delete_topic("none") == last
    assert memory.delete_group("none") == last
    assert memory.delete_kv("n", "none") == last
    assert memory.drop_offsets(topic="none") == last
    assert memory.clone_offsets("a", "b", "t") == last
    assert memory.tables.topics_version == version


def test_versions_count_and_carry_the_time(memory: Metadata, clock: ManualClock) -> None:
    before = memory.tables.topics_version
    memory.put_topic(topic("t"))
    memory.put_topic(topic("t"))
    clock.advance(5)
    memory.delete_topic("t")
    after = memory.tables.topics_version
    assert after.counter == before.counter + 3
    assert after.timestamp == clock.now_ms()
    assert memory.tables.groups_version.counter == 0


def test_offset_commits_of_one_turn_are_one_change(memory: Metadata) -> None:
    sequences = {memory.commit_offset("g", "t", n % 4, n) for n in range(100)}
    assert sequences == {1}
    assert memory.positions().appended == 1
    memory.write()
    assert memory.positions().written == 1
    assert memory.commit_offset("g", "t", 0, 1) == 2


def test_other_changes_keep_their_place_between_offset_commits(open_broker: Open) -> None:
    metadata = open_broker()
    before = metadata.positions().appended
    metadata.commit_offset("g", "t", 0, 5)
    metadata.drop_offsets(group="g")
    last = metadata.commit_offset("g", "t", 1, 7)
    assert last == before + 3
    metadata.write()
    assert open_broker().tables.offsets == {"t@g": {1: 7}}


def test_a_lower_offset_is_obeyed(memory: Metadata) -> None:
    memory.commit_offset("g", "t", 0, 5)
    memory.commit_offset("g", "t", 0, 5)
    memory.commit_offset("g", "t", 0, 3)
    assert memory.tables.offset("g", "t", 0) == 3


def test_the_offsets_version_steps_as_apaches(memory: Metadata) -> None:
    for n in range(OFFSET_VERSION_STEP - 1):
        memory.commit_offset("g", "t", 0, n)
    assert memory.tables.offsets_version.counter == 0
    memory.commit_offset("g", "t", 0, 0)
    assert memory.tables.offsets_version.counter == 1


def test_the_version_of_delay_offsets_steps_with_delivered_messages_as_apaches(
    memory: Metadata, clock: ManualClock
) -> None:
    clock.advance(7)
    for offset in (150, 199):
        memory.move_delay_offsets({1: offset})
    assert memory.tables.delay_offsets_version.counter == 0
    memory.move_delay_offsets({2: 1})
    assert memory.tables.delay_offsets_version.counter == 1
    assert memory.tables.delay_offsets_version.timestamp == clock.now_ms()
    memory.move_delay_offsets({1: 0})
    memory.move_delay_offsets({1: 199})
    assert memory.tables.delay_offsets_version.counter == 1
    assert memory.tables.delay_offsets == {1: 199, 2: 1}


async def test_delay_offsets_survive_and_apaches_replace_them(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    first = open_broker()
    first.move_delay_offsets({1: 5, 2: 7})
    first.write()
    files.abandon()  # killed before its first projection
    second = start(open_broker())
    assert second.tables.delay_offsets == {1: 5, 2: 7}
    await second.stop()
    edit(root / DELAY_OFFSETS, "1:5", "1:9")
    assert open_broker().tables.delay_offsets == {1: 9, 2: 7}


def test_offsets_are_dropped_by_group_by_topic_or_both(memory: Metadata) -> None:
    def fill() -> None:
        for name in ("g", "h"):
            for title in ("t", "u"):
                memory.commit_offset(name, title, 0, 1)

    fill()
    memory.drop_offsets(group="g")
    assert sorted(memory.tables.offsets) == ["t@h", "u@h"]
    fill()
    memory.drop_offsets(topic="t")
    assert sorted(memory.tables.offsets) == ["u@g", "u@h"]
    fill()
    memory.drop_offsets(group="h", topic="u")
    assert sorted(memory.tables.offsets) == ["t@g", "t@h", "u@g"]


def test_clone_gives_the_target_exactly_the_sources_offsets(memory: Metadata) -> None:
    memory.commit_offset("a", "t", 0, 5)
    memory.commit_offset("b", "t", 1, 9)
    memory.clone_offsets("a", "b", "t")
    memory.commit_offset("a", "t", 0, 6)
    assert memory.tables.offsets == {"t@a": {0: 6}, "t@b": {0: 5}}


def test_in_memory_sync_flush_waits_for_flush(clock: ManualClock) -> None:
    metadata = Metadata.in_memory(clock=clock, sync_flush=True)
    told: list[int] = []
    metadata.on_progress(lambda: told.append(metadata.positions().commit))
    sequence = metadata.put_topic(topic("t"))
    metadata.write()
    assert metadata.positions().commit == 0
    metadata.flush()
    assert told == [sequence]


def test_after_a_failed_write_nothing_can_be_changed(open_broker: Open, files: FaultyFiles) -> None:
    metadata = open_broker()
    metadata.put_topic(topic("t"))
    files.fail("write")
    with pytest.raises(StoreFailed):
        metadata.write()
    assert metadata.failure() is not None
    with pytest.raises(StoreFailed):
        metadata.put_topic(topic("u"))
    with pytest.raises(StoreFailed):
        metadata.commit_offset("g", "t", 0, 1)
    with pytest.raises(StoreFailed):
        metadata.put_kv("n", "k", "v")
    metadata.write()


# --- restart --------------------------------------------------------------------------------------


def test_everything_written_is_there_after_a_kill(open_broker: Open, files: FaultyFiles) -> None:
    metadata = open_broker()
    metadata.put_topic(topic("t"))
    metadata.put_group(group("g"))
    metadata.put_forbidden("g", "t", 2)
    metadata.commit_offset("g", "t", 3, 99)
    metadata.commit_pull_offset("g", "t", 3, 120)
    metadata.write()
    metadata.put_topic(topic("lost"))
    files.abandon()
    again = open_broker().tables
    assert again.topics == {"t": topic("t")}
    assert again.groups == {"g": group("g")}
    assert again.forbidden == {"g": {"t": 2}}
    assert again.offset("g", "t", 3) == again.pull_offset("g", "t", 3) == 99


async def test_order_locks_survive_a_kill_and_a_clean_stop_and_are_in_no_file_of_apaches(
    open_broker: Open, files: FaultyFiles, root: Path
) -> None:
    metadata = open_broker()
    metadata.put_locks("g", "client-1", {"t": [0, 1]})
    metadata.delete_locks("g", {"t": [1]})
    metadata.write()
    files.abandon()
    again = start(open_broker())
    assert list(again.tables.held_locks()) == [("g", "t", 0, "client-1")]
    await again.stop()
    assert list(open_broker().tables.held_locks()) == [("g", "t", 0, "client-1")]
    shown = [path.read_text() for path in (root / "config").iterdir()]
    assert not any("client-1" in text for text in shown)


def test_pull_offsets_are_in_no_snapshot(open_broker: Open) -> None:
    metadata = open_broker()
    metadata.commit_pull_offset("g", "t", 0, 6)
    metadata.commit_offset("g", "t", 0, 5)
    copied = metadata._copy_for_snapshot()
    assert copied.pull_offsets == {}
    assert copied.offsets == metadata.tables.offsets
    assert metadata.tables.pull_offset("g", "t", 0) == 6


async def test_a_clean_stop_shows_everything_in_the_projection(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    metadata.put_group(group("g"))
    metadata.commit_offset("g", "t", 0, 5)
    metadata.commit_pull_offset("g", "t", 0, 6)
    await metadata.stop()
    assert not files.open_fds
    topics = json.loads((root / TOPICS).read_bytes())
    assert topics["dataVersion"]["counter"] == 1
    assert list(topics["topicConfigTable"]) == ["t"]
    assert list(json.loads((root / GROUPS).read_bytes())["subscriptionGroupTable"]) == ["g"]
    offsets = (root / OFFSETS).read_text().split()
    assert "".join(offsets).endswith(
        '"groupTopicMap":{"g":["t"]},"offsetTable":{"t@g":{0:5}},"pullOffsetTable":{"t@g":{0:6}}}'
    )
    with pytest.raises(StoreFailed):
        metadata.put_topic(topic("u"))


async def test_only_changed_files_are_written(open_broker: Open, root: Path) -> None:
    metadata = start(open_broker())
    await metadata.project()
    places = [root / name for name in (TOPICS, GROUPS, OFFSETS)]
    before = [path.stat().st_ino for path in places]
    metadata.put_group(group("g"))
    await metadata.project()
    await metadata.project()
    after = [path.stat().st_ino for path in places]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    await metadata.stop()


@pytest.mark.parametrize(
    ("change", "name", "table"),
    [
        (lambda it: it.move_delay_offsets({3: 7}), DELAY_OFFSETS, {"3": 7}),
        (lambda it: it.reset_offsets("g", "t", {0: 7}, is_marked=True), OFFSETS, {"t@g": {"0": 7}}),
    ],
    ids=["delay offsets", "reset offsets"],
)
async def test_a_change_by_the_broker_itself_is_projected_like_any_other(
    change: Callable[[Metadata], int], name: str, table: object, open_broker: Open, root: Path
) -> None:
    metadata = start(open_broker())
    await metadata.project()
    change(metadata)
    metadata.write()
    await metadata.project()
    members = dialect.read((root / name).read_bytes(), size_max=MIB)
    assert isinstance(members, dict)
    assert members["offsetTable"] == table
    await metadata.stop()


async def test_a_projection_that_cannot_be_written_is_tried_again(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    metadata = start(open_broker())
    await metadata.project()
    before = (root / TOPICS).read_bytes()
    metadata.put_topic(topic("t"))
    files.fail("rename", after=1)
    await metadata.project()
    assert metadata.failure() is None
    await metadata.project()
    assert b'"t"' in (root / TOPICS).read_bytes() != before
    await metadata.stop()


async def test_apaches_files_are_taken_where_there_is_no_journal(
    open_broker: Open, root: Path
) -> None:
    first = start(open_broker())
    first.put_topic(topic("t"))
    first.commit_offset("g", "t", 0, 5)
    await first.stop()
    for path in (root / "pyromq").iterdir():
        path.unlink()
    again = open_broker()
    assert again.tables.topics == first.tables.topics
    assert again.tables.topics_version == first.tables.topics_version
    assert again.tables.offsets == first.tables.offsets
    assert again._changed_files == set()


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 100])
def test_an_unreadable_file_without_a_journal_is_never_empty(
    open_broker: Open, root: Path, content: bytes
) -> None:
    path = root / TOPICS
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(StoreDamaged) as refused:
        open_broker()
    assert str(path) in str(refused.value)
    assert f"pyromq store repair {root}" in str(refused.value)
    assert path.read_bytes() == content
    assert not (root / "pyromq").exists()


def edit(path: Path, old: str, new: str) -> None:
    """What another program does to a file: not through a rename."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def test_a_file_another_program_changed_replaces_the_table(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    metadata.put_topic(topic("u"))
    metadata.commit_offset("g", "t", 0, 5)
    await metadata.stop()
    edit(root / TOPICS, '"readQueueNums":16', '"readQueueNums":3')  # DataVersion not touched
    again = open_broker()
    assert {c.read_queue_nums for c in again.tables.topics.values()} == {3}
    assert again.tables.offset("g", "t", 0) == 5
    files.abandon()
    (root / TOPICS).unlink()  # taken once is in the journal
    assert open_broker().tables.topics == again.tables.topics


async def test_what_is_changed_after_taking_a_file_is_not_taken_back(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    await metadata.stop()
    edit(root / TOPICS, '"perm":6', '"perm":4')
    second = open_broker()
    second.put_topic(topic("u"))
    second.write()
    files.abandon()  # killed before its first projection
    assert sorted(open_broker().tables.topics) == ["t", "u"]


async def test_a_projection_waits_until_its_digest_is_durable(
    root: Path, files: FaultyFiles, clock: ManualClock
) -> None:
    metadata = start(Metadata.open_broker(root, sync_flush=False, clock=clock, files=files))
    await metadata.project()
    assert metadata.positions().durable == metadata.positions().written
    await metadata.stop()


async def test_the_journal_wins_over_our_own_older_projection(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    await metadata.project()
    metadata.put_topic(topic("u"))
    metadata.write()
    metadata._journal.close()
    again = open_broker()
    assert sorted(again.tables.topics) == ["t", "u"]
    assert b'"u"' not in (root / TOPICS).read_bytes()
    assert again._changed_files == set()  # nothing wrong with the files: the next change renews it


@pytest.mark.parametrize("after", range(6))
async def test_a_projection_killed_at_any_step_is_still_ours(
    open_broker: Open, root: Path, files: FaultyFiles, after: int
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    await metadata.project()
    metadata.put_topic(topic("u"))
    copies: list[dict[str, bytes]] = []
    steps = ["rename", "open", "write", "sync", "rename", "sync_directory"]
    operation = steps[after]
    files.fail(operation, after=steps[:after].count(operation) + (operation in ("write", "sync")))
    await metadata.project()
    copies.append({path.name: path.read_bytes() for path in (root / "config").iterdir()})
    metadata._journal.close()
    again = open_broker()
    assert sorted(again.tables.topics) == ["t", "u"]


@pytest.mark.parametrize("step", ["rename", "open", "write"])
async def test_projections_that_keep_failing_leave_the_old_one_known_as_ours(
    open_broker: Open, root: Path, files: FaultyFiles, step: str
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t0"))
    await metadata.project()
    for n in range(1, 6):
        metadata.put_topic(topic(f"t{n}"))
        files.fail(step, after=int(step == "write"))  # the journal's own write goes first
        await metadata.project()
    assert metadata.failure() is None
    metadata._journal.close()
    assert len(open_broker().tables.topics) == 6


async def test_processes_killed_before_each_projection_leave_the_old_one_known_as_ours(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    for n in range(6):
        metadata = start(open_broker())
        metadata.put_topic(topic(f"t{n}"))
        if n:
            files.fail("rename")
        await metadata.project()
        metadata._journal.close()
    assert len(open_broker().tables.topics) == 6


@pytest.mark.parametrize("cut", [0, 1, 50])
@pytest.mark.parametrize("keep_backup", [True, False])
async def test_a_half_written_projection_is_ignored_and_renewed(
    open_broker: Open, root: Path, cut: int, keep_backup: bool
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    await metadata.project()
    metadata.put_topic(topic("u"))
    await metadata.stop()
    path = root / TOPICS
    path.write_bytes(path.read_bytes()[:cut])
    if not keep_backup:
        path.with_name("topics.json.bak").unlink()
    again = start(open_broker())
    assert sorted(again.tables.topics) == ["t", "u"]
    await again.stop()
    assert sorted(json.loads(path.read_bytes())["topicConfigTable"]) == ["t", "u"]


async def test_apache_cut_short_after_changes_is_taken_from_its_backup(
    open_broker: Open, root: Path
) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    await metadata.stop()
    path = root / TOPICS
    edit(path, '"perm":6', '"perm":4')
    path.rename(path.with_name("topics.json.bak"))
    path.write_bytes(b'{"dataVer')
    assert open_broker().tables.topics["t"].perm == 4


async def test_missing_projection_is_written_anew(open_broker: Open, root: Path) -> None:
    metadata = start(open_broker())
    metadata.put_topic(topic("t"))
    await metadata.stop()
    for path in (root / "config").iterdir():
        path.unlink()
    again = start(open_broker())
    assert list(again.tables.topics) == ["t"]
    await again.stop()
    assert (root / TOPICS).exists()


async def test_other_files_of_apache_are_left_alone(open_broker: Open, root: Path) -> None:
    delay = root / "config" / "delayOffset.json"
    delay.parent.mkdir(parents=True)
    delay.write_text('{"offsetTable":{1:3}}')
    metadata = start(open_broker())
    await metadata.stop()
    assert delay.read_text() == '{"offsetTable":{1:3}}'


async def test_the_name_server_keeps_kv_config_only(
    root: Path, files: FaultyFiles, clock: ManualClock
) -> None:
    def reopen() -> Metadata:
        return Metadata.open_namesrv(root, sync_flush=True, clock=clock, files=files)

    metadata = start(reopen())
    metadata.put_kv("ORDER_TOPIC_CONFIG", "TopicTest", "broker-a:4")
    await metadata.stop()
    assert (root / KV).read_text() == (
        '{"configTable":{"ORDER_TOPIC_CONFIG":{"TopicTest":"broker-a:4"}}}'
    )
    assert not (root / "config").exists()
    assert reopen().tables.kv == metadata.tables.kv


def test_a_damaged_snapshot_is_replaced_at_once(
    open_broker: Open, root: Path, files: FaultyFiles
) -> None:
    metadata = open_broker()
    metadata.put_topic(topic("t"))
    metadata.write()
    files.abandon()
    begin_generation(root / "pyromq", files, 2, metadata.tables, metadata.positions().written)
    path = root / "pyromq" / "metadata.0000000002.snapshot"
    path.write_bytes(path.read_bytes()[:-1])
    assert open_broker().tables.topics == {"t": topic("t")}
    files.abandon()
    names = {p.name for p in (root / "pyromq").iterdir()}
    assert "metadata.0000000003.snapshot" in names
    assert "metadata.0000000001.snapshot" in names  # what would serve if the new one were damaged
    assert open_broker().tables.topics == {"t": topic("t")}


def test_a_directory_that_cannot_be_used_says_so(open_broker: Open, root: Path) -> None:
    root.parent.mkdir(exist_ok=True)
    root.write_text("a file")
    with pytest.raises(StartFailed, match="cannot be opened"):
        open_broker()


async def test_the_projection_is_written_again_and_again_while_it_runs(
    open_broker: Open, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyromq.store.metadata.PROJECTION_INTERVAL_MS", 1)
    metadata = open_broker()
    rounds: asyncio.Queue[bool] = asyncio.Queue()
    project = metadata.project

    async def count_round() -> None:
        await project()
        rounds.put_nowait(True)

    monkeypatch.setattr(metadata, "project", count_round)
    start(metadata)
    await rounds.get()
    metadata.put_topic(topic("t"))
    metadata.write()
    while not rounds.empty():
        rounds.get_nowait()
    await rounds.get()  # may have begun before the change
    await rounds.get()
    assert b'"t"' in (root / TOPICS).read_bytes()
    await metadata.stop()


async def test_a_disk_that_fails_ends_the_projection_not_the_process(
    open_broker: Open, files: FaultyFiles
) -> None:
    metadata = start(open_broker())
    files.fail("sync")
    metadata.put_topic(topic("t"))
    with pytest.raises(StoreFailed):
        await metadata.project()
    await metadata.stop()
    assert "synced" in str(metadata.failure())
    assert isinstance(metadata.tables, Tables)
