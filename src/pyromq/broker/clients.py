"""Clients: which connections produce and consume for which group, by their heartbeats.

A client beats every 30 s. Who has not for `channelExpiredTimeout`, or whose connection closed, has
left its groups. When a group's members or topics change, all its members are told (code 40) and
share the queues anew.

Sources: processor.ClientManageProcessor, client.ConsumerManager, client.ConsumerGroupInfo and
client.ProducerManager of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from pyromq.api import (
    Caller,
    ClientConnection,
    ConsumerConnections,
    Heartbeat,
    HeartbeatAnswer,
)
from pyromq.broker.groups import Groups
from pyromq.broker.journal import Journal
from pyromq.broker.members import ConsumerGroup, Member, subscription_size
from pyromq.broker.peers import AllPeers
from pyromq.broker.remarks import shown
from pyromq.broker.topics import Topics
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings
from pyromq.domain.group import ConsumerData, GroupConfig
from pyromq.domain.topic import RETRY_OR_DLQ_TOPIC_LENGTH_MAX, retry_topic
from pyromq.errors import ConsumerNotOnline, InvalidParameter, RequestFailed, SystemBusy
from pyromq.units import MIB

HEARTBEAT_GROUPS_MAX: Final = 1_000
"""Producer, and consumer, groups of one heartbeat: a client instance has a handful."""
SUBSCRIPTIONS_MAX: Final = 10_000
"""Topics one group subscribes to."""
GROUP_MEMBERS_MAX: Final = 10_000
"""Clients of one group: each change of members is told to all of them."""
SUBSCRIBED_SIZE_MAX: Final = 256 * MIB
"""Bytes of all subscriptions of all groups: half a million ordinary ones."""
KIND_LENGTH_MAX: Final = 64
"""Characters of the names by which a consumer tells how it consumes; RocketMQ's have 38 at most."""
MEMBERS_MAX: Final = 500_000
"""Memberships (client in group) in all; each holds about 500 bytes."""
CLIENT_ID_LENGTH_MAX: Final = 1_024
"""Characters of a client id: address, instance name, unit."""
PRODUCER_GROUP_LENGTH_MAX: Final = 255

TOPIC_SYS_FLAG_UNIT_SUBSCRIPTION: Final = 2


