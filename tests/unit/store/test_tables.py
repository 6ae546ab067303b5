"""Tables: what each change does, and what the tables answer."""

from __future__ import annotations

import pytest

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.store import changes
from pyromq.store.tables import DIGESTS_KEPT, Tables, split_key

V1 = DataVersion(1, 0, 10)
V2 = DataVersion(2, 0, 20)


def made_of(*made: changes.AnyChange) -> Tables:
    tables = Tables()
    for change in made:
        tables.apply(change)
    return tables


def test_topics_come_change_and_go_with_their_version() -> None:
    tables = made_of(
        changes.TopicPut(TopicConfig(topic_name="a"), V1),
        changes.TopicPut(TopicConfig(topic_name="a", perm=4), V2),
    )
    assert tables.topics == {"a": TopicConfig(topic_name="a", perm=4)}
    assert tables.topics_version == V2
    tables.apply(changes.TopicDeleted("a", DataVersion(3, 0, 30)))
    tables.apply(changes.TopicDeleted("b", DataVersion(4, 0, 40)))
    assert tables.topics == {}
    assert tables.topics_version.counter == 4


@pytest.mark.parametrize(
    "end",
    [
        changes.TopicQueuesDropped("a"),
        changes.TopicPut(TopicConfig(topic_name="a"), V2),
        changes.TopicsTaken({"a": TopicConfig(topic_name="a")}, V2, {}),
    ],
)
def test_a_deleted_topic_is_doomed_until_its_queues_are_gone_or_its_name_is_used_again(
    end: changes.AnyChange,
) -> None:
    tables = made_of(
        changes.TopicPut(TopicConfig(topic_name="a"), V1),
        changes.TopicDeleted("a", V2),
        changes.TopicDeleted("b", V2),
    )
    assert list(tables.doomed_topics) == ["a", "b"]
    tables.apply(end)
    assert list(tables.doomed_topics) == ["b"]


def test_a_deleted_group_takes_its_forbidden_bits_along() -> None:
    tables = made_of(
        changes.GroupPut(GroupConfig(group_name="g"), V1),
        changes.ForbiddenPut("g", "t", 3, V2),
    )
    assert tables.forbidden == {"g": {"t": 3}}
    tables.apply(changes.GroupDeleted("g", V2))
    assert tables.groups == {}
    assert tables.forbidden == {}


def test_clearing_forbidden_bits_clears_all_of_the_group_as_apache_does() -> None:
    tables = made_of(
        changes.ForbiddenPut("g", "t", 1, V1),
        changes.ForbiddenPut("g", "u", 1, V1),
        changes.ForbiddenPut("g", "u", 0, V2),
    )
    assert tables.forbidden == {}
    assert tables.groups_version == V1


def test_offsets_are_asked_by_group_topic_and_queue() -> None:
    tables = made_of(changes.OffsetsCommitted({"t@g": {0: 5, 1: 6}, "u@g": {0: 1}}, V1))
    tables.apply(changes.OffsetsCommitted({"t@g": {0: 3}}, V1))
    assert tables.offset("g", "t", 0) == 3
    assert tables.offset("g", "t", 1) == 6
    assert tables.offset("g", "t", 2) == tables.offset("g", "x", 0) == -1
    assert tables.topics_of_group("g") == ["t", "u"]
    assert tables.groups_of_topic("t") == ["g"]


def test_pull_offset_falls_back_to_the_committed_one() -> None:
    tables = made_of(changes.OffsetsCommitted({"t@g": {0: 5}}, V1))
    tables.pull_offsets["t@g"] = {0: 9}
    assert tables.pull_offset("g", "t", 0) == 9
    assert tables.pull_offset("g", "t", 1) == -1
    tables.apply(changes.OffsetsDropped(["t@g", "x@y"]))
    assert tables.pull_offset("g", "t", 0) == tables.offset("g", "t", 0) == -1


def test_locks_are_held_until_they_end_or_another_client_has_them() -> None:
    tables = made_of(
        changes.QueuesLocked("g", "a", {"t": [0, 1], "u": [0]}),
        changes.QueuesLocked("g", "b", {"t": [1]}),
        changes.QueuesLocked("h", "b", {"t": [0]}),
    )
    assert sorted(tables.held_locks()) == [
        ("g", "t", 0, "a"),
        ("g", "t", 1, "b"),
        ("g", "u", 0, "a"),
        ("h", "t", 0, "b"),
    ]
    tables.apply(changes.QueuesUnlocked("g", {"t": [0, 1, 7], "u": [0], "x": [0]}))
    assert list(tables.held_locks()) == [("h", "t", 0, "b")]
    assert tables.locks == {"t@h": {0: "b"}}


