"""Messages: looked up by id, key or place, pulled from queues, sent; who has consumed one.

The broker finds keys and tags by hash, so what it finds is compared again here, as MQAdminImpl
does.
"""

from __future__ import annotations

import re
import time
import zlib

from msgspec import Struct

from pyromq.client.admin.clients import Clients
from pyromq.client.admin.groups import Groups
from pyromq.client.admin.servers import AnswerRefused, NotThere, Servers, address_of
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.message import COMPRESSION_FLAGS
from pyromq.domain.properties import KEYS, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, UNIQ_KEY
from pyromq.domain.route import MASTER_ID, MessageQueue
from pyromq.wire.record import (
    Record,
    decode_host,
    decode_message_id,
    decode_record,
    decode_records,
    parse_properties,
)
from pyromq.wire.remoting.bodies.groups import decode_group_names
from pyromq.wire.remoting.bodies.progress import QueueContent, decode_queue_content
from pyromq.wire.remoting.headers import decode_header
from pyromq.wire.remoting.headers.offsets import MaxOffsetHeader, MinOffsetHeader, OffsetResponse
from pyromq.wire.remoting.headers.progress import QueueEntriesHeader
from pyromq.wire.remoting.headers.pull import PullFlag, PullHeader, PullResponse, ViewMessageHeader
from pyromq.wire.remoting.headers.query import QueryMessageHeader
from pyromq.wire.remoting.headers.send import SendHeaderV2, SendResponse
from pyromq.wire.remoting.headers.topics import TopicConsumersHeader

