"""Bodies about progress and resets, held to texts that Apache's classes wrote."""

from __future__ import annotations

import pytest

from pyromq.domain.group import Subscription
from pyromq.domain.route import MessageQueue
from pyromq.errors import RequestFailed
from pyromq.wire import dialect
from pyromq.wire.remoting.bodies import progress, resets
from pyromq.wire.remoting.bodies.progress import (
    BrokerStatsData,
    BrokerStatsItem,
    ConsumeQueueData,
    ConsumeStats,
    ConsumeStatsList,
    OffsetWrapper,
    QueueContent,
)

QUEUE = MessageQueue(broker_name="broker-a", queue_id=3, topic="TopicTest")
QUEUE_TEXT = b'{"brokerName":"broker-a","queueId":3,"topic":"TopicTest"}'
STATS = ConsumeStats(
    offset_table={
        QUEUE: OffsetWrapper(broker_offset=10, consumer_offset=5, pull_offset=7, last_timestamp=1)
    },
)
STATS_TEXT = (
    b'{"consumeTps":0.0,"offsetTable":{'
    + QUEUE_TEXT
    + b':{"brokerOffset":10,"consumerOffset":5,"lastTimestamp":1,"pullOffset":7}}}'
)


def test_consume_stats_are_written_as_apache_does() -> None:
    assert progress.encode_consume_stats(STATS) == STATS_TEXT
    assert progress.decode_consume_stats(STATS_TEXT) == STATS
    assert progress.encode_consume_stats(ConsumeStats()) == (b'{"consumeTps":0.0,"offsetTable":{}}')


def test_offsets_times_and_sums_of_more_than_32_bits_are_read_back() -> None:
    far = 1 << 40
    wrapper = OffsetWrapper(
        broker_offset=far + 3, consumer_offset=far, pull_offset=far + 1, last_timestamp=far + 2
    )
    stats = ConsumeStats(offset_table={QUEUE: wrapper})
    assert progress.decode_consume_stats(progress.encode_consume_stats(stats)) == stats
    everything = ConsumeStatsList(
        consume_stats_list=[{"CG": [stats]}], total_diff=far, total_inflight_diff=far
    )
    read = progress.decode_consume_stats_list(progress.encode_consume_stats_list(everything))
    assert read == everything
    item = BrokerStatsItem(sum=far, tps=0.5, avgpt=1.5)
    rates = BrokerStatsData(stats_minute=item, stats_hour=item, stats_day=item)
    assert progress.decode_broker_stats(progress.encode_broker_stats(rates)) == rates
    entry = ConsumeQueueData(physic_offset=far, physic_size=91, tags_code=far)
    content = QueueContent(max_queue_index=far, min_queue_index=far - 1, queue_data=[entry])
    assert progress.decode_queue_content(progress.encode_queue_content(content)) == content


STRANGE = MessageQueue(broker_name='b"\\\n', queue_id=0, topic="%RETRY%ü😀")


@pytest.mark.parametrize("address", ["127.0.0.1:10911", None, 'x"y'])
def test_the_fast_writer_gives_what_the_dialects_writer_gives(address: str | None) -> None:
    stats = ConsumeStats(
        offset_table={QUEUE: OffsetWrapper(), STRANGE: OffsetWrapper(broker_offset=2**63 - 1)},
        consume_tps=0.1 + 0.2,
    )
    assert progress.encode_consume_stats(stats) == dialect.encode(stats)
    everything = ConsumeStatsList(
        consume_stats_list=[{"CG": [stats, STATS]}, {'g"': []}],
        broker_addr=address,
        total_diff=-5,
        total_inflight_diff=7,
    )
    assert progress.encode_consume_stats_list(everything) == dialect.encode(everything)
    assert progress.encode_consume_stats_list(ConsumeStatsList()) == dialect.encode(
        ConsumeStatsList()
    )


