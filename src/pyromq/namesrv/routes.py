"""RouteTable: which brokers are alive and which topics they hold.

Follows RouteInfoManager of org.apache.rocketmq.namesrv 5.5.0. Time is an argument, sockets are
numbers; what other brokers should hear of a change is returned, not sent.

Three tables belong together and are only changed here:

    groups   broker name → ids and addresses     a group without members does not exist
    live     (broker name, address) → last sign  every address in a group has an entry
    queues   topic → broker name → QueueData     every broker name in it has a group
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from pyromq.config import NamesrvConfig, Settings
from pyromq.domain.route import (
    MASTER_ID,
    BrokerData,
    ClusterInfo,
    QueueData,
    TopicQueueMapping,
    TopicRoute,
)
from pyromq.domain.topic import PERM_READ, PERM_WRITE, TopicConfig
from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.namesrv.brokers import (
    BrokerGroup,
    LiveBroker,
    MinBrokerIdChange,
    Registration,
    check_texts,
)

UNIT_FLAG: Final = 1
UNIT_SUB_FLAG: Final = 2


class Accepted(NamedTuple):
    """Outcome of a registration: for a slave where its master is, and who must be told."""

    master_addr: str | None
    ha_server_addr: str | None
    change: MinBrokerIdChange | None


class RouteTable:
    """The routes of one name server."""

    def __init__(self, config: Settings[NamesrvConfig]) -> None:
        self._config = config
        self._groups: dict[str, BrokerGroup] = {}
        self._live: dict[tuple[str, str], LiveBroker] = {}
        self._queues: dict[str, dict[str, QueueData]] = {}
        self._topics_of: dict[str, set[str]] = {}
        """Broker name → topics in `_queues`: a broker leaves without a look at every topic."""
        self._mappings: dict[str, dict[str, TopicQueueMapping]] = {}
        self._by_connection: dict[int, set[tuple[str, str]]] = {}
        self._route_count = 0

    @property
    def route_count(self) -> int:
        """Pairs of topic and broker group."""
        return self._route_count

    @property
    def broker_count(self) -> int:
        return len(self._live)

    # Brokers come and go.

    def register(self, registration: Registration, connection_id: int, now_ms: int) -> Accepted:
        """Takes over what a broker says of itself; a refusal changes nothing."""
        group = self._groups.get(registration.broker_name)
        addrs = {} if group is None else group.addrs
        addr, broker_id = registration.broker_addr, registration.broker_id
        self._check(registration)
        if self._is_outdated(registration, addrs.get(broker_id)):
            # Apache says success to the loser of a failover, and forgets it.
            return Accepted(None, None, self.unregister(registration.broker_name, addr))
        if broker_id not in addrs and len(registration.topics) == 1:
            # One topic is a change to an earlier registration, which this server did not get.
            raise RequestFailed("register broker failed")
        previous_min = min(addrs, default=None)
        is_first = group is None or not addrs.get(broker_id)
        if group is None:
            group = BrokerGroup(registration.cluster_name, registration.broker_name)
            self._groups[group.name] = group
        group.cluster_name = registration.cluster_name
        group.enable_acting_master = bool(registration.enable_acting_master)
        group.zone_name = registration.zone_name
        for old_id in [key for key, value in group.addrs.items() if value == addr]:
            del group.addrs[old_id]
        group.addrs[broker_id] = addr
        self._take_topics(registration, group, is_first=is_first)
        self._set_live(registration, connection_id, now_ms)
        change = None
        if previous_min is not None and broker_id < previous_min:
            others = [value for key, value in group.addrs.items() if key != broker_id]
            change = _change(group, None, registration.ha_server_addr, others or [addr])
        master_addr, ha_server_addr = self._master_of(registration, group)
        return Accepted(master_addr, ha_server_addr, change)

    def unregister(
        self, broker_name: str, broker_addr: str, broker_id: int | None = None
    ) -> MinBrokerIdChange | None:
        """A broker leaves: its routes go with it. Unknown ones are no mistake.

        `broker_id` is what the broker says; without one the table's own counts.
        """
        self._forget(broker_name, broker_addr)
        group = self._groups.get(broker_name)
        if group is None:
            return None
        own_id = next((key for key, value in group.addrs.items() if value == broker_addr), None)
        if own_id is None:
            return None
        was_min = group.min_broker_id == (own_id if broker_id is None else broker_id)
        del group.addrs[own_id]
        if not group.addrs:
            self._drop_group(broker_name)
            return None
        if group.enable_acting_master and not group.has_master:
            self._change_perms(broker_name, _without_write)
        if not was_min or not group.enable_acting_master:
            return None
        return _change(group, broker_addr, None, list(group.addrs.values()))

    def connection_lost(self, connection_id: int) -> list[MinBrokerIdChange]:
        """The connection a broker registered by is closed: the broker counts as gone."""
        lost = self._by_connection.get(connection_id, set())
        return self._drop(sorted(lost))

    def expire(self, now_ms: int) -> tuple[list[tuple[str, str]], list[MinBrokerIdChange]]:
        """Drops the brokers that were silent for too long: (name, address) of each."""
        silent = [key for key, live in self._live.items() if live.is_silent(now_ms)]
        return silent, self._drop(silent)

    def refresh(self, cluster_name: str, broker_name: str, broker_addr: str, now_ms: int) -> None:
        """A sign of life."""
        live = self._live.get((broker_name, broker_addr))
        if live is not None and live.cluster_name == cluster_name:
            live.last_sign_ms = now_ms

    def data_version(
        self, cluster_name: str, broker_name: str, broker_addr: str
    ) -> DataVersion | None:
        """The version of the broker's topics known here."""
        live = self._live.get((broker_name, broker_addr))
        if live is None or live.cluster_name != cluster_name:
            return None
        return live.data_version

    # Topics are changed by hand.

    def register_topic(self, topic: str, queue_datas: Sequence[QueueData]) -> bool:
        """Adds or replaces routes of one topic; nothing, if one names an unknown broker."""
        if not queue_datas or any(q.broker_name not in self._groups for q in queue_datas):
            return False
        self._check_room(
            sum(1 for q in queue_datas if topic not in self._topics_of.get(q.broker_name, ()))
        )
        for queues in queue_datas:
            self._put(topic, queues)
        return True

    def delete_topic(self, topic: str, cluster_name: str | None) -> None:
        """Forgets a topic's routes, in one cluster or everywhere."""
        for broker_name in list(self._queues.get(topic, ())):
            if not cluster_name or self._groups[broker_name].cluster_name == cluster_name:
                self._remove(topic, broker_name)

    def wipe_write_perm(self, broker_name: str) -> int:
        """Takes the write permission from all routes of a broker; how many there are."""
        return self._change_perms(broker_name, _without_write)

    def add_write_perm(self, broker_name: str) -> int:
        """Lets all routes of a broker be read and written; how many there are."""
        return self._change_perms(broker_name, lambda _perm: PERM_READ | PERM_WRITE)

    # Questions.

    def route(self, topic: str) -> TopicRoute | None:
        """All of a topic's queues and the brokers that hold them; None if nobody does."""
        queues = self._queues.get(topic)
        if not queues:
            return None
        names = sorted(queues)
        brokers = [self._groups[name].data() for name in names]
        mappings = self._mappings.get(topic)
        return TopicRoute(
            queue_datas=[queues[name] for name in names],
            broker_datas=brokers,
            filter_server_table=self._filter_servers(brokers),
            topic_queue_mapping_by_broker=dict(mappings) if mappings else None,
        )

    def cluster_info(self) -> ClusterInfo:
        clusters: dict[str, list[str]] = {}
        for name in sorted(self._groups):
            clusters.setdefault(self._groups[name].cluster_name, []).append(name)
        return ClusterInfo(
            broker_addr_table={name: self._groups[name].data() for name in sorted(self._groups)},
            cluster_addr_table=clusters,
        )

    def member_addrs(self, broker_name: str) -> dict[int, str]:
        group = self._groups.get(broker_name)
        return {} if group is None else dict(sorted(group.addrs.items()))

    def topics(self) -> list[str]:
        return list(self._queues)

    def topics_of_cluster(self, cluster_name: str) -> list[str]:
        found: dict[str, None] = {}
        for group in self._groups.values():
            if group.cluster_name == cluster_name:
                found.update(dict.fromkeys(sorted(self._topics_of.get(group.name, ()))))
        return list(found)

    def system_topics(self) -> tuple[list[str], str | None]:
        """Names of clusters and brokers, which are topics too, and one broker to ask for more."""
        names: dict[str, None] = {}
        broker_addr = None
        for group in self._groups.values():
            names[group.cluster_name] = None
            names[group.name] = None
            broker_addr = broker_addr or group.addrs[min(group.addrs)]
        return list(names), broker_addr

    def topics_with_flags(self, wanted: int, unwanted: int) -> list[str]:
        """Topics by their unit flags, judged as in Apache by one of their brokers."""
        return [
            topic
            for topic, queues in self._queues.items()
            if (flags := next(iter(queues.values())).topic_sys_flag) & wanted == wanted
            and not flags & unwanted
        ]

    # Within.

    def _check(self, registration: Registration) -> None:
        check_texts(registration)
        key = (registration.broker_name, registration.broker_addr)
        count_max = self._config.current.broker_count_max
        if key not in self._live and len(self._live) >= count_max:
            raise RequestFailed(f"{count_max} brokers are registered, no more are taken")
        known = self._topics_of.get(registration.broker_name, set())
        self._check_room(sum(1 for topic in registration.topics if topic not in known))

    def _check_room(self, new_count: int) -> None:
        count_max = self._config.current.route_count_max
        if self._route_count + new_count > count_max:
            raise RequestFailed(
                f"{self._route_count} routes are kept, {new_count} more would exceed {count_max}"
            )

    def _is_outdated(self, registration: Registration, holder_addr: str | None) -> bool:
        """Whether another broker holds this id with a newer controller epoch."""
        if holder_addr is None or holder_addr == registration.broker_addr:
            return False
        holder = self._live.get((registration.broker_name, holder_addr))
        if holder is None:
            return False
        return holder.data_version.state_version > registration.data_version.state_version

    def _take_topics(
        self, registration: Registration, group: BrokerGroup, *, is_first: bool
    ) -> None:
        """Topics are the master's, or those of the smallest id that replaces it."""
        is_prime_slave = (
            registration.enable_acting_master is not None
            and not registration.is_master
            and registration.broker_id == group.min_broker_id
        )
        if not registration.is_master and not is_prime_slave:
            return
        known = self.data_version(group.cluster_name, group.name, registration.broker_addr)
        is_changed = is_first or known != registration.data_version
        # A table of one topic is a change, not the whole: the others are not gone.
        is_whole = len(registration.topics) != 1
        if (
            self._config.current.delete_topic_with_broker_registration
            and not registration.mappings
            and is_whole
        ):
            for topic in self._topics_of.get(group.name, set()) - registration.topics.keys():
                self._remove(topic, group.name)
        own = self._topics_of.get(group.name, set())
        is_read_only = is_prime_slave and group.enable_acting_master
        for topic, config in registration.topics.items():
            if is_changed or topic not in own:
                self._put(topic, _queue_data(group.name, config, is_read_only=is_read_only))
        if is_changed:
            for topic, mapping in registration.mappings.items():
                if topic in self._queues and mapping.bname == group.name:
                    self._mappings.setdefault(topic, {})[group.name] = mapping

    def _set_live(self, registration: Registration, connection_id: int, now_ms: int) -> None:
        key = (registration.broker_name, registration.broker_addr)
        self._forget(*key)
        self._live[key] = LiveBroker(registration, connection_id, now_ms)
        self._by_connection.setdefault(connection_id, set()).add(key)

    def _forget(self, broker_name: str, broker_addr: str) -> LiveBroker | None:
        key = (broker_name, broker_addr)
        live = self._live.pop(key, None)
        if live is not None:
            keys = self._by_connection[live.connection_id]
            keys.remove(key)
            if not keys:
                del self._by_connection[live.connection_id]
        return live

    def _drop(self, keys: Iterable[tuple[str, str]]) -> list[MinBrokerIdChange]:
        changes = [self.unregister(*key) for key in keys]
        return [change for change in changes if change is not None]

    def _master_of(
        self, registration: Registration, group: BrokerGroup
    ) -> tuple[str | None, str | None]:
        """Where a slave finds its master: address and address for replication."""
        if registration.is_master:
            return None, None
        master_addr = group.addrs.get(MASTER_ID)
        if master_addr is None:
            return None, None
        live = self._live.get((group.name, master_addr))
        if live is None:
            return None, None
        return master_addr, live.ha_server_addr

    def _drop_group(self, broker_name: str) -> None:
        del self._groups[broker_name]
        for topic in list(self._topics_of.get(broker_name, ())):
            self._remove(topic, broker_name)

    def _put(self, topic: str, queues: QueueData) -> None:
        by_broker = self._queues.setdefault(topic, {})
        if queues.broker_name not in by_broker:
            self._route_count += 1
            self._topics_of.setdefault(queues.broker_name, set()).add(topic)
        by_broker[queues.broker_name] = queues

    def _remove(self, topic: str, broker_name: str) -> None:
        """A static topic's mapping stays as long as the topic: clients count its queues by it."""
        by_broker = self._queues[topic]
        del by_broker[broker_name]
        self._route_count -= 1
        topics = self._topics_of[broker_name]
        topics.remove(topic)
        if not topics:
            del self._topics_of[broker_name]
        if not by_broker:
            del self._queues[topic]
            self._mappings.pop(topic, None)

    def _change_perms(self, broker_name: str, change: Callable[[int], int]) -> int:
        topics = self._topics_of.get(broker_name, set())
        for topic in topics:
            queues = self._queues[topic][broker_name]
            self._queues[topic][broker_name] = msgspec.structs.replace(
                queues, perm=change(queues.perm)
            )
        return len(topics)

    def _filter_servers(self, brokers: Sequence[BrokerData]) -> dict[str, list[str]]:
        found = {}
        for broker in brokers:
            for addr in broker.broker_addrs.values():
                live = self._live.get((broker.broker_name, addr))
                if live is not None and live.filter_servers:
                    found[addr] = list(live.filter_servers)
        return found


def _change(
    group: BrokerGroup, offline_addr: str | None, ha_addr: str | None, notify: Sequence[str]
) -> MinBrokerIdChange:
    smallest = min(group.addrs)
    return MinBrokerIdChange(
        min_broker_id=smallest,
        min_broker_addr=group.addrs[smallest],
        offline_broker_addr=offline_addr,
        ha_broker_addr=ha_addr,
        notify=tuple(notify),
    )


def _queue_data(broker_name: str, config: TopicConfig, *, is_read_only: bool) -> QueueData:
    return QueueData(
        broker_name=broker_name,
        read_queue_nums=config.read_queue_nums,
        write_queue_nums=config.write_queue_nums,
        perm=_without_write(config.perm) if is_read_only else config.perm,
        topic_sys_flag=config.topic_sys_flag,
    )


def _without_write(perm: int) -> int:
    return perm & ~PERM_WRITE


__all__ = [
    "UNIT_FLAG",
    "UNIT_SUB_FLAG",
    "Accepted",
    "RouteTable",
]