TOOLS_GROUP = "TOOLS_CONSUMER"
"""The group under which mqadmin pulls; every broker knows it."""
PRODUCER_GROUP = "CLIENT_INNER_PRODUCER"
TAGS = "TAGS"
TIME_MAX_MS = 2**63 - 1
_ZLIB_TYPES = (0, 0x300)
_BODY_SIZE_MAX = 64 * 1024 * 1024
_ID = re.compile(r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{56}")


class StoredMessage(Struct, frozen=True, kw_only=True):
    """One message as a broker stores it."""

    topic: str
    queue_id: int
    queue_offset: int
    log_offset: int
    message_id: str
    """UNIQ_KEY, which the producer gave it; of messages without one the offsetMsgId."""
    offset_message_id: str
    body: bytes
    """Decompressed, unless `is_compressed` says otherwise."""
    is_compressed: bool = False
    """LZ4 and ZSTD bodies are left as they are."""
    properties: dict[str, str]
    sys_flag: int
    born_timestamp_ms: int
    born_host: str
    store_timestamp_ms: int
    store_host: str
    reconsume_times: int

    @property
    def tags(self) -> str:
        return self.properties.get(TAGS, "")

    @property
    def keys(self) -> str:
        """Separated by blanks."""
        return self.properties.get(KEYS, "")


class Sent(Struct, frozen=True, kw_only=True):
    """Where a message is now."""

    status: str
    """SEND_OK, FLUSH_DISK_TIMEOUT, FLUSH_SLAVE_TIMEOUT or SLAVE_NOT_AVAILABLE."""
    message_id: str
    offset_message_id: str
    queue: MessageQueue
    queue_offset: int


class Pulled(Struct, frozen=True, kw_only=True):
    """Messages of one queue, and where to go on."""

    messages: list[StoredMessage]
    next_offset: int
    min_offset: int
    max_offset: int


class Track(Struct, frozen=True, kw_only=True):
    """Whether one group has consumed a message (MessageTrack)."""

    group: str
    state: str
    """CONSUMED, CONSUMED_BUT_FILTERED, NOT_CONSUME_YET, NOT_ONLINE, PULL, UNKNOWN."""
    reason: str = ""


_SENT_STATES = {
    ResponseCode.SUCCESS: "SEND_OK",
    ResponseCode.FLUSH_DISK_TIMEOUT: "FLUSH_DISK_TIMEOUT",
    ResponseCode.FLUSH_SLAVE_TIMEOUT: "FLUSH_SLAVE_TIMEOUT",
    ResponseCode.SLAVE_NOT_AVAILABLE: "SLAVE_NOT_AVAILABLE",
}


class Messages:
    """Questions about messages, and sending some."""

    def __init__(self, servers: Servers, groups: Groups, clients: Clients) -> None:
        self._servers = servers
        self._groups = groups
        self._clients = clients

    # ── one message ─────────────────────────────────────────────────────────────────────────────

    async def by_id(self, topic: str, message_id: str) -> StoredMessage:
        """By its offsetMsgId, or if it is none or not found there, by its unique key.

        Raises NotThere.
        """
        if _ID.fullmatch(message_id):
            host, log_offset = decode_message_id(message_id)
            known = {broker.address for broker in await self._servers.brokers(with_slaves=True)}
            ip, port = decode_host(host)
            address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
            # Both kinds of id look alike: only an address that is a broker's is asked.
            if address in known:
                header = ViewMessageHeader(topic=topic, offset=log_offset)
                try:
                    code = RequestCode.VIEW_MESSAGE_BY_ID
                    answer = await self._servers.ask(address, code, header)
                    return stored_message(decode_record(answer.body))
                except AnswerRefused:
                    pass
        found = await self.by_unique_key(topic, message_id)
        if not found:
            raise NotThere(f"no message {message_id} in topic {topic}")
        return found[0]

    async def by_unique_key(
        self, topic: str, unique_key: str, *, begin_ms: int = 0, end_ms: int = TIME_MAX_MS
    ) -> list[StoredMessage]:
        """Messages with that UNIQ_KEY: usually one, several after retries."""
        found = await self._query(topic, unique_key, 32, begin_ms, end_ms, is_unique=True)
        return [message for message in found if message.properties.get(UNIQ_KEY) == unique_key]

    async def by_key(
        self,
        topic: str,
        key: str,
        *,
        count_max: int = 64,
        begin_ms: int = 0,
        end_ms: int = TIME_MAX_MS,
        key_type: str | None = None,
        last_key: str | None = None,
    ) -> list[StoredMessage]:
        """Messages with that key among their KEYS; with `key_type` "T" those with that tag."""
        found = await self._query(
            topic, key, count_max, begin_ms, end_ms, key_type=key_type, last_key=last_key
        )
        if key_type == "T":
            return [message for message in found if message.tags == key]
        return [message for message in found if key in message.keys.split(" ")]

    async def by_offset(self, address: str, queue: MessageQueue, offset: int) -> StoredMessage:
        """The message at one place. Raises NotThere."""
        pulled = await self.pull(address, queue, offset, count_max=1)
        if not pulled.messages or pulled.messages[0].queue_offset != offset:
            raise NotThere(
                f"no message at offset {offset} of {queue.topic} queue {queue.queue_id} on "
                f"{queue.broker_name}: it has {pulled.min_offset} to {pulled.max_offset - 1}"
            )
        return pulled.messages[0]

    async def tracks(self, message: StoredMessage) -> list[Track]:
        """Who of the topic's groups has consumed it."""
        route = await self._servers.route(message.topic)
        groups: set[str] = set()
        for data in route.broker_datas:
            if (address := address_of(data)) is not None:
                code = RequestCode.QUERY_TOPIC_CONSUME_BY_WHO
                header = TopicConsumersHeader(topic=message.topic)
                answer = await self._servers.ask(address, code, header)
                groups.update(decode_group_names(answer.body))
        return [await self._track(message, group) for group in sorted(groups)]

    # ── queues ──────────────────────────────────────────────────────────────────────────────────

    async def pull(
        self,
        address: str,
        queue: MessageQueue,
        offset: int,
        *,
        count_max: int = 32,
        group: str = TOOLS_GROUP,
        wait_ms: int = 0,
    ) -> Pulled:
        """Messages from `offset` on; waits up to `wait_ms` for the first. Commits nothing."""
        header = PullHeader(
            consumer_group=group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=count_max,
            sys_flag=PullFlag.SUBSCRIPTION | (PullFlag.SUSPEND if wait_ms else 0),
            suspend_timeout_millis=wait_ms,
            subscription="*",
            expression_type="TAG",
        )
        answer = await self._servers.ask(
            address,
            RequestCode.PULL_MESSAGE,
            header,
            accepted=(
                ResponseCode.SUCCESS,
                ResponseCode.PULL_NOT_FOUND,
                ResponseCode.PULL_RETRY_IMMEDIATELY,
                ResponseCode.PULL_OFFSET_MOVED,
            ),
            timeout_ms=self._servers.timeout_ms + wait_ms,
        )
        place = decode_header(PullResponse, answer.ext)
        records = decode_records(answer.body) if answer.code == ResponseCode.SUCCESS else []
        return Pulled(
            messages=[stored_message(record) for record in records],
            next_offset=place.next_begin_offset,
            min_offset=place.min_offset,
            max_offset=place.max_offset,
        )

    async def range(self, address: str, queue: MessageQueue) -> tuple[int, int]:
        """The oldest offset, and one past the newest."""
        topic, queue_id = queue.topic, queue.queue_id
        low = await self._servers.ask(
            address, RequestCode.GET_MIN_OFFSET, MinOffsetHeader(topic=topic, queue_id=queue_id)
        )
        high = await self._servers.ask(
            address, RequestCode.GET_MAX_OFFSET, MaxOffsetHeader(topic=topic, queue_id=queue_id)
        )
        return (
            decode_header(OffsetResponse, low.ext).offset,
            decode_header(OffsetResponse, high.ext).offset,
        )

    async def entries(
        self,
        address: str,
        queue: MessageQueue,
        index: int,
        count: int,
        group: str | None = None,
    ) -> QueueContent:
        """Entries of a consume queue; with a group also whether its filter takes them."""
        header = QueueEntriesHeader(
            topic=queue.topic,
            queue_id=queue.queue_id,
            index=index,
            count=count,
            consumer_group=group,
        )
        answer = await self._servers.ask(address, RequestCode.QUERY_CONSUME_QUEUE, header)
        return decode_queue_content(answer.body)

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    async def send(
        self,
        address: str,
        queue: MessageQueue,
        body: bytes,
        *,
        unique_key: str,
        properties: dict[str, str] | None = None,
    ) -> Sent:
        """Stores one message; `queue_id` −1 lets the broker choose. For tools and probes.

        `unique_key` becomes the message's id. Raises AnswerRefused if it was not stored.
        """
        members = {**(properties or {}), UNIQ_KEY: unique_key, "WAIT": "true"}
        header = SendHeaderV2(
            producer_group=PRODUCER_GROUP,
            topic=queue.topic,
            default_topic="TBW102",
            default_topic_queue_nums=4,
            queue_id=queue.queue_id,
            sys_flag=0,
            born_timestamp=int(time.time() * 1000),
            flag=0,
            properties=PROPERTY_SEPARATOR.join(
                f"{name}{NAME_VALUE_SEPARATOR}{value}" for name, value in members.items()
            ),
            broker_name=queue.broker_name,
        )
        answer = await self._servers.ask(
            address,
            RequestCode.SEND_MESSAGE_V2,
            header,
            body,
            accepted=tuple(_SENT_STATES),
        )
        place = decode_header(SendResponse, answer.ext)
        return Sent(
            status=_SENT_STATES[ResponseCode(answer.code)],
            message_id=unique_key,
            offset_message_id=place.msg_id,
            queue=MessageQueue(
                broker_name=queue.broker_name, queue_id=place.queue_id, topic=queue.topic
            ),
            queue_offset=place.queue_offset,
        )

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _query(
        self,
        topic: str,
        key: str,
        count_max: int,
        begin_ms: int,
        end_ms: int,
        *,
        is_unique: bool = False,
        key_type: str | None = None,
        last_key: str | None = None,
    ) -> list[StoredMessage]:
        header = QueryMessageHeader(
            topic=topic,
            key=key,
            max_num=count_max,
            begin_timestamp=begin_ms,
            end_timestamp=end_ms,
            index_type=key_type,
            last_key=last_key,
            unique_key_query=True if is_unique else None,
        )
        found: list[StoredMessage] = []
        for data in (await self._servers.route(topic)).broker_datas:
            if (address := address_of(data)) is None:
                continue
            answer = await self._servers.ask(
                address,
                RequestCode.QUERY_MESSAGE,
                header,
                accepted=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
                timeout_ms=3 * self._servers.timeout_ms,
            )
            if answer.code == ResponseCode.SUCCESS:
                found += [stored_message(record) for record in decode_records(answer.body)]
        return sorted(found, key=lambda message: message.store_timestamp_ms)

    async def _track(self, message: StoredMessage, group: str) -> Track:
        try:
            members = await self._clients.consumers(group)
            if members.consume_type == "CONSUME_ACTIVELY":
                return Track(group=group, state="PULL")
            if members.message_model == "BROADCASTING":
                return Track(group=group, state="CONSUME_BROADCASTING")
            if not await self._has_consumed(message, group):
                return Track(group=group, state="NOT_CONSUME_YET")
        except NotThere as unknown:
            return Track(group=group, state="NOT_ONLINE", reason=str(unknown))
        except AnswerRefused as refused:
            is_offline = refused.code == ResponseCode.CONSUMER_NOT_ONLINE
            state = "NOT_ONLINE" if is_offline else "UNKNOWN"
            return Track(group=group, state=state, reason=f"{refused.code} {refused.remark}")
        subscription = members.subscription_table.get(message.topic)
        if subscription is not None and subscription.tags_set:
            wanted = {*subscription.tags_set}
            if not wanted & {message.tags, "*"}:
                return Track(group=group, state="CONSUMED_BUT_FILTERED")
        return Track(group=group, state="CONSUMED")

    async def _has_consumed(self, message: StoredMessage, group: str) -> bool:
        stats = await self._groups.progress(group)
        brokers = (await self._servers.cluster_info()).broker_addr_table
        for queue, offsets in stats.offset_table.items():
            data = brokers.get(queue.broker_name)
            if (
                queue.topic == message.topic
                and queue.queue_id == message.queue_id
                and data is not None
                and data.broker_addrs.get(MASTER_ID) == message.store_host
                and offsets.consumer_offset > message.queue_offset
            ):
                return True
        return False


def stored_message(record: Record) -> StoredMessage:
    """A record of the wire, with everything in it readable."""
    properties = parse_properties(record.properties.decode("utf-8", "replace"))
    body, is_compressed = _plain(record)
    return StoredMessage(
        topic=record.topic,
        queue_id=record.queue_id,
        queue_offset=record.queue_offset,
        log_offset=record.log_offset,
        message_id=properties.get(UNIQ_KEY, record.message_id),
        offset_message_id=record.message_id,
        body=body,
        is_compressed=is_compressed,
        properties=properties,
        sys_flag=record.sys_flag,
        born_timestamp_ms=record.born_timestamp_ms,
        born_host=_host(record.born_host),
        store_timestamp_ms=record.store_timestamp_ms,
        store_host=_host(record.store_host),
        reconsume_times=record.reconsume_times,
    )


def _plain(record: Record) -> tuple[bytes, bool]:
    """The body decompressed, and whether it could not be."""
    if not record.sys_flag & 0x1:
        return record.body, False
    if record.sys_flag & COMPRESSION_FLAGS & 0x700 not in _ZLIB_TYPES:
        return record.body, True
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(record.body, _BODY_SIZE_MAX)
    except zlib.error:
        return record.body, True
    return (body, False) if stream.eof else (record.body, True)


def _host(host: bytes) -> str:
    ip, port = decode_host(host)
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


__all__ = ["Messages", "Pulled", "Sent", "StoredMessage", "Track", "stored_message"]
