"""Resets: a group's offsets set from outside, here or by way of its clients; and clones of them.

With `useServerSideResetOffset` the broker resets the offsets itself: they are durable before the
reset is acknowledged, and marked until the clients that pull those queues know (reset_marks.py).
Long polls are woken, so running clients know at once; in Apache they do when their poll ends.

Without it the clients are told (code 220). A Java client then drops the queues, waits 10 s for what
it has in hand, commits the offsets it was told and shares the queues anew. Here the broker commits
them first, which changes nothing for such a client: whatever it still commits meanwhile it
overwrites at the end. But the reset also holds if it dies before, and for queues that nobody has at
that moment; in Apache it is lost then.

Sources: resetOffset, resetOffsetInner and cloneGroupOffset of processor.AdminBrokerProcessor and
client.net.Broker2Client of org.apache.rocketmq.broker 5.5.0; resetOffset of
impl.factory.MQClientInstance of org.apache.rocketmq.client 5.5.0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from pyromq.api import Caller, PushedReset, ResetRequest
from pyromq.broker.clients import Clients, Member
from pyromq.broker.groups import Groups
from pyromq.broker.journal import Journal
from pyromq.broker.offsets import Offsets
from pyromq.broker.parked import ParkedPolls
from pyromq.broker.peers import AllPeers
from pyromq.broker.remarks import shown
from pyromq.broker.reset_marks import ResetMarks
from pyromq.broker.topics import Topics
from pyromq.codes import VERSION_3_0_7_SNAPSHOT
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.group import check_group_name
from pyromq.domain.offsets import TO_THE_END, forwarded_reset
from pyromq.domain.topic import TopicConfig
from pyromq.errors import (
    ConsumerNotOnline,
    GroupNotFound,
    InvalidParameter,
    RequestFailed,
    TopicNotFound,
)
from pyromq.store.metadata import Metadata
from pyromq.units import QueueOffset

PUSHED_OFFSETS_MAX: Final = 1_000_000
"""Offsets told to all clients of a group together by one reset, each some 60 bytes."""

_log = logging.getLogger(__name__)


class Resets:
    """Moves groups to where an operator wants them."""

    def __init__(
        self,
        metadata: Metadata,
        journal: Journal,
        topics: Topics,
        groups: Groups,
        clients: Clients,
        offsets: Offsets,
        marks: ResetMarks,
        parked: ParkedPolls,
        settings: Settings[BrokerConfig],
        peers: AllPeers,
    ) -> None:
        self._metadata = metadata
        self._journal = journal
        self._topic_table = topics.table
        self._group_table = groups.table
        self._consumers = clients.consumers
        self._offsets = offsets
        self._marks = marks
        self._parked = parked
        self._settings = settings
        self._peers = peers

    async def reset(self, caller: Caller, request: ResetRequest) -> Mapping[int, QueueOffset]:
        """The offsets that hold from now on, by queue."""
        if self._settings.current.use_server_side_reset_offset:
            offsets = await self._reset_here(request)
        else:
            offsets = await self._reset_by_clients(caller, request)
        _log.info(
            "%s reset group %s in topic %s to %s",
            caller.address,
            request.group,
            request.topic,
            shown(str(dict(offsets))),
        )
        return offsets

    async def clone(
        self, source_group: str, target_group: str, topic: str, *, is_offline: bool
    ) -> None:
        """Unlike Apache's it also clones when no topic is named, as its tool promises."""
        check_group_name(target_group)
        topics = [topic] if topic.strip() else self._offsets.topics_of_group(source_group)
        online = None if is_offline else self._consumers.get(source_group)
        wanted = online.subscriptions if online is not None else None
        cloned = [
            name
            for name in topics
            if name in self._topic_table
            and self._offsets.has_any(source_group, name)
            and (not wanted or name in wanted)
        ]
        self._offsets.check_room(target_group, cloned)
        sequence = 0
        for name in cloned:
            sequence = self._journal.change(
                self._metadata.clone_offsets, source_group, target_group, name
            )
        await self._journal.kept(sequence)

    # --- by the broker itself -------------------------------------------------------------------

    async def _reset_here(self, request: ResetRequest) -> Mapping[int, QueueOffset]:
        group, topic = request.group, request.topic
        config = self._topic_table.get(topic)
        if config is None:
            raise TopicNotFound(f"Topic {shown(topic)} does not exist")
        if group not in self._group_table:
            raise GroupNotFound(f"Group {shown(group)} does not exist")
        offsets = {
            queue_id: self._target(request, queue_id) for queue_id in _queue_ids(request, config)
        }
        if not offsets:
            raise RequestFailed("No queues to reset.")
        self._offsets.check_room(group, [topic])
        sequence = self._marks.reset(group, topic, offsets, is_marked=True)
        self._offsets.set_pulled(group, topic, offsets)
        await self._journal.kept(sequence)
        self._parked.wake_group(group)
        return offsets

    def _target(self, request: ResetRequest, queue_id: int) -> QueueOffset:
        wanted = request.queue_offset
        if request.queue_id < 0 or wanted is None or wanted == TO_THE_END:
            return self._found(request, queue_id)
        begin, end = self._offsets.range(request.topic, queue_id)
        # Apache takes one more: a group would skip the next message if it is stored in time.
        if not begin <= wanted <= end:
            raise RequestFailed(
                f"Target offset {wanted} not in consume queue range [{begin}-{end}]"
            )
        return QueueOffset(wanted)

    def _found(self, request: ResetRequest, queue_id: int) -> QueueOffset:
        if request.timestamp_ms < 0:
            return self._offsets.max(request.topic, queue_id)
        return self._offsets.by_time(request.topic, queue_id, request.timestamp_ms, is_upper=False)

    # --- by its clients -------------------------------------------------------------------------

    async def _reset_by_clients(
        self, caller: Caller, request: ResetRequest
    ) -> Mapping[int, QueueOffset]:
        group, topic = request.group, request.topic
        config = self._topic_table.get(topic)
        if config is None:
            raise TopicNotFound(
                f"[reset-offset] reset offset failed, no topic in this broker. topic={shown(topic)}"
            )
        offsets: dict[int, QueueOffset] = {}
        for queue_id in range(config.write_queue_nums):
            committed = self._metadata.tables.offset(group, topic, queue_id)
            if committed < 0:
                raise RequestFailed(f"THe consumer group <{shown(group)}> not exist")
            found = self._found(request, queue_id)
            offsets[queue_id] = QueueOffset(
                forwarded_reset(found, committed, is_forced=request.is_forced)
            )
        members = self._members(request)
        for member in members.values():
            if member.version < VERSION_3_0_7_SNAPSHOT:
                raise RequestFailed(
                    f"the client does not support this feature. version={member.version}"
                )
        if len(members) * len(offsets) > PUSHED_OFFSETS_MAX:
            raise RequestFailed(
                f"{len(members)} clients cannot be told {len(offsets)} offsets each, "
                f"at most {PUSHED_OFFSETS_MAX} together; set useServerSideResetOffset=true"
            )
        sequence = self._marks.reset(group, topic, offsets, is_marked=False)
        self._offsets.set_pulled(group, topic, offsets)
        await self._journal.kept(sequence)
        self._push(
            PushedReset(
                group=group,
                topic=topic,
                timestamp_ms=request.timestamp_ms,
                broker_name=self._settings.current.broker_name,
                offsets=offsets,
                is_for_cpp=caller.language == "CPP",
            )
        )
        return offsets

    def _members(self, request: ResetRequest) -> Mapping[int, Member]:
        online = self._consumers.get(request.group)
        if online is None or not online.members:
            raise ConsumerNotOnline(
                "Consumer not online, so can not reset offset, "
                f"Group: {shown(request.group)} Topic: {shown(request.topic)} "
                f"Timestamp: {request.timestamp_ms}"
            )
        return online.members

    def _push(self, reset: PushedReset) -> None:
        online = self._consumers.get(reset.group)
        for connection_id in () if online is None else tuple(online.members):
            door = self._peers.find(connection_id)
            if door is not None:
                door.push_reset(connection_id, reset)


def _queue_ids(request: ResetRequest, config: TopicConfig) -> Sequence[int]:
    if request.queue_id < 0:
        return range(config.read_queue_nums)
    if request.queue_id >= config.read_queue_nums:
        raise InvalidParameter(
            f"queueId[{request.queue_id}] is illegal, topic:[{request.topic}] "
            f"topicConfig.readQueueNums:[{config.read_queue_nums}]"
        )
    return (request.queue_id,)


__all__ = ["PUSHED_OFFSETS_MAX", "Resets"]
