"""Consumer groups: their settings, how far they are, and where they shall go on."""

from __future__ import annotations

import contextlib

from msgspec import Struct

from pyromq.client.admin.servers import AnswerRefused, Servers, address_of
from pyromq.codes import RequestCode, ResponseCode
from pyromq.domain.group import GroupConfig, check_group_name
from pyromq.domain.route import MessageQueue
from pyromq.wire.remoting.bodies.groups import (
    decode_group_config,
    decode_group_table,
    encode_group_config,
    encode_group_config_list,
)
from pyromq.wire.remoting.bodies.progress import (
    ConsumeStats,
    ConsumeStatsList,
    OffsetWrapper,
    decode_consume_stats,
    decode_consume_stats_list,
)
from pyromq.wire.remoting.bodies.resets import decode_consumer_status, decode_reset_offsets
from pyromq.wire.remoting.bodies.topics import decode_topic_stats
from pyromq.wire.remoting.headers import decode_header
from pyromq.wire.remoting.headers.groups import (
    AllGroupConfigHeader,
    ConsumeStatsHeader,
    DeleteGroupHeader,
    GroupConfigHeader,
)
from pyromq.wire.remoting.headers.offsets import (
    MaxOffsetHeader,
    OffsetResponse,
    QueryConsumerOffsetHeader,
    SearchOffsetHeader,
    UpdateConsumerOffsetHeader,
)
from pyromq.wire.remoting.headers.progress import AllConsumeStatsHeader
from pyromq.wire.remoting.headers.resets import ConsumerStatusHeader, ResetOffsetHeader
from pyromq.wire.remoting.headers.topics import TopicStatsHeader

TO_THE_END = -1
"""As a time to reset to: after the newest message."""


class Reset(Struct, frozen=True, rename="camel", kw_only=True):
    """Where a group goes on in one queue; `was` is None where a broker does not tell it."""

    queue: MessageQueue
    offset: int
    was: int | None = None


