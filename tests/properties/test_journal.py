"""The metadata journal under random changes, random cuts and random damage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import event, given, settings
from hypothesis import strategies as st

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import StoreDamaged
from pyromq.store import changes, projection
from pyromq.store import journal_format as form
from pyromq.store.files import replace_file
from pyromq.store.journal import Journal, begin_generation, write_snapshot
from pyromq.store.metadata import Metadata
from pyromq.store.projection import BROKER_FILES, NAMESRV_FILES
from pyromq.store.recovery import journal_path, recover, snapshot_path
from pyromq.store.shown import Shown
from pyromq.store.tables import Tables
from tests.support.clock import ManualClock
from tests.support.faulty_files import FaultyFiles

NAMES = st.sampled_from(["a", "b", "TopicTest", "%RETRY%g", "ü-名"])
OFFSETS = st.integers(0, 2**62)
QUEUES = st.dictionaries(st.integers(0, 20), OFFSETS, max_size=4)
KEYS = st.builds("{}@{}".format, NAMES, NAMES)
VERSIONS = st.builds(DataVersion, st.integers(0, 9), st.just(0), st.integers(0, 2**41))
TEXTS = st.text(max_size=20)
FIELDS = st.dictionaries(
    st.sampled_from(["future", "x"]), st.one_of(st.integers(-5, 5), st.booleans(), TEXTS)
)
TOPICS = st.builds(
    TopicConfig,
    topic_name=NAMES,
    read_queue_nums=st.integers(0, 64),
    perm=st.integers(0, 7),
    order=st.booleans(),
    attributes=st.dictionaries(st.sampled_from(["k", "l"]), TEXTS),
)
GROUPS = st.builds(
    GroupConfig,
    group_name=NAMES,
    retry_max_times=st.integers(-1, 99),
    consume_enable=st.booleans(),
    subscription_data_set=st.none() | st.just([{"topic": "a", "subString": "*"}]),
)

FILES = st.sampled_from([file.name for file in BROKER_FILES])
DIGESTS = st.sampled_from([bytes([n]) * 32 for n in range(5)])

CHANGES = st.one_of(
    st.builds(changes.TopicPut, TOPICS, VERSIONS),
    st.builds(changes.TopicDeleted, NAMES, VERSIONS),
    st.builds(changes.GroupPut, GROUPS, VERSIONS),
    st.builds(changes.GroupDeleted, NAMES, VERSIONS),
    st.builds(changes.ForbiddenPut, NAMES, NAMES, st.integers(0, 7), VERSIONS),
    st.builds(
        changes.OffsetsCommitted, st.dictionaries(KEYS, QUEUES, min_size=1, max_size=3), VERSIONS
    ),
    st.builds(changes.OffsetsDropped, st.lists(KEYS, max_size=3)),
    st.builds(changes.TopicQueuesDropped, NAMES),
    st.builds(changes.OffsetsReset, KEYS, QUEUES, VERSIONS, st.booleans()),
    st.builds(changes.ResetsAdopted, KEYS, st.lists(st.integers(0, 20), max_size=3)),
    st.builds(changes.DelayOffsetsMoved, QUEUES, VERSIONS),
    st.builds(changes.KvPut, NAMES, NAMES, TEXTS),
    st.builds(changes.KvDeleted, NAMES, NAMES),
    st.builds(changes.Projected, FILES, DIGESTS, st.none() | st.builds(Shown)),
)
TURNS = st.lists(st.lists(CHANGES, max_size=4), max_size=6)


def write_turns(journal: Journal, tables: Tables, turns: list[list[changes.AnyChange]]) -> None:
    """One write per turn; `tables` follow."""
    for turn in turns:
        for change in turn:
            journal.append(change)
            tables.apply(change)
        journal.write()


def begin(directory: Path, files: FaultyFiles) -> Journal:
    return Journal(
        directory,
        files,
        begin_generation(directory, files, 1, Tables(), 0),
        sync_flush=True,
    )


@given(turns=TURNS, cut=st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_any_cut_of_the_journal_yields_a_prefix_of_the_changes(
    turns: list[list[changes.AnyChange]], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, files = Path(name), FaultyFiles()
        write_turns(begin(directory, files), Tables(), turns)
        files.abandon()
        path = journal_path(directory, 1)
        data = path.read_bytes()
        at = form.HEADER_SIZE + cut % (len(data) - form.HEADER_SIZE + 1)
        path.write_bytes(data[:at])

        made = [change for turn in turns for change in turn]
        expected = Tables()
        end, count = form.HEADER_SIZE, -1  # the first entry says that a process began
        while isinstance(entry := form.entry_at(data[:at], end), form.Entry):
            end, count = entry.end, count + 1
        for change in made[: max(count, 0)]:
            expected.apply(change)
        event("at a border" if end == at else "within an entry")

        found = recover(directory, files)
        assert found is not None
        assert found.tables == expected
        assert bool(found.notes) == (end != at)
        assert path.read_bytes() == data[:end]


@given(turns=TURNS, later=TURNS, where=st.integers(0, 10**9), bits=st.integers(1, 255))
@settings(max_examples=250, deadline=None)
def test_any_damaged_byte_is_noticed_or_superseded(
    turns: list[list[changes.AnyChange]],
    later: list[list[changes.AnyChange]],
    where: int,
    bits: int,
) -> None:
    """Two generations on disk, one byte of one file wrong: all changes are there, or it is said."""
    with tempfile.TemporaryDirectory() as name:
        directory, files = Path(name), FaultyFiles()
        tables = Tables()
        write_turns(begin(directory, files), tables, turns)
        files.abandon()
        middle = recover(directory, files)
        assert middle is not None
        header = form.encode_header(form.JOURNAL_MAGIC, 2)
        replace_file(files, journal_path(directory, 2), header)
        write_snapshot(directory, files, 2, middle.tables, middle.sequence)
        second = recover(directory, files)
        assert second is not None
        write_turns(Journal(directory, files, second, sync_flush=True), tables, later)
        files.abandon()

        paths = sorted(directory.iterdir())
        offset = where % sum(path.stat().st_size for path in paths)
        for path in paths:
            if offset < path.stat().st_size:
                break
            offset -= path.stat().st_size
        data = bytearray(path.read_bytes())
        data[offset] ^= bits
        path.write_bytes(data)

        found, refusal = None, ""
        try:
            found = recover(directory, files)
        except StoreDamaged as refused:
            refusal = str(refused)
        if found is None:
            event("refused")
            assert str(path) in refusal
            return
        assert found.tables == tables
        superseded = path in (journal_path(directory, 1), snapshot_path(directory, 1))
        assert superseded or found.notes
        event("superseded" if superseded else "earlier generation")


@given(turns=TURNS, where=st.integers(0, 10**9), bits=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_after_a_power_cut_damage_costs_at_most_an_unsynced_end(
    turns: list[list[changes.AnyChange]], where: int, bits: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, files = Path(name), FaultyFiles()
        made = [change for turn in turns for change in turn]
        write_turns(begin(directory, files), Tables(), turns)
        files.abandon()
        path = journal_path(directory, 1)
        data = bytearray(path.read_bytes())
        at = form.HEADER_SIZE + where % (len(data) - form.HEADER_SIZE)
        data[at] ^= bits
        path.write_bytes(data)
        files.boot = "boot-2"
        found = recover(directory, files)
        assert found is not None
        assert found.notes
        expected = Tables()
        for change in made[: max(found.sequence - 1, 0)]:
            expected.apply(change)
        assert found.tables == expected


VERBS: st.SearchStrategy[Callable[[Metadata], object]] = st.one_of(
    st.builds(lambda config: lambda m: m.put_topic(config), TOPICS),
    st.builds(lambda name: lambda m: m.delete_topic(name), NAMES),
    st.builds(lambda config: lambda m: m.put_group(config), GROUPS),
    st.builds(lambda name: lambda m: m.delete_group(name), NAMES),
    st.builds(lambda g, t, b: lambda m: m.put_forbidden(g, t, b), NAMES, NAMES, st.integers(0, 3)),
    st.builds(
        lambda g, t, q, o: lambda m: m.commit_offset(g, t, q, o),
        NAMES,
        NAMES,
        st.integers(0, 3),
        OFFSETS,
    ),
    st.builds(lambda g: lambda m: m.drop_offsets(group=g), NAMES),
    st.builds(lambda t: lambda m: m.drop_offsets(topic=t), NAMES),
    st.builds(lambda a, b, t: lambda m: m.clone_offsets(a, b, t), NAMES, NAMES, NAMES),
    st.builds(lambda n, k, v: lambda m: m.put_kv(n, k, v), NAMES, NAMES, TEXTS),
    st.builds(lambda n, k: lambda m: m.delete_kv(n, k), NAMES, NAMES),
    st.just(lambda m: m.write()),
)


@given(verbs=st.lists(VERBS, max_size=40))
@settings(max_examples=150, deadline=None)
def test_tables_read_back_equal_the_tables_that_were_written(
    verbs: list[Callable[[Metadata], object]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        files = FaultyFiles()
        clock = ManualClock()
        metadata = Metadata.open_broker(Path(name), sync_flush=True, clock=clock, files=files)
        last = metadata.positions().appended
        for verb in verbs:
            sequence = verb(metadata)
            if sequence is not None:
                assert isinstance(sequence, int)
                assert last <= sequence <= last + 2  # a turn's offsets may go before it
                last = sequence
            assert metadata.positions().appended == last
        metadata.write()
        assert metadata.positions().written == last
        files.abandon()
        clock.advance(1)
        again = Metadata.open_broker(Path(name), sync_flush=True, clock=clock, files=files)
        assert again.tables == metadata.tables
        files.abandon()


@given(made=st.lists(CHANGES, max_size=30), unknown=st.dictionaries(NAMES, FIELDS))
@settings(max_examples=150, deadline=None)
def test_the_projection_taken_back_gives_the_same_tables(
    made: list[changes.AnyChange], unknown: dict[str, changes.Fields]
) -> None:
    tables = Tables()
    for change in made:
        tables.apply(change)
    tables.unknown_topics = {n: f for n, f in unknown.items() if n in tables.topics and f}
    tables.projected = {}
    tables.shown = {}
    tables.resets = {}
    tables.doomed_topics = {}
    tables.offsets = {key: queues for key, queues in tables.offsets.items() if queues}
    taken = Tables()
    for file in (*BROKER_FILES, *NAMESRV_FILES):
        taken.apply(file.take(projection._members(file.encode(tables))))
    assert taken == tables


@given(made=st.lists(CHANGES, max_size=10), cut=st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_a_projection_cut_short_is_never_taken(made: list[changes.AnyChange], cut: int) -> None:
    tables = Tables()
    for change in made:
        tables.apply(change)
    for file in (*BROKER_FILES, *NAMESRV_FILES):
        data = file.encode(tables)
        try:
            file.take(projection._members(data[: cut % len(data)]))
        except projection.Unreadable:
            continue
        raise AssertionError(f"took {data[: cut % len(data)]!r}")