def test_delay_offsets_move_by_level_until_a_file_replaces_them() -> None:
    tables = made_of(
        changes.DelayOffsetsMoved({1: 5, 18: 1}, V1), changes.DelayOffsetsMoved({1: 6}, V2)
    )
    assert tables.delay_offsets == {1: 6, 18: 1}
    assert tables.delay_offsets_version == V2
    tables.apply(changes.DelayOffsetsTaken({2: 3}, V1, {"": {"thing": 1}}))
    assert tables.delay_offsets == {2: 3}
    assert tables.delay_offsets_version == V1
    assert tables.unknown_delay_offsets == {"": {"thing": 1}}


def test_reset_offsets_stay_marked_until_they_are_adopted() -> None:
    tables = made_of(
        changes.OffsetsCommitted({"t@g": {0: 5, 1: 6, 2: 7}}, V1),
        changes.OffsetsReset("t@g", {0: 1, 1: 2}, V2, is_marked=True),
    )
    assert tables.offsets == {"t@g": {0: 1, 1: 2, 2: 7}}
    assert tables.resets == {"t@g": {0: 1, 1: 2}}
    assert tables.offsets_version == V2
    tables.apply(changes.ResetsAdopted("t@g", [0, 9]))
    tables.apply(changes.ResetsAdopted("x@y", [0]))
    assert tables.resets == {"t@g": {1: 2}}
    tables.apply(changes.OffsetsReset("t@g", {1: 3}, V2, is_marked=False))
    assert tables.resets == {}
    assert tables.offset("g", "t", 1) == 3


def test_marks_go_with_their_offsets_and_with_their_group() -> None:
    tables = made_of(
        changes.OffsetsReset("t@g", {0: 1}, V1, is_marked=True),
        changes.OffsetsReset("u@g", {0: 1}, V1, is_marked=True),
        changes.OffsetsReset("t@h", {0: 1}, V1, is_marked=True),
    )
    tables.apply(changes.OffsetsDropped(["t@h"]))
    assert set(tables.resets) == {"t@g", "u@g"}
    tables.apply(changes.GroupDeleted("g", V2))
    assert tables.resets == {}
    assert set(tables.offsets) == {"t@g", "u@g"}
    tables.apply(changes.OffsetsReset("t@g", {0: 1}, V1, is_marked=True))
    tables.apply(changes.OffsetsTaken({"t@g": {0: 8}}, V2, {}))
    assert tables.resets == {}


def test_kv_is_kept_by_namespace() -> None:
    tables = made_of(changes.KvPut("n", "a", "1"), changes.KvPut("n", "b", "2"))
    tables.apply(changes.KvDeleted("n", "a"))
    tables.apply(changes.KvDeleted("m", "a"))
    assert tables.kv == {"n": {"b": "2"}}


def test_only_the_newest_digests_are_known() -> None:
    made = [changes.Projected("f", bytes([n])) for n in (1, 2, 3, 4, 2)]
    assert made_of(*made).projected == {"f": [b"\3", b"\4", b"\2"]}
    assert DIGESTS_KEPT == 3


@pytest.mark.parametrize(
    ("key", "parts"), [("t@g", ("t", "g")), ("t", ("", "")), ("a@b@c", ("", ""))]
)
def test_keys_that_are_not_topic_at_group_name_nothing(key: str, parts: tuple[str, str]) -> None:
    assert split_key(key) == parts


def test_a_copy_does_not_change_with_its_original() -> None:
    tables = made_of(
        changes.TopicPut(TopicConfig(topic_name="a"), V1),
        changes.OffsetsCommitted({"t@g": {0: 5}}, V1),
        changes.KvPut("n", "a", "1"),
        changes.ForbiddenPut("g", "t", 1, V1),
        changes.Projected("f", b"1"),
    )
    copied = tables.copy()
    assert copied == tables
    tables.apply(changes.TopicDeleted("a", V2))
    tables.apply(changes.OffsetsCommitted({"t@g": {0: 6}}, V2))
    tables.apply(changes.KvDeleted("n", "a"))
    tables.apply(changes.ForbiddenPut("g", "t", 2, V2))
    tables.apply(changes.Projected("f", b"2"))
    assert copied == made_of(
        changes.TopicPut(TopicConfig(topic_name="a"), V1),
        changes.OffsetsCommitted({"t@g": {0: 5}}, V1),
        changes.KvPut("n", "a", "1"),
        changes.ForbiddenPut("g", "t", 1, V1),
        changes.Projected("f", b"1"),
    )


def test_a_copy_of_some_fields_leaves_the_others_empty() -> None:
    tables = made_of(changes.KvPut("n", "a", "1"), changes.Projected("f", b"1"))
    assert tables.copy("kv") == Tables(kv={"n": {"a": "1"}})
