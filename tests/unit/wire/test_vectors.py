"""Frames captured between Apache's server and unmodified clients: each must be understood whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyromq.codes import RequestCode
from pyromq.errors import RequestFailed, RequestRefused
from pyromq.wire import dialect, record
from pyromq.wire.batch import decode_batch, encode_batch
from pyromq.wire.remoting import frame, native
from pyromq.wire.remoting.bodies import (
    clients,
    groups,
    locks,
    progress,
    registration,
    resets,
    routes,
    topics,
)
from pyromq.wire.remoting.frame import CLIENT_LIMITS, Command, Split
from pyromq.wire.remoting.headers import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    decode_header,
    encode_ext,
)
from tests.unit.wire.samples import SPLITTERS

VECTORS = Path(__file__).parents[2] / "vectors" / "remoting"
FILES = sorted(VECTORS.glob("*.bin"))
NOT_IN_HEADERS = {"bname", "oway", "lo", "ns", "nsd", "ReqT", "MSG_REGION", "TRACE_ON"}
"""Fields of all requests, or outside the header class, that the typed headers leave to others."""

both = pytest.mark.parametrize("split", SPLITTERS)
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def _rewritten(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Any:
    return lambda body: encode(decode(body))


def _registered(body: bytes) -> bytes:
    decoded = registration.decode_register_broker(body, compressed=False, broker_version=513)
    return registration.encode_register_broker(decoded)


REQUEST_BODIES: dict[int, Callable[[bytes], bytes]] = {
    RequestCode.HEART_BEAT: _rewritten(clients.decode_heartbeat, clients.encode_heartbeat),
    RequestCode.LOCK_BATCH_MQ: _rewritten(locks.decode_lock_batch, locks.encode_lock_batch),
    RequestCode.UNLOCK_BATCH_MQ: _rewritten(locks.decode_lock_batch, locks.encode_lock_batch),
    RequestCode.REGISTER_BROKER: _registered,
    RequestCode.QUERY_DATA_VERSION: _rewritten(
        registration.decode_data_version, registration.encode_data_version
    ),
    RequestCode.UPDATE_AND_CREATE_TOPIC_LIST: _rewritten(
        topics.decode_topic_config_list, topics.encode_topic_config_list
    ),
    RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: _rewritten(
        groups.decode_group_config, groups.encode_group_config
    ),
    RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: _rewritten(
        groups.decode_group_config_list, groups.encode_group_config_list
    ),
}
_TOPIC_LIST = _rewritten(routes.decode_topic_list, routes.encode_topic_list)
_KV_TABLE = _rewritten(routes.decode_kv_table, routes.encode_kv_table)
ANSWER_BODIES: dict[int, Callable[[bytes], bytes]] = {
    RequestCode.GET_ROUTEINFO_BY_TOPIC: _rewritten(
        routes.decode_topic_route, lambda route: routes.encode_topic_route(route, standard=True)
    ),
    RequestCode.GET_BROKER_CLUSTER_INFO: _rewritten(
        routes.decode_cluster_info, routes.encode_cluster_info
    ),
    RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER: _TOPIC_LIST,
    RequestCode.GET_TOPICS_BY_CLUSTER: _TOPIC_LIST,
    RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS: _TOPIC_LIST,
    RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER: _TOPIC_LIST,
    RequestCode.GET_UNIT_TOPIC_LIST: _TOPIC_LIST,
    RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST: _TOPIC_LIST,
    RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: _TOPIC_LIST,
    RequestCode.LOCK_BATCH_MQ: _rewritten(locks.decode_locked, locks.encode_locked),
    RequestCode.GET_CONSUME_STATS: _rewritten(
        progress.decode_consume_stats, progress.encode_consume_stats
    ),
    RequestCode.GET_BROKER_CONSUME_STATS: _rewritten(
        progress.decode_consume_stats_list, progress.encode_consume_stats_list
    ),
    RequestCode.VIEW_BROKER_STATS_DATA: _rewritten(
        progress.decode_broker_stats, progress.encode_broker_stats
    ),
    RequestCode.QUERY_CONSUME_QUEUE: _rewritten(
        progress.decode_queue_content, progress.encode_queue_content
    ),
    RequestCode.QUERY_TOPICS_BY_CONSUMER: _TOPIC_LIST,
    RequestCode.INVOKE_BROKER_TO_RESET_OFFSET: _rewritten(
        resets.decode_reset_offsets, resets.encode_reset_offsets
    ),
    RequestCode.GET_BROKER_RUNTIME_INFO: _KV_TABLE,
    RequestCode.GET_KVLIST_BY_NAMESPACE: _KV_TABLE,
    RequestCode.REGISTER_BROKER: _KV_TABLE,
    RequestCode.GET_BROKER_MEMBER_GROUP: _rewritten(
        routes.decode_broker_member_group, routes.encode_broker_member_group
    ),
    RequestCode.QUERY_DATA_VERSION: _rewritten(
        registration.decode_data_version, registration.encode_data_version
    ),
    RequestCode.GET_CONSUMER_LIST_BY_GROUP: _rewritten(
        clients.decode_consumer_ids, clients.encode_consumer_ids
    ),
    RequestCode.GET_CONSUMER_CONNECTION_LIST: _rewritten(
        clients.decode_consumer_connections, clients.encode_consumer_connections
    ),
    RequestCode.GET_PRODUCER_CONNECTION_LIST: _rewritten(
        clients.decode_producer_connections, clients.encode_producer_connections
    ),
    RequestCode.GET_ALL_PRODUCER_INFO: _rewritten(
        clients.decode_producer_table, clients.encode_producer_table
    ),
    RequestCode.GET_ALL_TOPIC_CONFIG: _rewritten(
        topics.decode_topic_table, topics.encode_topic_table
    ),
    RequestCode.GET_TOPIC_STATS_INFO: _rewritten(
        topics.decode_topic_stats, topics.encode_topic_stats
    ),
    RequestCode.GET_TOPIC_CONFIG: _rewritten(
        topics.decode_topic_config, topics.encode_topic_config
    ),
    RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: _rewritten(
        groups.decode_group_table, groups.encode_group_table
    ),
    RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG: _rewritten(
        groups.decode_group_config, groups.encode_group_config
    ),
    RequestCode.QUERY_TOPIC_CONSUME_BY_WHO: _rewritten(
        groups.decode_group_names, groups.encode_group_names
    ),
    RequestCode.GET_ALL_CONSUMER_OFFSET: _rewritten(
        groups.decode_offset_table, groups.encode_offset_table
    ),
}
RECORDS = {
    RequestCode.PULL_MESSAGE,
    RequestCode.LITE_PULL_MESSAGE,
    RequestCode.QUERY_MESSAGE,
    RequestCode.VIEW_MESSAGE_BY_ID,
}


def load(path: Path, split: Callable[..., Split] = native.split) -> tuple[Command, dict[str, Any]]:
    data = path.read_bytes()
    commands, consumed, needed, violation = split(data, CLIENT_LIMITS)
    assert (violation, consumed, needed, len(commands)) == (None, len(data), 0, 1)
    about: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return commands[0], about


def test_the_vectors_are_there() -> None:
    assert len(FILES) >= 50


@both
@each
def test_a_captured_frame_says_what_its_notes_say(split: Callable[..., Split], path: Path) -> None:
    command, about = load(path, split)
    assert command.code == about["code"]
    assert command.remark == about["remark"]
    assert len(command.body) == about["body_size"]
    assert command.serialize_type.name == about["header"]
    assert command.is_response == (about["kind"] == "answer")
    assert command.is_oneway == (about["kind"] == "oneway request")


@pytest.mark.parametrize("encode_head", [frame.encode_head, native.encode_head])
@each
def test_a_captured_frame_survives_both_ways(
    encode_head: Callable[[Command], bytes], path: Path
) -> None:
    command, _ = load(path)
    assert frame.split(encode_head(command) + command.body, CLIENT_LIMITS).commands == [command]


def refused_by_apache(about: dict[str, Any]) -> bool:
    """Whether this is a probe that Apache answered with an error."""
    return about["pair"] is not None and load(VECTORS / about["pair"])[0].code != 0


@each
def test_the_fields_of_a_captured_frame_have_a_header_that_keeps_them(path: Path) -> None:
    command, about = load(path)
    table = RESPONSE_HEADERS if command.is_response else REQUEST_HEADERS
    header_type = table.get(about["request_code"])
    if header_type is None or (command.is_response and command.code != 0):
        return
    try:
        header = decode_header(header_type, command.ext)
    except RequestFailed:
        assert refused_by_apache(about)
        return
    kept = encode_ext(header)
    lost = {name: text for name, text in command.ext.items() if kept.get(name) != text}
    assert {name for name in lost if name not in NOT_IN_HEADERS} == set()


def kept_in(ours: object, theirs: object) -> bool:
    """Whether all of their tree is in ours; ours may have defaults that old clients leave out."""
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all(
            key in ours and kept_in(ours[key], value) for key, value in theirs.items()
        )
    if isinstance(theirs, list):
        return (
            isinstance(ours, list) and len(ours) == len(theirs) and all(map(kept_in, ours, theirs))
        )
    return ours == theirs


@each
def test_the_body_of_a_captured_frame_is_kept_whole(path: Path) -> None:
    command, about = load(path)
    if not command.body or (command.is_response and command.code != 0):
        return
    code = about["request_code"]
    if command.is_response and code in RECORDS:
        stored = record.decode_records(command.body)
        assert native.decode_records(command.body) == stored
        assert b"".join(map(record.encode_record, stored)) == command.body
        return
    try:
        if code == RequestCode.SEND_BATCH_MESSAGE and not command.is_response:
            assert encode_batch(decode_batch(command.body)) == command.body
            return
        rewrite = (ANSWER_BODIES if command.is_response else REQUEST_BODIES).get(code)
        if rewrite is None:
            return
        rewritten = rewrite(command.body)
    except RequestRefused:
        assert refused_by_apache(about)
        return
    assert kept_in(dialect.read(rewritten), dialect.read(command.body))
    if command.is_response:
        assert dialect.read(rewritten) == dialect.read(command.body)
