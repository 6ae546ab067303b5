"""Giving a message back that could not be consumed: by its place, or, if that fails, as a new one.

Source: impl.consumer.DefaultMQPushConsumerImpl (sendMessageBack, sendMessageBackAsNormalMessage) of
org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import logging
from typing import Final

from pyromq.client.errors import ServerRefused
from pyromq.client.instance import ClientInstance
from pyromq.client.message import ReceivedMessage
from pyromq.client.producer import SEND_TIMEOUT_MS
from pyromq.codes import RequestCode
from pyromq.domain.properties import (
    DELAY,
    ORIGIN_MESSAGE_ID,
    RETRY_TOPIC,
    TRAN_MSG,
    properties_text,
)
from pyromq.domain.retry import FIRST_DELAY_LEVEL
from pyromq.domain.topic import AUTO_CREATE_TOPIC_KEY_TOPIC, retry_topic
from pyromq.errors import PyromqError
from pyromq.wire.remoting.headers.retries import SendBackHeader
from pyromq.wire.remoting.headers.send import SendHeaderV2
from pyromq.wire.remoting.native import encode_ext

SEND_BACK_TIMEOUT_MS: Final = 5_000
RETRY_PRODUCER: Final = "CLIENT_INNER_PRODUCER"
"""Apache's name for the producer that consumers give messages back with."""
_COMPRESSION_FLAGS: Final = 0x701

_log = logging.getLogger("pyromq.client")


async def give_back(
    instance: ClientInstance,
    group: str,
    message: ReceivedMessage,
    *,
    delay_level: int,
    times_max: int,
) -> bool:
    """Whether a broker has taken it: it comes again later, or is a dead letter.

    `delay_level` 0: the broker chooses, growing from time to time; −1: a dead letter at once.
    """
    header = SendBackHeader(
        offset=message.log_offset,
        group=group,
        delay_level=delay_level,
        origin_msg_id=message.message_id,
        origin_topic=message.topic,
        max_reconsume_times=times_max,
    )
    try:
        address = await instance.address_of(message.queue)
        await instance.call(
            address,
            RequestCode.CONSUMER_SEND_MSG_BACK,
            header,
            timeout_ms=SEND_BACK_TIMEOUT_MS,
        )
    except PyromqError as error:
        _log.warning("%s not given back by its place: %s", message.message_id, error)
        return await send_again(instance, group, message, times_max=times_max)
    return True


async def send_again(
    instance: ClientInstance, group: str, message: ReceivedMessage, *, times_max: int
) -> bool:
    """The same through the retry topic of any broker, with the count of times in the request."""
    times = message.reconsume_times
    topic = retry_topic(group)
    properties = {
        **message.properties,
        ORIGIN_MESSAGE_ID: message.properties.get(ORIGIN_MESSAGE_ID, "").strip()
        or message.message_id,
        RETRY_TOPIC: message.topic,
        DELAY: str(FIRST_DELAY_LEVEL + times),
    }
    properties.pop(TRAN_MSG, None)
    try:
        queues = (await instance.routes.published(topic)).queues
        for queue in {queue.broker_name: queue for queue in queues}.values():
            header = SendHeaderV2(
                producer_group=RETRY_PRODUCER,
                topic=topic,
                default_topic=AUTO_CREATE_TOPIC_KEY_TOPIC,
                default_topic_queue_nums=1,
                queue_id=queue.queue_id,
                # The body goes back as it came, compressed if it was.
                sys_flag=message.record.sys_flag & _COMPRESSION_FLAGS,
                born_timestamp=instance.clock.now_ms(),
                flag=message.flag,
                properties=properties_text(properties),
                reconsume_times=times + 1,
                unit_mode=False,
                max_reconsume_times=times_max,
                batch=False,
                broker_name=queue.broker_name,
            )
            try:
                answer = await instance.remoting.invoke(
                    await instance.address_of(queue),
                    RequestCode.SEND_MESSAGE_V2,
                    encode_ext(header),
                    message.record.body,
                    timeout_ms=SEND_TIMEOUT_MS,
                )
                if answer.code == 0:
                    return True
                raise ServerRefused(
                    queue.broker_name, RequestCode.SEND_MESSAGE_V2, answer.code, answer.remark
                )
            except PyromqError as error:
                _log.warning("%s not sent again: %s", message.message_id, error)
    except PyromqError as error:
        _log.warning("%s not sent again: %s", message.message_id, error)
    return False


__all__ = ["RETRY_PRODUCER", "give_back", "send_again"]
