"""`pyromq.client.admin` from a Python program: at ours, or with --peer apache at Apache's."""

from __future__ import annotations

import pytest

from pyromq.client.admin import Admin, AnswerRefused, BrokerAddress, NotThere
from pyromq.codes import ResponseCode
from pyromq.domain.group import GroupConfig
from pyromq.domain.route import MessageQueue
from pyromq.domain.topic import TopicConfig
from tests.support.peers import Peer

pytestmark = [pytest.mark.foreign, pytest.mark.differential]

CLUSTER = "DefaultCluster"
BROKER = "broker-a"


@pytest.mark.asyncio
async def test_a_program_administers_topics_groups_messages_and_offsets(peer: Peer) -> None:
    async with Admin(peer.namesrv) as admin:
        (broker,) = await admin.brokers.addresses(CLUSTER)
        assert broker == BrokerAddress(CLUSTER, BROKER, 0, peer.broker)
        await admin.topics.create(
            broker.address, TopicConfig(topic_name="python", read_queue_nums=1, write_queue_nums=1)
        )
        assert (await admin.topics.config(broker.address, "python")).write_queue_nums == 1
        assert "python" in await admin.topics.configs(broker.address)
        await admin.groups.create(broker.address, GroupConfig(group_name="snakes"))
        assert (await admin.groups.config(broker.address, "snakes")).retry_max_times == 16
        queue = MessageQueue(broker_name=BROKER, queue_id=0, topic="python")
        assert await admin.groups.offset(broker.address, "snakes", queue) is None
        sent = await admin.messages.send(broker.address, queue, b"hiss", unique_key="0" * 32)
        pulled = await admin.messages.pull(broker.address, queue, sent.queue_offset, wait_ms=10_000)
        assert [message.body for message in pulled.messages] == [b"hiss"]
        assert await admin.messages.range(broker.address, queue) == (0, 1)
        await admin.groups.set_offset(broker.address, "snakes", queue, 1)
        assert await admin.groups.offset(broker.address, "snakes", queue) == 1
        offsets = await admin.brokers.offsets(broker.address)
        assert offsets.offset_table["python@snakes"] == {0: 1}
        with pytest.raises(AnswerRefused) as refused:
            await admin.topics.config(broker.address, "nothing")
        assert refused.value.code == ResponseCode.TOPIC_NOT_EXIST
        with pytest.raises(NotThere, match="no broker nobody"):
            await admin.brokers.address_of("nobody")