class Clients:
    """All connected clients of a broker."""

    def __init__(
        self,
        topics: Topics,
        groups: Groups,
        journal: Journal,
        settings: Settings[BrokerConfig],
        clock: Clock,
        peers: AllPeers,
    ) -> None:
        self._topics = topics
        self._groups = groups
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._peers = peers
        self._producers: dict[str, dict[int, Member]] = {}
        self._member_count = 0
        self._subscribed_size = 0
        self._groups_of_connection: dict[int, tuple[set[str], set[str]]] = {}
        """(producer groups, consumer groups) a connection is in."""
        self._producer_connections: dict[str, dict[int, int]] = {}
        """By client id: the connections it produces by, the newest last, each with the number of
        producer groups it is in under that id."""
        self.consumers: dict[str, ConsumerGroup] = {}
        """By group; read it freely."""
        self.on_consumers_changed: Callable[[], None] = _nothing
        """Told when a group came or went, or what it wants changed."""

    # --- heartbeats -----------------------------------------------------------------------------

    async def heartbeat(self, caller: Caller, heartbeat: Heartbeat) -> HeartbeatAnswer:
        _check(heartbeat)
        has_changed = False
        sequence = 0
        for data in heartbeat.consumers:
            config, created = self._groups.find(data.group_name)
            if config is None:
                continue
            sequence = max(sequence, created, self._create_retry_topic(config, data))
            has_changed |= self._register_consumer(caller, heartbeat, data, config)
        for group in heartbeat.producer_groups:
            if 0 < len(group) <= PRODUCER_GROUP_LENGTH_MAX:
                self._register_producer(caller, heartbeat.client_id, group)
        if sequence:
            await self._journal.kept(sequence)
        return HeartbeatAnswer(
            supports_v2=True,
            has_subscription_changed=has_changed or heartbeat.fingerprint == 0,
        )

    def _create_retry_topic(self, config: GroupConfig, data: ConsumerData) -> int:
        if config.retry_queue_nums < 1:
            return 0
        return self._topics.create_if_absent(
            retry_topic(config.group_name),
            config.retry_queue_nums,
            sys_flag=TOPIC_SYS_FLAG_UNIT_SUBSCRIPTION if data.unit_mode else 0,
            is_order=any(self._topics.is_order(item.topic) for item in data.subscription_data_set),
        )

    def _register_consumer(
        self, caller: Caller, heartbeat: Heartbeat, data: ConsumerData, config: GroupConfig
    ) -> bool:
        """Returns whether the client must send its subscriptions in full."""
        name = data.group_name
        group = self.consumers.get(name)
        if not heartbeat.is_without_subscriptions:
            self._check_room(name, data, 0 if group is None else group.size)
        if group is None:
            group = self.consumers[name] = ConsumerGroup(name)
        version = group.version
        fingerprint = group.fingerprint
        # Unlike Apache, a group without a fingerprint (the broker started anew) asks for the
        # subscriptions too: it knows none.
        must_send_all = (
            heartbeat.is_without_subscriptions
            if fingerprint is None
            else fingerprint != heartbeat.fingerprint
        )
        group.fingerprint = heartbeat.fingerprint
        group.consume_type = data.consume_type
        group.take_model(data.message_model)
        group.consume_from_where = data.consume_from_where
        has_changed = self._join(group.members, caller, heartbeat.client_id, name, is_consumer=True)
        if not heartbeat.is_without_subscriptions:
            size = group.size
            has_changed |= group.subscribe(data.subscription_data_set)
            self._subscribed_size += group.size - size
        if group.version != version:
            self.on_consumers_changed()
        if has_changed and config.notify_consumer_ids_changed_enable:
            self._notify(group)
        return must_send_all

    def _check_room(self, name: str, data: ConsumerData, size: int) -> None:
        """Refuses subscriptions for which there is no memory; `size` is what the group has now."""
        wanted = sum(map(subscription_size, data.subscription_data_set))
        if wanted > size and self._subscribed_size - size + wanted > SUBSCRIBED_SIZE_MAX:
            raise SystemBusy(
                f"group[{shown(name)}] subscribes to {len(data.subscription_data_set)} topics: "
                f"the broker remembers {SUBSCRIBED_SIZE_MAX} bytes of subscriptions at most"
            )

    def _register_producer(self, caller: Caller, client_id: str, group: str) -> None:
        members = self._producers.setdefault(group, {})
        connection_id = caller.connection_id
        member = members.get(connection_id)
        old_id = None if member is None else member.client_id
        self._join(members, caller, client_id, group, is_consumer=False)
        if old_id != client_id:
            if old_id is not None:
                self._forget_producer_id(old_id, connection_id)
            connections = self._producer_connections.setdefault(client_id, {})
            connections[connection_id] = connections.get(connection_id, 0) + 1

    def _forget_producer_id(self, client_id: str, connection_id: int) -> None:
        """The connection is in one producer group less under that id."""
        connections = self._producer_connections[client_id]
        connections[connection_id] -= 1
        if not connections[connection_id]:
            del connections[connection_id]
            if not connections:
                del self._producer_connections[client_id]

    def _join(
        self,
        members: dict[int, Member],
        caller: Caller,
        client_id: str,
        group: str,
        *,
        is_consumer: bool,
    ) -> bool:
        """Returns whether the client is new to the group."""
        now_ms, monotonic_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        member = members.get(caller.connection_id)
        if member is not None:
            member.client_id = client_id
            member.seen_at_ms = now_ms
            member.seen_monotonic_ms = monotonic_ms
            return False
        if len(members) >= GROUP_MEMBERS_MAX or self._member_count >= MEMBERS_MAX:
            self._drop_if_empty(group, is_consumer=is_consumer)
            raise SystemBusy(
                f"group[{shown(group)}] takes no more clients: it has {len(members)} of "
                f"{GROUP_MEMBERS_MAX}, the broker {self._member_count} of {MEMBERS_MAX}"
            )
        members[caller.connection_id] = Member(caller, client_id, now_ms, monotonic_ms)
        self._member_count += 1
        groups = self._groups_of_connection.setdefault(caller.connection_id, (set(), set()))
        groups[is_consumer].add(group)
        return True

    # --- leaving --------------------------------------------------------------------------------

    def unregister(
        self,
        caller: Caller,
        client_id: str,
        producer_group: str | None,
        consumer_group: str | None,
    ) -> None:
        """A client leaves by itself. As in Apache its connection counts, not the id it names."""
        del client_id
        if producer_group is not None:
            self._leave_producers(caller.connection_id, producer_group)
        if consumer_group is not None:
            config = self._groups.table.get(consumer_group)
            self._leave_consumers(
                caller.connection_id,
                consumer_group,
                is_told=config is None or config.notify_consumer_ids_changed_enable,
            )

    def connection_lost(self, connection_id: int) -> None:
        producer_groups, consumer_groups = self._groups_of_connection.get(connection_id, ((), ()))
        for group in tuple(producer_groups):
            self._leave_producers(connection_id, group)
        for group in tuple(consumer_groups):
            self._leave_consumers(connection_id, group, is_told=True)

    def expire(self) -> None:
        """Removes the clients that have been silent for too long."""
        limit_ms = self._clock.monotonic_ms() - self._settings.current.channel_expired_timeout_ms
        for name, members in list(self._producers.items()):
            for connection_id in _silent(members, limit_ms):
                self._leave_producers(connection_id, name)
        for name, group in list(self.consumers.items()):
            for connection_id in _silent(group.members, limit_ms):
                self._leave_consumers(connection_id, name, is_told=True)

    def _leave_producers(self, connection_id: int, group: str) -> None:
        members = self._producers.get(group)
        member = None if members is None else members.pop(connection_id, None)
        if member is not None:
            self._forget_producer_id(member.client_id, connection_id)
            self._forget_membership(connection_id, group, is_consumer=False)
            self._drop_if_empty(group, is_consumer=False)

    def _leave_consumers(self, connection_id: int, name: str, *, is_told: bool) -> None:
        group = self.consumers.get(name)
        if group is None or group.members.pop(connection_id, None) is None:
            return
        self._forget_membership(connection_id, name, is_consumer=True)
        self._drop_if_empty(name, is_consumer=True)
        if is_told:
            self._notify(group)

    def _forget_membership(self, connection_id: int, group: str, *, is_consumer: bool) -> None:
        self._member_count -= 1
        groups = self._groups_of_connection[connection_id]
        groups[is_consumer].discard(group)
        if not groups[0] and not groups[1]:
            del self._groups_of_connection[connection_id]

    def _drop_if_empty(self, group: str, *, is_consumer: bool) -> None:
        if is_consumer:
            if group in self.consumers and not self.consumers[group].members:
                self._subscribed_size -= self.consumers.pop(group).size
                self.on_consumers_changed()
        elif not self._producers.get(group, True):
            del self._producers[group]

    def _notify(self, group: ConsumerGroup) -> None:
        if group.is_broadcasting or not self._settings.current.notify_consumer_ids_changed_enable:
            return
        for connection_id in group.members:
            door = self._peers.find(connection_id)
            if door is not None:
                door.notify_consumer_ids_changed(connection_id, group.name)

    # --- questions ------------------------------------------------------------------------------

    def consumer_ids(self, group: str) -> Sequence[str]:
        found = self.consumers.get(group)
        if found is None:
            raise RequestFailed(f"no consumer for this group, {shown(group)}")
        return [member.client_id for member in found.members.values()]

    def find_consumer(self, group: str, client_id: str) -> tuple[int, int] | None:
        """Connection and version of a group's client, its newest connection if it has several."""
        found = self.consumers.get(group)
        if found is None:
            return None
        for connection_id, member in reversed(found.members.items()):
            if member.client_id == client_id:
                return connection_id, member.version
        return None

    def find_producer(self, client_id: str) -> int | None:
        """The connection of a client that is in any producer group, the newest if several."""
        connections = self._producer_connections.get(client_id)
        return None if connections is None else next(reversed(connections))

    def consumer_connections(self, group: str) -> ConsumerConnections:
        found = self.consumers.get(group)
        if found is None:
            raise ConsumerNotOnline(f"the consumer group[{shown(group)}] not online")
        return ConsumerConnections(
            connections=_described(found.members.values()),
            subscriptions={
                topic: subscribed.subscription for topic, subscribed in found.subscriptions.items()
            },
            consume_type=found.consume_type,
            message_model=found.message_model,
            consume_from_where=found.consume_from_where,
        )

    def producer_connections(self, group: str) -> Sequence[ClientConnection]:
        members = self._producers.get(group)
        if members is None:
            raise RequestFailed(f"the producer group[{shown(group)}] not exist")
        return _described(members.values())

    def all_producers(self) -> Mapping[str, Sequence[ClientConnection]]:
        return {group: _described(members.values()) for group, members in self._producers.items()}

    def groups_subscribed_to(self, topic: str) -> set[str]:
        return {name for name, group in self.consumers.items() if topic in group.subscriptions}


