"""The projection: Apache's shapes, written and read, and whose content counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyromq.domain.group import GroupConfig
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.store import changes, projection
from pyromq.store.files import Files
from pyromq.store.projection import (
    BROKER_FILES,
    NAMESRV_FILES,
    ProjectedFile,
    Unreadable,
    backup_path,
    digest_of,
    find,
    write_projection,
)
from pyromq.store.tables import Tables

TOPICS, GROUPS, OFFSETS, DELAY_OFFSETS = BROKER_FILES
(KV,) = NAMESRV_FILES

VECTORS = Path(__file__).parents[2] / "vectors"

APACHE_TOPICS = (
    b'{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1700000000000},"topicConfigTable":'
    b'{"TopicTest":{"attributes":{},"order":false,"perm":6,"readQueueNums":8,'
    b'"topicFilterType":"SINGLE_TAG","topicName":"TopicTest","topicSysFlag":0,'
    b'"writeQueueNums":8}}}'
)
APACHE_OFFSETS = (
    b'{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1700000000000},'
    b'"groupTopicMap":{"CG":["TopicTest"]},"offsetTable":{"TopicTest@CG":{0:5,1:6}},'
    b'"pullOffsetTable":{}}'
)
APACHE_GROUPS = (
    b'{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1700000000000},"forbiddenTable":'
    b'{"CG":{"TopicTest":1}},"subscriptionGroupTable":{"CG":{"attributes":{},"brokerId":0,'
    b'"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,'
    b'"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"CG",'
    b'"groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,'
    b'"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,'
    b'"whichBrokerWhenConsumeSlowly":1}}}'
)
APACHE_DELAY_OFFSETS = (
    b'{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1700000000000},'
    b'"offsetTable":{1:5,2:0,18:7}}'
)
APACHE_KV = b'{"configTable":{"ORDER_TOPIC_CONFIG":{"TopicTest":"broker-a:4"}}}'


def compact(pretty: bytes) -> bytes:
    return pretty.replace(b"\n", b"").replace(b"\t", b"")


def taken(file: ProjectedFile, data: bytes) -> Tables:
    tables = Tables()
    tables.apply(file.take(projection._members(data)))
    return tables


@pytest.mark.parametrize(
    ("file", "data"),
    [
        (TOPICS, APACHE_TOPICS),
        (GROUPS, APACHE_GROUPS),
        (OFFSETS, APACHE_OFFSETS),
        (DELAY_OFFSETS, APACHE_DELAY_OFFSETS),
        (KV, APACHE_KV),
    ],
)
def test_apaches_content_is_written_again_as_it_was(file: ProjectedFile, data: bytes) -> None:
    assert compact(file.encode(taken(file, data))) == data


def test_broker_files_are_pretty_with_tabs_and_bare_integer_keys() -> None:
    tables = Tables(offsets={"t@g": {10: 1, 9: 2}}, offsets_version=DataVersion(1, 0, 2))
    assert OFFSETS.encode(tables).decode() == (
        '{\n\t"dataVersion":{\n\t\t"counter":1,\n\t\t"stateVersion":0,\n\t\t"timestamp":2\n\t},\n'
        '\t"groupTopicMap":{\n\t\t"g":[\n\t\t\t"t"\n\t\t]\n\t},\n'
        '\t"offsetTable":{\n\t\t"t@g":{\n\t\t\t9:2,\n\t\t\t10:1\n\t\t}\n\t},\n'
        '\t"pullOffsetTable":{}\n}'
    )


def test_topics_are_taken_with_all_their_settings() -> None:
    tables = taken(TOPICS, APACHE_TOPICS)
    assert tables.topics == {
        "TopicTest": TopicConfig(topic_name="TopicTest", read_queue_nums=8, write_queue_nums=8)
    }
    assert tables.topics_version == DataVersion(1, 0, 1_700_000_000_000)
    assert taken(GROUPS, APACHE_GROUPS).groups == {"CG": GroupConfig(group_name="CG")}
    assert taken(GROUPS, APACHE_GROUPS).forbidden == {"CG": {"TopicTest": 1}}
    assert taken(OFFSETS, APACHE_OFFSETS).offsets == {"TopicTest@CG": {0: 5, 1: 6}}
    assert taken(DELAY_OFFSETS, APACHE_DELAY_OFFSETS).delay_offsets == {1: 5, 2: 0, 18: 7}


def test_members_we_do_not_know_are_kept_also_when_the_topic_changes() -> None:
    data = (
        b'{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":1},"futureTable":{"x":[1]},'
        b'"topicConfigTable":{"T":{"attributes":{"+queue.type":"SimpleCQ"},"future":{"a":null,'
        b'"b":2},"order":true,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG",'
        b'"topicName":"T","topicSysFlag":0,"writeQueueNums":8}}}'
    )
    tables = taken(TOPICS, data)
    kept = data.replace(b'"a":null,', b"")
    assert compact(TOPICS.encode(tables)) == kept
    config = tables.topics["T"]
    tables.apply(changes.TopicPut(config, tables.topics_version))
    assert compact(TOPICS.encode(tables)) == kept
    tables.apply(changes.TopicDeleted("T", tables.topics_version))
    assert b'"future":' not in TOPICS.encode(tables)
    assert b'"futureTable":' in TOPICS.encode(tables)


def test_null_members_are_taken_as_missing() -> None:
    data = b'{"topicConfigTable":{"T":{"attributes":null,"topicName":"T"}}}'
    assert taken(TOPICS, data).topics == {"T": TopicConfig(topic_name="T")}


@pytest.mark.parametrize("file", [*BROKER_FILES, *NAMESRV_FILES])
@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"{}", b"[]", b"null", b'"text"', b"\xff\xfe", b"\0" * 50, APACHE_TOPICS[:-1]],
)
def test_anything_else_is_unreadable(file: ProjectedFile, data: bytes) -> None:
    with pytest.raises(Unreadable):
        file.take(projection._members(data))


@pytest.mark.parametrize(
    ("file", "data"),
    [
        (TOPICS, b'{"topicConfigTable":{"T":5}}'),
        (TOPICS, b'{"topicConfigTable":{"T":{"perm":"all"}}}'),
        (GROUPS, b'{"subscriptionGroupTable":{},"forbiddenTable":[1]}'),
        (OFFSETS, b'{"offsetTable":{"t@g":{x:1}}}'),
        (OFFSETS, b'{"offsetTable":{"t@g":[1]}}'),
        (DELAY_OFFSETS, b'{"offsetTable":{"one":1}}'),
        (DELAY_OFFSETS, b'{"offsetTable":{1:"one"}}'),
        (DELAY_OFFSETS, b'{"offsetTable":[1]}'),
        (KV, b'{"configTable":{"n":5}}'),
    ],
)
def test_members_of_a_wrong_type_are_unreadable(file: ProjectedFile, data: bytes) -> None:
    with pytest.raises(Unreadable):
        file.take(projection._members(data))


def place(root: Path, name: str, data: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_known_content_is_ours_and_nothing_is_taken(tmp_path: Path) -> None:
    place(tmp_path, TOPICS.name, APACHE_TOPICS)
    found, unreadable = find(Files(), tmp_path, TOPICS, [digest_of(APACHE_TOPICS)])
    assert found == (digest_of(APACHE_TOPICS), None)
    assert unreadable == []


def test_unknown_content_is_taken(tmp_path: Path) -> None:
    place(tmp_path, TOPICS.name, APACHE_TOPICS)
    found, _ = find(Files(), tmp_path, TOPICS, [digest_of(b"ours")])
    assert found is not None
    assert isinstance(found.change, changes.TopicsTaken)


@pytest.mark.parametrize("broken", [None, b"", APACHE_TOPICS[:40]])
def test_the_backup_counts_where_the_file_cannot(tmp_path: Path, broken: bytes | None) -> None:
    path = tmp_path / TOPICS.name
    place(tmp_path, f"{TOPICS.name}.bak", APACHE_TOPICS)
    if broken is not None:
        path.write_bytes(broken)
    ours, unreadable = find(Files(), tmp_path, TOPICS, [digest_of(APACHE_TOPICS)])
    assert ours == (digest_of(APACHE_TOPICS), None)
    assert unreadable == ([] if broken is None else [path])
    apaches, _ = find(Files(), tmp_path, TOPICS, [])
    assert apaches is not None
    assert apaches.change is not None


def test_nothing_readable_is_nothing_found(tmp_path: Path) -> None:
    assert find(Files(), tmp_path, TOPICS, []) == (None, [])
    path = place(tmp_path, TOPICS.name, b"{")
    backup = place(tmp_path, f"{TOPICS.name}.bak", b"")
    assert find(Files(), tmp_path, TOPICS, []) == (None, [path, backup])


def test_a_number_no_journal_can_hold_is_unreadable(tmp_path: Path) -> None:
    number = b"1" + b"0" * 40
    path = place(tmp_path, KV.name, b'{"configTable":{},"future":' + number + b"}")
    assert find(Files(), tmp_path, KV, []) == (None, [path])


def test_the_previous_content_becomes_the_backup(tmp_path: Path) -> None:
    path = tmp_path / TOPICS.name
    write_projection(Files(), path, b"1")
    assert not backup_path(path).exists()
    write_projection(Files(), path, b"2")
    write_projection(Files(), path, b"3")
    assert (path.read_bytes(), backup_path(path).read_bytes()) == (b"3", b"2")
    assert sorted(p.name for p in path.parent.iterdir()) == ["topics.json", "topics.json.bak"]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted((VECTORS / "store").glob("*/files/config/*"))
        if path.name.removesuffix(".bak") in ("topics.json", "subscriptionGroup.json")
    ],
    ids=lambda path: f"{path.parent.parent.parent.name}-{path.name}",
)
def test_what_a_real_broker_wrote_is_written_again_but_for_the_order_of_its_maps(
    path: Path,
) -> None:
    file = TOPICS if path.name.startswith("topics") else GROUPS
    data = path.read_bytes()
    written = file.encode(taken(file, data))
    assert sorted(line.rstrip(b",") for line in written.splitlines()) == sorted(
        line.rstrip(b",") for line in data.splitlines()
    )
    assert taken(file, written) == taken(file, data)


def test_offsets_of_a_real_broker_are_written_again_byte_for_byte() -> None:
    data = (VECTORS / "store/stopped/files/config/consumerOffset.json").read_bytes()
    tables = taken(OFFSETS, data)
    assert tables.offsets == {"plain@half": {0: 192, 1: 160}}
    assert tables.pull_offsets == {}  # Apache does not read them back either
    tables.pull_offsets = {"plain@half": {0: 288, 1: 288}}
    assert OFFSETS.encode(tables) == data


def test_delay_offsets_of_a_real_broker_are_written_again_byte_for_byte() -> None:
    data = (VECTORS / "store/stopped/files/config/delayOffset.json").read_bytes()
    assert DELAY_OFFSETS.encode(taken(DELAY_OFFSETS, data)) == data


def test_delay_offsets_are_pretty_with_levels_in_order_and_others_members_kept() -> None:
    data = APACHE_DELAY_OFFSETS[:-1] + b',"thing":1}'
    tables = taken(DELAY_OFFSETS, data)
    tables.apply(changes.DelayOffsetsMoved({4: 1, 1: 6}, tables.delay_offsets_version))
    assert (
        DELAY_OFFSETS.encode(tables)
        .decode()
        .endswith(
            '\n\t"offsetTable":{\n\t\t1:6,\n\t\t2:0,\n\t\t4:1,\n\t\t18:7\n\t},\n\t"thing":1\n}'
        )
    )
