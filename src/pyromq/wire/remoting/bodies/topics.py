"""Bodies about topics: codes 18, 21, 202, 351.

Sources: org.apache.rocketmq.remoting.protocol.body.{CreateTopicListRequestBody,
TopicConfigAndMappingSerializeWrapper}, …protocol.admin.{TopicStatsTable,TopicOffset},
…protocol.statictopic.TopicConfigAndQueueMapping 5.5.0.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field

from pyromq.domain.route import MessageQueue, TopicQueueMapping, TopicQueueMappingDetail
from pyromq.domain.topic import TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies.form import decode_answer, decode_body

_encoder: Final = msgspec.json.Encoder(order="sorted")
_NO_TOPICS: Final = b'"topicConfigTable":{}'


class TopicTable(Struct, frozen=True, rename="camel", kw_only=True):
    """A broker's topics (TopicConfigAndMappingSerializeWrapper)."""

    topic_config_table: dict[str, TopicConfig] = field(default_factory=dict)
    data_version: DataVersion = DataVersion()
    mapping_data_version: DataVersion = DataVersion()
    topic_queue_mapping_info_map: dict[str, TopicQueueMapping] = field(default_factory=dict)
    topic_queue_mapping_detail_map: dict[str, TopicQueueMappingDetail] = field(default_factory=dict)


class TopicOffset(Struct, frozen=True, rename="camel", kw_only=True):
    """One queue's offsets; `max_offset` is one past the newest message."""

    min_offset: int = 0
    max_offset: int = 0
    last_update_timestamp: int = 0


class TopicStats(Struct, frozen=True, rename="camel", kw_only=True):
    """Offsets of all queues of a topic (TopicStatsTable)."""

    offset_table: dict[MessageQueue, TopicOffset] = field(default_factory=dict)
    topic_put_tps: float = 0.0


class _TopicStatsText(Struct, frozen=True, rename="camel"):
    """As read: the queues are still JSON text."""

    offset_table: dict[str, TopicOffset] = field(default_factory=dict)
    topic_put_tps: float = 0.0


class _TopicConfigList(Struct, frozen=True, rename="camel"):
    topic_config_list: list[TopicConfig] = field(default_factory=list)


class _TopicConfigAndMapping(Struct, frozen=True, rename="camel"):
    """TopicConfig's members and the mapping of a static topic beside them."""

    topic_name: str
    read_queue_nums: int
    write_queue_nums: int
    perm: int
    topic_filter_type: str
    topic_sys_flag: int
    order: bool
    attributes: dict[str, str]
    mapping_detail: TopicQueueMappingDetail | None = None


def encode_topic_table(table: TopicTable) -> bytes:
    """As `dialect.encode`, but each topic by the fast encoder: there may be 100,000."""
    rest = dialect.encode(msgspec.structs.replace(table, topic_config_table={}))
    before, place, after = rest.partition(_NO_TOPICS)
    assert place, "a table has its topics"
    topics = b",".join(
        _encoder.encode(name) + b":" + _encode_config(config)
        for name, config in table.topic_config_table.items()
    )
    return b"".join((before, _NO_TOPICS[:-1], topics, b"}", after))


def _encode_config(config: TopicConfig) -> bytes:
    """No member of a topic can be nothing, so all that the dialect does is to sort them; but not
    the attributes."""
    return _encoder.encode(config) if len(config.attributes) <= 1 else dialect.encode(config)


def decode_topic_table(body: bytes) -> TopicTable:
    return decode_answer("TopicConfigSerializeWrapper", body, TopicTable)


def encode_topic_config(
    config: TopicConfig, mapping_detail: TopicQueueMappingDetail | None = None
) -> bytes:
    """The answer to code 351."""
    return dialect.encode(
        _TopicConfigAndMapping(**msgspec.structs.asdict(config), mapping_detail=mapping_detail)
    )


def decode_topic_config(body: bytes) -> TopicConfig:
    return decode_body("TopicConfig", body, TopicConfig)


def encode_topic_config_list(configs: list[TopicConfig]) -> bytes:
    return dialect.encode(_TopicConfigList(configs))


def decode_topic_config_list(body: bytes) -> list[TopicConfig]:
    return decode_body("topic list", body, _TopicConfigList).topic_config_list


def encode_topic_stats(stats: TopicStats) -> bytes:
    return dialect.encode(stats)


def decode_topic_stats(body: bytes) -> TopicStats:
    text = decode_answer("TopicStatsTable", body, _TopicStatsText)
    try:
        table = {
            dialect.decode(key.encode(), MessageQueue): offset
            for key, offset in text.offset_table.items()
        }
    except (dialect.DialectError, msgspec.ValidationError) as error:
        raise RequestFailed(f"TopicStatsTable body: queue key: {error}") from error
    return TopicStats(offset_table=table, topic_put_tps=text.topic_put_tps)


__all__ = [
    "TopicOffset",
    "TopicStats",
    "TopicTable",
    "decode_topic_config",
    "decode_topic_config_list",
    "decode_topic_stats",
    "decode_topic_table",
    "encode_topic_config",
    "encode_topic_config_list",
    "encode_topic_stats",
    "encode_topic_table",
]