class Groups:
    """Questions and changes about consumer groups. Addresses are brokers'."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    # ── settings ────────────────────────────────────────────────────────────────────────────────

    async def create(self, address: str, config: GroupConfig) -> None:
        """Creates a group on one broker, or changes its settings to these."""
        check_group_name(config.group_name)
        code = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
        await self._servers.ask(address, code, body=encode_group_config(config))

    async def create_all(self, address: str, configs: list[GroupConfig]) -> None:
        """Creates or changes several groups of one broker with one request."""
        code = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
        await self._servers.ask(address, code, body=encode_group_config_list(configs))

    async def config(self, address: str, group: str) -> GroupConfig:
        """Raises AnswerRefused (SUBSCRIPTION_GROUP_NOT_EXIST).

        A broker with autoCreateSubscriptionGroup creates the group instead: `configs` does not.
        """
        code = RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG
        answer = await self._servers.ask(address, code, GroupConfigHeader(group=group))
        return decode_group_config(answer.body)

    async def configs(self, address: str) -> dict[str, GroupConfig]:
        """All groups of one broker; a broker with very many answers in parts."""
        groups: dict[str, GroupConfig] = {}
        while True:
            header = AllGroupConfigHeader(group_seq=len(groups))
            code = RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG
            answer = await self._servers.ask(address, code, header)
            before = len(groups)
            groups.update(decode_group_table(answer.body).subscription_group_table)
            total = answer.ext.get("totalGroupNum", "")
            if not total.isdigit() or len(groups) >= int(total) or len(groups) == before:
                return groups

    async def delete(self, address: str, group: str, *, with_offsets: bool = False) -> None:
        """Deletes a group from one broker; its retry and dead-letter topics stay."""
        header = DeleteGroupHeader(group_name=group, clean_offset=with_offsets)
        await self._servers.ask(address, RequestCode.DELETE_SUBSCRIPTIONGROUP, header)

    # ── progress ────────────────────────────────────────────────────────────────────────────────

    async def progress(self, group: str, topic: str | None = None) -> ConsumeStats:
        """How far the group is in all its topics, or in one, on all brokers that know it.

        Without a topic a consumer of the group must have been connected once; raises NotThere.
        Raises AnswerRefused where a broker does not know the group.
        """
        if topic is None:
            route = await self._servers.route_of_group(group)
        else:
            route = await self._servers.route(topic)
        table: dict[MessageQueue, OffsetWrapper] = {}
        tps = 0.0
        for data in route.broker_datas:
            if (address := address_of(data)) is not None:
                stats = await self.progress_on(address, group, topic)
                table.update(stats.offset_table)
                tps += stats.consume_tps
        return ConsumeStats(offset_table=dict(sorted(table.items())), consume_tps=tps)

    async def progress_on(self, address: str, group: str, topic: str | None = None) -> ConsumeStats:
        header = ConsumeStatsHeader(consumer_group=group, topic=topic)
        answer = await self._servers.ask(address, RequestCode.GET_CONSUME_STATS, header)
        return decode_consume_stats(answer.body)

    async def progress_of_all(
        self, address: str, *, is_order: bool = False, timeout_ms: int | None = None
    ) -> ConsumeStatsList:
        """How far all groups of one broker are."""
        code = RequestCode.GET_BROKER_CONSUME_STATS
        header = AllConsumeStatsHeader(is_order=is_order)
        answer = await self._servers.ask(address, code, header, timeout_ms=timeout_ms)
        return decode_consume_stats_list(answer.body)

    async def status(
        self, topic: str, group: str, client_id: str = ""
    ) -> dict[str, dict[MessageQueue, int]]:
        """Which offsets the group's running clients have in mind, by client id."""
        route = await self._servers.route(topic)
        header = ConsumerStatusHeader(topic=topic, group=group, client_addr=client_id or None)
        for data in route.broker_datas:
            if (address := address_of(data)) is not None:
                code = RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS
                answer = await self._servers.ask(address, code, header)
                return decode_consumer_status(answer.body)
        return {}

    # ── offsets ─────────────────────────────────────────────────────────────────────────────────

    async def offset(self, address: str, group: str, queue: MessageQueue) -> int | None:
        """The group's committed offset in a queue, None if it has none."""
        header = QueryConsumerOffsetHeader(
            consumer_group=group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            set_zero_if_not_found=False,
        )
        answer = await self._servers.ask(
            address,
            RequestCode.QUERY_CONSUMER_OFFSET,
            header,
            accepted=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
        )
        if answer.code == ResponseCode.QUERY_NOT_FOUND:
            return None
        return decode_header(OffsetResponse, answer.ext).offset

    async def set_offset(self, address: str, group: str, queue: MessageQueue, offset: int) -> None:
        """Commits an offset in the group's name; running clients do not learn of it."""
        header = UpdateConsumerOffsetHeader(
            consumer_group=group, topic=queue.topic, queue_id=queue.queue_id, commit_offset=offset
        )
        await self._servers.ask(address, RequestCode.UPDATE_CONSUMER_OFFSET, header)

    async def reset(
        self, topic: str, group: str, time_ms: int, *, is_force: bool = True
    ) -> list[Reset]:
        """Lets the group go on at the first message stored at `time_ms` or later, or TO_THE_END.

        Running clients are told by the broker. A broker that leaves it to clients, and has none
        of the group, refuses; then the offsets are committed here, as mqadmin does, and without
        `is_force` only backwards. Brokers from 5.0 on reset themselves and always as told.
        """
        resets: list[Reset] = []
        route = await self._servers.route(topic)
        header = ResetOffsetHeader(topic=topic, group=group, timestamp=time_ms, is_force=is_force)
        for data in route.broker_datas:
            if (address := address_of(data)) is None:
                continue
            try:
                answer = await self._servers.ask(
                    address, RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header
                )
            except AnswerRefused as refused:
                if refused.code != ResponseCode.CONSUMER_NOT_ONLINE:
                    raise
                resets += await self._reset_offline(address, topic, group, time_ms, is_force)
                continue
            offsets = decode_reset_offsets(answer.body)
            resets += [Reset(queue=queue, offset=offset) for queue, offset in offsets.items()]
        return sorted(resets, key=lambda reset: reset.queue)

    async def reset_queue(self, address: str, queue: MessageQueue, group: str, offset: int) -> None:
        """Lets the group go on at one offset of one queue; running clients are told."""
        await self.set_offset(address, group, queue, offset)
        header = ResetOffsetHeader(
            topic=queue.topic,
            group=group,
            timestamp=0,
            queue_id=queue.queue_id,
            offset=offset,
            is_force=True,
        )
        await self._servers.ask(address, RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header)

    async def clone_offsets(self, source: str, target: str, topic: str) -> list[Reset]:
        """Gives `target` the offsets `source` has in a topic."""
        stats = await self.progress(source, topic)
        addresses = {
            data.broker_name: address_of(data)
            for data in (await self._servers.route(topic)).broker_datas
        }
        cloned: list[Reset] = []
        for queue, offsets in stats.offset_table.items():
            address = addresses.get(queue.broker_name)
            if queue.topic == topic and address is not None and offsets.consumer_offset >= 0:
                await self.set_offset(address, target, queue, offsets.consumer_offset)
                cloned.append(Reset(queue=queue, offset=offsets.consumer_offset))
        return cloned

    async def offset_at(self, address: str, queue: MessageQueue, time_ms: int) -> int:
        """The first offset stored at that time or later; after the newest for TO_THE_END."""
        topic, queue_id = queue.topic, queue.queue_id
        if time_ms == TO_THE_END:
            code: RequestCode = RequestCode.GET_MAX_OFFSET
            header: Struct = MaxOffsetHeader(topic=topic, queue_id=queue_id)
        else:
            code = RequestCode.SEARCH_OFFSET_BY_TIMESTAMP
            header = SearchOffsetHeader(topic=topic, queue_id=queue_id, timestamp=time_ms)
        answer = await self._servers.ask(address, code, header)
        return decode_header(OffsetResponse, answer.ext).offset

    async def _reset_offline(
        self, address: str, topic: str, group: str, time_ms: int, is_force: bool
    ) -> list[Reset]:
        known: dict[MessageQueue, int] = {}
        # A group that consumed nothing here yet is not known to the broker.
        with contextlib.suppress(AnswerRefused):
            stats = await self.progress_on(address, group, topic)
            known = {queue: one.consumer_offset for queue, one in stats.offset_table.items()}
        if not known:
            header = TopicStatsHeader(topic=topic)
            answer = await self._servers.ask(address, RequestCode.GET_TOPIC_STATS_INFO, header)
            table = decode_topic_stats(answer.body).offset_table
            known = {queue: one.min_offset for queue, one in table.items()}
        resets = []
        for queue, was in sorted(known.items()):
            wanted = await self.offset_at(address, queue, time_ms)
            if is_force or wanted <= was:
                await self.set_offset(address, group, queue, wanted)
            else:
                wanted = was
            resets.append(Reset(queue=queue, offset=wanted, was=was))
        return resets


__all__ = ["TO_THE_END", "Groups", "Reset"]