def test_other_progress_bodies_are_written_as_apache_does() -> None:
    item = BrokerStatsItem(sum=9, tps=0.9, avgpt=1.5)
    stats = BrokerStatsData(stats_minute=item, stats_hour=item, stats_day=BrokerStatsItem())
    assert progress.encode_broker_stats(stats) == (
        b'{"statsDay":{"avgpt":0.0,"sum":0,"tps":0.0},"statsHour":{"avgpt":1.5,"sum":9,"tps":0.9},'
        b'"statsMinute":{"avgpt":1.5,"sum":9,"tps":0.9}}'
    )
    content = QueueContent(
        max_queue_index=1,
        min_queue_index=0,
        queue_data=[ConsumeQueueData(physic_offset=7441, physic_size=393, tags_code=2598942)],
    )
    assert progress.encode_queue_content(content) == (
        b'{"maxQueueIndex":1,"minQueueIndex":0,"queueData":'
        b'[{"eval":false,"physicOffset":7441,"physicSize":393,"tagsCode":2598942}]}'
    )
    assert progress.encode_correction_offsets({0: 5, 2: 2**63 - 1}) == (
        b'{"correctionOffsets":{0:5,2:9223372036854775807}}'
    )
    assert progress.encode_group_subscription("CG1", "TopicTest", None) == (
        b'{"group":"CG1","topic":"TopicTest"}'
    )


def test_the_subscription_of_a_checked_client_is_read() -> None:
    body = (
        b'{"clientId":"c","group":"CG","namespace":"n","subscriptionData":'
        b'{"expressionType":"SQL92","subString":"a > 5","subVersion":1,"topic":"T"}}'
    )
    assert progress.decode_checked_subscription(body) == Subscription(
        topic="T", sub_string="a > 5", sub_version=1, expression_type="SQL92"
    )
    assert progress.decode_checked_subscription(b"{}") is None
    assert progress.decode_checked_subscription(b"") is None


def test_reset_offsets_are_written_for_both_kinds_of_clients() -> None:
    body = b'{"offsetTable":{' + QUEUE_TEXT + b":5}}"
    assert resets.encode_reset_offsets({QUEUE: 5}) == body
    assert resets.decode_reset_offsets(body) == {QUEUE: 5}
    assert resets.encode_reset_offsets_for_cpp({QUEUE: 5}) == (
        b'{"offsetTable":[{"brokerName":"broker-a","offset":5,"queueId":3,"topic":"TopicTest"}]}'
    )


def test_a_consumers_status_is_read_and_written() -> None:
    own = b'{"consumerTable":{},"messageQueueTable":{' + QUEUE_TEXT + b":5}}"
    assert resets.encode_own_status({QUEUE: 5}) == own
    assert resets.decode_own_status(own) == {QUEUE: 5}
    assert resets.decode_own_status(b"{}") == {}
    key = QUEUE_TEXT.replace(b'"', b'\\"')
    quoted = b'{"messageQueueTable":{"' + key + b'":2}}'
    assert resets.decode_own_status(quoted) == {QUEUE: 2}
    collected = b'{"consumerTable":{"cid":{' + QUEUE_TEXT + b':5}},"messageQueueTable":{}}'
    assert resets.encode_consumer_status({"cid": {QUEUE: 5}}) == collected
    assert resets.decode_consumer_status(collected) == {"cid": {QUEUE: 5}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"messageQueueTable":{"no queue":5}}',
        b'{"messageQueueTable":{{"queueId":3}:5}}',
        b'{"messageQueueTable":{' + QUEUE_TEXT + b':"x"}}',
        b'{"messageQueueTable":{' + QUEUE_TEXT + b":99999999999999999999}}",
        b'{"messageQueueTable":5}',
        b" " * (2 * 1024 * 1024 + 1),
    ],
    ids=lambda body: repr(body)[:40],
)
def test_a_status_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(RequestFailed, match="GetConsumerStatusBody body: "):
        resets.decode_own_status(body)