def _nothing() -> None:
    """Nobody wants to know."""


def _check(heartbeat: Heartbeat) -> None:
    """Bounds of what one client may make the broker remember."""
    if not 0 < len(heartbeat.client_id) <= CLIENT_ID_LENGTH_MAX:
        raise InvalidParameter(
            f"clientID[{shown(heartbeat.client_id)}] is illegal, "
            f"accepted is 1 to {CLIENT_ID_LENGTH_MAX} characters"
        )
    for what, count in (
        ("producer", len(heartbeat.producer_groups)),
        ("consumer", len(heartbeat.consumers)),
    ):
        if count > HEARTBEAT_GROUPS_MAX:
            raise InvalidParameter(
                f"the heartbeat names {count} {what} groups, "
                f"at most {HEARTBEAT_GROUPS_MAX} are taken"
            )
    for data in heartbeat.consumers:
        for kind in (data.consume_type, data.message_model, data.consume_from_where):
            if len(kind) > KIND_LENGTH_MAX:
                raise InvalidParameter(
                    f"group[{shown(data.group_name)}] consumes by [{shown(kind)}], "
                    f"at most {KIND_LENGTH_MAX} characters are taken"
                )
        if len(data.subscription_data_set) > SUBSCRIPTIONS_MAX:
            raise InvalidParameter(
                f"group[{shown(data.group_name)}] subscribes to "
                f"{len(data.subscription_data_set)} topics, at most {SUBSCRIPTIONS_MAX} are taken"
            )
        for subscription in data.subscription_data_set:
            if len(subscription.topic) > RETRY_OR_DLQ_TOPIC_LENGTH_MAX:
                raise InvalidParameter(
                    f"group[{shown(data.group_name)}] subscribes to "
                    f"topic[{shown(subscription.topic)}], "
                    f"no topic has more than {RETRY_OR_DLQ_TOPIC_LENGTH_MAX} characters"
                )


def _silent(members: Mapping[int, Member], limit_ms: int) -> list[int]:
    return [
        connection_id
        for connection_id, member in members.items()
        if member.seen_monotonic_ms < limit_ms
    ]


def _described(members: Iterable[Member]) -> list[ClientConnection]:
    return [member.described() for member in members]


__all__ = [
    "CLIENT_ID_LENGTH_MAX",
    "GROUP_MEMBERS_MAX",
    "HEARTBEAT_GROUPS_MAX",
    "KIND_LENGTH_MAX",
    "MEMBERS_MAX",
    "SUBSCRIBED_SIZE_MAX",
    "SUBSCRIPTIONS_MAX",
    "Clients",
    "Member",
]
