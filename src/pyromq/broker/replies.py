"""Request and reply: the answer to a request message is handed to the producer that waits for it.

A request is an ordinary message whose properties name its sender (REPLY_TO_CLIENT). The reply goes
to that client's broker, which pushes it there at once, whether or not the client reads the topic
that replies are stored in. Storing is what replies have beside that, as a trace: it is done whether
or not the push succeeded, and a failure of it fails nothing.

Source: processor.ReplyMessageProcessor of org.apache.rocketmq.broker 5.5.0. Unlike there the bits
of the stored sysFlag that tell how a body is compressed are kept: else nobody could read it.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import Final

from pyromq.api import Caller, PushedReply, ReplyResult, SendRequest, StoredReply
from pyromq.broker.clients import Clients
from pyromq.broker.journal import Journal
from pyromq.broker.peers import AllPeers
from pyromq.broker.remarks import shown
from pyromq.broker.send import Sends
from pyromq.broker.store_turn import StoreTurn
from pyromq.broker.topics import Topics
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.message import COMPRESSION_FLAGS, offset_message_id_prefix
from pyromq.domain.properties import (
    MSG_REGION,
    PROPERTIES_LENGTH_MAX,
    PUSH_REPLY_TIME,
    REPLY_TO_CLIENT,
    TRACE_ON,
    properties_text,
    property_value,
    without_properties,
)
from pyromq.errors import (
    AnswerTimedOut,
    ConsumerNotOnline,
    FlushTimedOut,
    RequestFailed,
    ServiceUnavailable,
    StoreFailed,
    SystemBusy,
)
from pyromq.observe.counters import BrokerCounters
from pyromq.store.engine import Engine
from pyromq.turn import Turn
from pyromq.units import MIB, SECOND_MS, QueueOffset

PUSH_TIMEOUT_MS: Final = 10 * SECOND_MS
"""How long a requester may take to confirm its reply."""
HELD_SIZE_MAX: Final = 256 * MIB
"""Bytes of replies (bodies and properties) that their requesters have not confirmed yet; more are
refused as busy."""

_log = logging.getLogger(__name__)


class Replies:
    """Brings replies to who waits for them."""

    def __init__(
        self,
        engine: Engine,
        topics: Topics,
        sends: Sends,
        clients: Clients,
        journal: Journal,
        store_turn: StoreTurn,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        clock: Clock,
        turn: Turn,
        counters: BrokerCounters,
        peers: AllPeers,
        *,
        store_host: bytes,
    ) -> None:
        self._engine = engine
        self._topic_table = topics.table
        self._sends = sends
        self._clients = clients
        self._journal = journal
        self._until_committed = store_turn.committed.until
        self._settings = settings
        self._body_size_max = store_settings.current.max_message_size_bytes
        self._clock = clock
        self._request_end = turn.request_end
        self._counters = counters
        self._peers = peers
        self._id_prefix = offset_message_id_prefix(store_host)
        address, port = ipaddress.ip_address(store_host[:-4]), int.from_bytes(store_host[-4:])
        self._store_host = f"{address}:{port}"
        self._held_size = 0

    async def reply(self, caller: Caller, request: SendRequest) -> ReplyResult:
        """Pushes the reply, then stores it; returns when both have ended."""
        settings = self._settings.current
        config, sequence = self._sends.checked_topic(
            caller, request, settings, self._clock.now_ms()
        )
        topic_kept = self._journal.kept(sequence) if sequence else None
        queue_id = request.queue_id
        if queue_id < 0:
            queue_id = self._sends.random_queue(config)
        marks = {MSG_REGION: settings.region_id, TRACE_ON: "true" if settings.trace_on else "false"}
        properties = without_properties(request.properties, MSG_REGION, TRACE_ON, PUSH_REPLY_TIME)
        properties += properties_text(marks)
        failure = await self._push(caller, request, properties)
        stored = None
        if settings.store_reply_message_enable:
            stored = await self._store(
                caller, request, properties.encode("utf-8", "replace"), queue_id
            )
        if stored is None and failure is None:
            stored = StoredReply(msg_id="0", queue_id=queue_id, queue_offset=QueueOffset(0))
        if topic_kept is not None:
            await topic_kept
        return ReplyResult(failure=failure, stored=stored)

    async def _push(self, caller: Caller, request: SendRequest, properties: str) -> str | None:
        """Why the reply could not be pushed; None if its requester has it."""
        client_id = property_value(request.properties, REPLY_TO_CLIENT)
        if client_id is None:
            return f"reply message properties[{REPLY_TO_CLIENT}] is null"
        connection_id = self._clients.find_producer(client_id)
        if connection_id is None:
            return f"push reply message fail, channel of <{shown(client_id)}> not found."
        size = len(request.body) + len(properties)
        if self._held_size + size > HELD_SIZE_MAX:
            raise SystemBusy(
                f"replies of {self._held_size} bytes wait for their requesters, "
                f"at most {HELD_SIZE_MAX} do"
            )
        now_ms = self._clock.now_ms()
        reply = PushedReply(
            request=request,
            properties=properties + properties_text({PUSH_REPLY_TIME: str(now_ms)}),
            born_host=caller.address,
            store_host=self._store_host,
            store_timestamp_ms=now_ms,
        )
        self._held_size += size
        try:
            door = self._peers.of(connection_id)
            answer = await door.push_reply(connection_id, reply, timeout_ms=PUSH_TIMEOUT_MS)
        except (AnswerTimedOut, ConsumerNotOnline, RequestFailed):
            return f"push reply message to {shown(client_id)}fail."
        finally:
            self._held_size -= size
        return None if answer.code == 0 else f"push reply message to {shown(client_id)}fail."

    async def _store(
        self, caller: Caller, request: SendRequest, properties: bytes, queue_id: int
    ) -> StoredReply | None:
        """Stores the reply; None if it cannot be stored."""
        if (
            not 0 < len(request.body) <= self._body_size_max
            or len(properties) > PROPERTIES_LENGTH_MAX
            or request.topic not in self._topic_table  # while the requester was asked
            or self._sends.is_closed
        ):
            return None
        try:
            appended = self._engine.append(
                request.topic,
                queue_id,
                request.body,
                properties,
                flag=request.flag,
                sys_flag=request.sys_flag & COMPRESSION_FLAGS,
                born_timestamp_ms=request.born_timestamp_ms,
                born_host=caller.host,
                reconsume_times=request.reconsume_times,
                prepared_transaction_offset=0,
                now_ms=self._clock.now_ms(),
            )
            self._request_end()
            await self._until_committed(appended.end)
        except FlushTimedOut:
            pass  # stored: only its sync is late
        except (StoreFailed, ServiceUnavailable) as error:
            _log.debug("a reply was not stored: %s", error)
            return None
        size = appended.end - appended.log_offset
        self._counters.put_count += 1
        self._counters.put_size += size
        self._counters.topic_puts.add(request.topic, 1, size)
        return StoredReply(
            msg_id=f"{self._id_prefix}{appended.log_offset:016X}",
            queue_id=queue_id,
            queue_offset=appended.queue_offset,
        )


__all__ = ["HELD_SIZE_MAX", "PUSH_TIMEOUT_MS", "Replies"]
