"""Whatever brokers do in whatever order: routes never lead to a broker that is not alive."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyromq.config import NamesrvConfig, Settings
from pyromq.domain.route import QueueData
from pyromq.domain.version import DataVersion
from pyromq.errors import RequestFailed
from pyromq.namesrv.brokers import SILENCE_MS_MAX
from pyromq.namesrv.routes import RouteTable
from tests.unit.namesrv.builders import registration

NAMES = st.sampled_from(["a", "b"])
CLUSTERS = st.sampled_from(["c", "d"])
ADDRS = st.sampled_from(["h:1", "h:2", "h:3"])
IDS = st.integers(0, 2)
CONNECTIONS = st.integers(1, 3)
TOPICS = st.lists(st.sampled_from(["t", "u", "v"]), unique=True)


class RoutesMachine(RuleBasedStateMachine):
    """Keeps its own, simple notion of who is alive: the last sign of each (name, address)."""

    def __init__(self) -> None:
        super().__init__()
        config = NamesrvConfig(support_acting_master=True, route_count_max=4)
        self.routes = RouteTable(Settings(config))
        self.now_ms = 0
        self.alive: dict[tuple[str, str], tuple[int, int]] = {}
        """Who registered → (time of the last sign, connection)."""

    @rule(
        name=NAMES,
        cluster=CLUSTERS,
        addr=ADDRS,
        broker_id=IDS,
        connection=CONNECTIONS,
        topics=TOPICS,
        version=st.integers(0, 2),
        epoch=st.integers(0, 1),
        acting=st.sampled_from([None, False, True]),
    )
    def register(
        self,
        name: str,
        cluster: str,
        addr: str,
        broker_id: int,
        connection: int,
        topics: list[str],
        version: int,
        epoch: int,
        acting: bool | None,
    ) -> None:
        request = registration(
            *topics,
            broker_name=name,
            cluster_name=cluster,
            broker_addr=addr,
            broker_id=broker_id,
            data_version=DataVersion(version, epoch, 0),
            enable_acting_master=acting,
        )
        before = self.snapshot()
        try:
            self.routes.register(request, connection, self.now_ms)
        except RequestFailed:
            assert self.snapshot() == before, "a refusal changed something"
            return
        if self.routes.data_version(cluster, name, addr) is None:
            self.alive.pop((name, addr), None)  # the loser of a failover
            return
        self.alive[name, addr] = (self.now_ms, connection)
        assert self.routes.member_addrs(name)[broker_id] == addr

    @rule(name=NAMES, addr=ADDRS, broker_id=IDS)
    def unregister(self, name: str, addr: str, broker_id: int) -> None:
        self.routes.unregister(name, addr, broker_id)
        self.alive.pop((name, addr), None)

    @rule(connection=CONNECTIONS)
    def lose(self, connection: int) -> None:
        self.routes.connection_lost(connection)
        self.alive = {k: v for k, v in self.alive.items() if v[1] != connection}

    @rule(name=NAMES, cluster=CLUSTERS, addr=ADDRS)
    def refresh(self, name: str, cluster: str, addr: str) -> None:
        if self.routes.data_version(cluster, name, addr) is not None:
            self.alive[name, addr] = (self.now_ms, self.alive[name, addr][1])
        self.routes.refresh(cluster, name, addr, self.now_ms)

    @rule(wait_ms=st.integers(0, SILENCE_MS_MAX))
    def expire(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        silent, _ = self.routes.expire(self.now_ms)
        expected = {k for k, v in self.alive.items() if v[0] + SILENCE_MS_MAX < self.now_ms}
        assert set(silent) == expected
        self.alive = {k: v for k, v in self.alive.items() if k not in expected}

    @rule(topic=st.sampled_from(["t", "u", "w"]), name=NAMES)
    def register_topic(self, topic: str, name: str) -> None:
        queues = QueueData(broker_name=name, read_queue_nums=1, write_queue_nums=1, perm=6)
        try:
            taken = self.routes.register_topic(topic, [queues])
        except RequestFailed:
            return
        assert taken == bool(self.routes.member_addrs(name))

    @rule(topic=st.sampled_from(["t", "u"]), cluster=st.sampled_from(["c", None]))
    def delete_topic(self, topic: str, cluster: str | None) -> None:
        self.routes.delete_topic(topic, cluster)

    @rule(name=NAMES, is_wiped=st.booleans())
    def change_perm(self, name: str, is_wiped: bool) -> None:
        change = self.routes.wipe_write_perm if is_wiped else self.routes.add_write_perm
        count = change(name)
        assert count == sum(name in brokers for brokers in self.snapshot()[1].values())

    @invariant()
    def every_member_of_a_group_is_alive(self) -> None:
        for name, broker in self.routes.cluster_info().broker_addr_table.items():
            assert broker.broker_addrs, "a group without members"
            addrs = list(broker.broker_addrs.values())
            assert len(set(addrs)) == len(addrs), "an address with two ids"
            assert {(name, addr) for addr in addrs} <= self.alive.keys()

    @invariant()
    def every_route_leads_to_a_group(self) -> None:
        groups = self.routes.cluster_info().broker_addr_table
        route_count = 0
        for topic, brokers in self.snapshot()[1].items():
            assert brokers, f"topic {topic} without queues is listed"
            assert brokers.keys() <= groups.keys()
            route_count += len(brokers)
        assert self.routes.route_count == route_count <= 4
        assert self.routes.broker_count == len(self.alive)

    @invariant()
    def clusters_list_every_group_once(self) -> None:
        info = self.routes.cluster_info()
        listed = [name for names in info.cluster_addr_table.values() for name in names]
        assert sorted(listed) == sorted(info.broker_addr_table)
        for cluster, names in info.cluster_addr_table.items():
            assert all(info.broker_addr_table[name].cluster == cluster for name in names)

    @invariant()
    def topics_of_clusters_are_all_topics(self) -> None:
        by_cluster = {t for c in ("c", "d") for t in self.routes.topics_of_cluster(c)}
        assert by_cluster == set(self.routes.topics())

    def snapshot(self) -> tuple[object, dict[str, dict[str, QueueData]], int]:
        queues = {}
        for topic in self.routes.topics():
            route = self.routes.route(topic)
            assert route is not None
            queues[topic] = {item.broker_name: item for item in route.queue_datas}
        return self.routes.cluster_info(), queues, self.routes.broker_count


RoutesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRoutes = RoutesMachine.TestCase
