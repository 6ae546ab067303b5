"""A broker: builds its parts, hands each what it needs, and answers by them.

No rule lives here. A verb is found in the part it is delegated to; what ends a turn, and in which
order, is in `end_turn`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from shutil import disk_usage
from typing import Final

from pyromq.api import ExpressDoor, Peers
from pyromq.broker.admin import DiskSpace, DiskSpaceOf, RuntimeInfo
from pyromq.broker.alarm import Alarm
from pyromq.broker.cleanup import Chore, Cleanup
from pyromq.broker.clients import Clients
from pyromq.broker.consumer_status import ConsumerStatus
from pyromq.broker.delays import Delays
from pyromq.broker.disk_guard import LOOK_INTERVAL_MS, DiskGuard
from pyromq.broker.express import Express
from pyromq.broker.groups import Groups
from pyromq.broker.journal import Journal
from pyromq.broker.locks import Locks
from pyromq.broker.offsets import LOG_PERIOD_MS, Offsets
from pyromq.broker.parked import ParkedPolls
from pyromq.broker.peers import AllPeers
from pyromq.broker.progress import Progress
from pyromq.broker.pull import Pulls
from pyromq.broker.query import Queries
from pyromq.broker.rebuild import WATCH_INTERVAL_MS, RebuildWatch
from pyromq.broker.relays import Relays
from pyromq.broker.replies import Replies
from pyromq.broker.reset_marks import ResetMarks
from pyromq.broker.resets import Resets
from pyromq.broker.retention import Retention
from pyromq.broker.retries import RandomBelow, Retries
from pyromq.broker.send import Sends
from pyromq.broker.stats import Stats
from pyromq.broker.store_turn import StoreTurn
from pyromq.broker.subscriptions import Subscriptions
from pyromq.broker.topics import Topics, TopicsChanged, UntilAnnounced
from pyromq.broker.upkeep import Upkeep
from pyromq.clock import Clock
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.config.remote import BROKER_KEYS, RemoteConfiguration, unkept
from pyromq.domain.unique_key import UniqueKeys
from pyromq.observe.counters import SAMPLE_INTERVAL_MS, BrokerCounters
from pyromq.store.engine import Engine
from pyromq.store.metadata import Metadata
from pyromq.turn import Turn
from pyromq.units import SECOND_MS
from pyromq.waiting import Latch

POLL_DEADLINE_INTERVAL_MS: Final = 100
"""So much later than asked for a long poll may end."""
CLIENT_SCAN_INTERVAL_MS: Final = 10 * SECOND_MS
LOCK_SWEEP_INTERVAL_MS: Final = 10 * SECOND_MS
DRAIN_TIMEOUT_MS: Final = 2 * SECOND_MS
"""Longest wait at the stop for the syncs of what is stored; a whole clean stop may take 5 s."""

_log = logging.getLogger(__name__)


class Broker:
    """A `BrokerApi` over an engine and a metadata journal. Belongs to the loop thread."""

    def __init__(
        self,
        *,
        engine: Engine,
        metadata: Metadata,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        clock: Clock,
        turn: Turn,
        store_host: bytes,
        on_topics_changed: TopicsChanged | None = None,
        until_announced: UntilAnnounced | None = None,
        random_below: RandomBelow = random.randrange,
        unique_keys: UniqueKeys | None = None,
        disk_space_of: DiskSpaceOf | None = None,
        configuration: RemoteConfiguration | None = None,
    ) -> None:
        """`store_host` is the same as the engine's: 4 or 16 address bytes and a 4-byte port.
        Without `configuration` what operators change of both settings is not kept."""
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        address = store_host[:-4]
        broker_ip = settings.current.broker_ip1 or str(ipaddress.ip_address(address))
        self._broker_address = f"{broker_ip}:{int.from_bytes(store_host[-4:])}"
        self._engine = engine
        self._settings = settings
        self._turn = turn
        self._clock = clock
        self._on_topics_changed = on_topics_changed or _ignore
        self._drained: asyncio.Event | None = None
        self._is_store_closed = False
        self.counters = BrokerCounters(clock.now_ms(), clock.monotonic_ms(), zone)
        self._store_turn = StoreTurn(engine, clock, self.counters)
        self._journal = Journal(metadata, turn)
        self._parked = ParkedPolls(engine)
        self._topics = Topics(
            metadata,
            self._journal,
            engine,
            self._parked,
            settings,
            self._topics_changed,
            until_announced or _told,
        )
        self._groups = Groups(metadata, self._journal, self._parked, settings)
        self._peers = AllPeers()
        self._clients = Clients(
            self._topics, self._groups, self._journal, settings, clock, self._peers
        )
        marks = ResetMarks(metadata, self._journal)
        self._offsets = Offsets(
            metadata, self._journal, engine, self._topics, self._groups, marks, self.counters
        )
        self._resets = Resets(
            metadata,
            self._journal,
            self._topics,
            self._groups,
            self._clients,
            self._offsets,
            marks,
            self._parked,
            settings,
            self._peers,
        )
        self._progress = Progress(
            metadata, engine, self._topics, self._clients, clock, self.counters
        )
        self._stats = Stats(clock, self.counters, settings)
        self._subscriptions = Subscriptions(
            metadata, engine, self._topics, self._clients, store_settings
        )
        self._consumer_status = ConsumerStatus(self._clients, self._peers)
        self._locks = Locks(self._topics, self._groups, metadata, self._journal, settings, clock)
        self._retries = Retries(
            engine,
            self._topics,
            self._groups,
            self._locks,
            self._journal,
            self._store_turn,
            settings,
            store_settings,
            clock,
            turn,
            self.counters,
            broker_ip=broker_ip,
            random_below=random_below,
        )
        self._sends = Sends(
            engine,
            self._topics,
            self._retries,
            self._journal,
            self._store_turn,
            settings,
            store_settings,
            clock,
            turn,
            self.counters,
            store_host=store_host,
            broker_ip=broker_ip,
            unique_keys=unique_keys
            or UniqueKeys(address, os.getpid(), random.getrandbits(32), zone),
            random_below=random_below,
        )
        self._express = Express(
            self._topics, self._store_turn, settings, store_settings, store_host=store_host
        )
        self._clients.on_consumers_changed = self._express.pullers_changed
        metadata.on_rules_changed = self._express.pullers_changed
        self._pulls = Pulls(
            engine,
            self._topics,
            self._groups,
            self._clients,
            self._offsets,
            self._parked,
            settings,
            store_settings,
            clock,
            self.counters,
            broker_ip=broker_ip,
        )
        self._queries = Queries(engine, store_settings)
        self._replies = Replies(
            engine,
            self._topics,
            self._sends,
            self._clients,
            self._journal,
            self._store_turn,
            settings,
            store_settings,
            clock,
            turn,
            self.counters,
            self._peers,
            store_host=store_host,
        )
        self._relays = Relays(
            self._topics, self._groups, self._clients, self._queries, settings, self._peers
        )
        self._delays = Delays(
            engine,
            metadata,
            self._topics.table,
            store_settings.current.delay_levels_ms,
            clock,
            turn,
            self.counters,
        )
        space_of = disk_space_of or _disk_space
        self._retention = Retention(engine, store_settings, clock, zone, space_of)
        self._disk_guard = DiskGuard(engine, metadata, store_settings, space_of)
        self._rebuild_watch = RebuildWatch(engine, clock)
        self._store_turn.on_write_failed = self._disk_guard.look
        self._runtime_info = RuntimeInfo(
            engine,
            settings,
            store_settings,
            clock,
            self.counters,
            space_of,
            self._delays.progress,
        )
        self._upkeep = Upkeep(
            engine,
            self._topics,
            self._groups,
            settings,
            store_settings,
            configuration or unkept([settings, store_settings], BROKER_KEYS, clock.now_ms),
        )
        self._store_settings = store_settings
        self._commit_alarm = Alarm(clock, self._expire_commits)
        """Rings when somebody has waited for the disk as long as he may."""
        self.cleanup = Cleanup(
            clock,
            (
                Chore("long poll deadlines", POLL_DEADLINE_INTERVAL_MS, self._expire_polls),
                Chore("client expiry", CLIENT_SCAN_INTERVAL_MS, self._expire_clients),
                Chore("lock expiry", LOCK_SWEEP_INTERVAL_MS, self._locks.sweep),
                Chore("disk space", LOOK_INTERVAL_MS, self._disk_guard.look),
                Chore("rebuild", WATCH_INTERVAL_MS, self._rebuild_watch.look),
                Chore("rates", SAMPLE_INTERVAL_MS, self._sample),
                Chore("commit log lines", LOG_PERIOD_MS, self._offsets.begin_log_period),
            ),
            (self._delays.alarm, self._retention.alarm, self._commit_alarm),
        )
        store_settings.on_change(lambda _old, _new: self._expire_commits())

        # The verbs of a broker (api/), each bound to the part that does it.
        self.send = self._sends.send
        self.send_batch = self._sends.send_batch
        self.store = self._sends.store
        self.finish = self._sends.finish
        self.hold = self._sends.hold
        self.message_id_prefix = self._sends.message_id_prefix
        self.pull = self._pulls.pull
        self.query_by_key = self._queries.by_key
        self.message_at = self._queries.at
        self.send_back = self._retries.send_back
        self.reply = self._replies.reply
        self.express_terms = self._express.terms
        self.express_topic = self._express.topic
        self.express_pull = self._pulls.express
        self.express_pulled = self._pulls.express_pulled
        self.pull_parked = self._pulls.pull_parked

        self.consumer_offset = self._offsets.committed
        self.commit_offset = self._offsets.commit
        self.max_offset = self._offsets.max
        self.min_offset = self._offsets.min
        self.offset_by_time = self._offsets.by_time
        self.earliest_store_time = self._offsets.earliest_store_time
        self.all_consumer_offsets = self._offsets.all
        self.reset_offsets = self._resets.reset
        self.clone_offsets = self._resets.clone
        self.consumer_status = self._consumer_status.of

        self.topic_stats = self._progress.topic_stats
        self.consume_stats = self._progress.consume_stats
        self.all_consume_stats = self._progress.all_consume_stats
        self.consume_times = self._progress.consume_times
        self.correction_offsets = self._progress.correction_offsets
        self.stats_of = self._stats.of
        self.queue_entries = self._subscriptions.queue_entries
        self.topics_of_group = self._subscriptions.topics_of
        self.subscription = self._subscriptions.find
        self.check_subscription = self._subscriptions.check
        self.all_delay_offsets = self._delays.offsets

        self.heartbeat = self._clients.heartbeat
        self.unregister_client = self._clients.unregister
        self.consumer_ids = self._clients.consumer_ids
        self.consumer_connections = self._clients.consumer_connections
        self.producer_connections = self._clients.producer_connections
        self.all_producers = self._clients.all_producers
        self.lock_queues = self._locks.lock
        self.unlock_queues = self._locks.unlock
        self.consumer_running_info = self._relays.running_info
        self.consume_directly = self._relays.consume_directly

        self.put_topic = self._topics.put
        self.put_topics = self._topics.put_all
        self.delete_topic = self._topics.delete
        self.topic = self._topics.config
        self.topics = self._topics.all
        self.system_topics = self._topics.system_names
        self.put_group = self._groups.put
        self.put_groups = self._groups.put_all
        self.delete_group = self._groups.delete
        self.group = self._groups.config
        self.groups = self._groups.all
        self.runtime_info = self._runtime_info.table
        self.remove_expired_files = self._retention.remove_expired
        self.clean_queue_files = self._retention.clean_queues
        self.configuration = self._upkeep.configuration
        self.update_configuration = self._upkeep.update_configuration
        self.clean_unused_topics = self._upkeep.clean_unused_topics
        self.set_consume_mode = self._upkeep.set_consume_mode
        self.log_end = self._upkeep.log_end
        self.put_cold_read_limit = self._upkeep.put_cold_read_limit
        self.delete_cold_read_limit = self._upkeep.delete_cold_read_limit
        self.cold_read_limits = self._upkeep.cold_read_limits

        # Told by the name servers.
        self.take_order_topics = self._topics.take_order_topics

    # --- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Takes over what the process before this one left, and makes the system topics and groups
        exist; before the first request. May raise ServiceUnavailable and StoreFailed."""
        self._topics.finish_deletions()
        self._topics.create_missing_system_topics()
        self._groups.create_missing_system_groups()
        self._delays.open()
        self._locks.open()
        self._disk_guard.look()
        self._rebuild_watch.look()

    def start(self) -> None:
        """Starts the background loops; needs a running loop, and `open` before."""
        self.cleanup.start()

    async def stop(self) -> None:
        """Stores nothing more, ends long polls and loops, and lets what is stored be answered.

        Engine and metadata stay open: who opened them closes them.
        """
        self._sends.close()
        self._express.close()
        self._retries.close()
        self._parked.close()
        self._delays.close()
        await self.cleanup.stop()
        self._turn.end()
        if self._waiter_count:
            self._drained = asyncio.Event()
            try:
                async with asyncio.timeout(DRAIN_TIMEOUT_MS / 1000):
                    await self._drained.wait()
            except TimeoutError:
                _log.warning("%d requests were not answered at the stop", self._waiter_count)

    def store_closed(self) -> None:
        """The engine is closed, all is on disk: the metadata, still open, notes what that means."""
        self._is_store_closed = True
        self._delays.settle()

    def stages(self) -> Sequence[Callable[[], None]]:
        """What ends a turn: log, journal, each with who waited for it, and who waits for more.

        They run each for itself, so that a fault in one does not keep the others from it.
        """
        return self._end_log_turn, self._end_delays_turn, self._end_journal_turn, self._wake

    def end_short(self) -> bool:
        """Ends a turn in which only the express lane had something to do. False: there is more, so
        that all stages have to run."""
        if self._is_store_closed or self._drained is not None:
            return False
        if self._delays.has_deliveries or not self._store_turn.end_short():
            return False
        if not self._store_turn.is_settled and self._commit_alarm.due_ms is None:
            self._set_commit_alarm()
        return True

    def end_turn(self) -> None:
        """All stages."""
        for stage in self.stages():
            stage()

    def _end_log_turn(self) -> None:
        if not self._is_store_closed:
            self._store_turn.end_turn()

    def _end_delays_turn(self) -> None:
        if not self._is_store_closed:
            self._delays.end_turn()

    def _end_journal_turn(self) -> None:
        self._journal.end_turn(self._clock.monotonic_ms())
        nobody_waits = self._store_turn.is_settled and not self._journal.has_waiters
        if not nobody_waits and self._commit_alarm.due_ms is None:
            self._set_commit_alarm()

    def _wake(self) -> None:
        if self._is_store_closed:
            return
        arrivals = self._express.take_arrivals(self._engine, self._clock.monotonic_ms())
        if arrivals:
            # First who would never ask again: a long poll has a deadline.
            self._delays.arrived(arrivals)
            self._parked.wake(arrivals)
        if self._drained is not None and not self._waiter_count:
            self._drained.set()

    def add_peers(self, peers: Peers) -> None:
        """A door through which clients can be told something by the broker itself."""
        self._peers.add(peers)

    def add_express(self, lane: ExpressDoor) -> None:
        """A door's express lane; one at most."""
        self._express.add(lane)
        self._parked.add_lane(lane)

    @property
    def broker_name(self) -> str:
        return self._settings.current.broker_name

    @property
    def broker_address(self) -> str:
        """`ip:port` as clients are told."""
        return self._broker_address

    @property
    def cluster_name(self) -> str:
        return self._settings.current.broker_cluster_name

    @property
    def region_id(self) -> str:
        return self._settings.current.region_id

    @property
    def is_traced(self) -> bool:
        return self._settings.current.trace_on

    @property
    def _waiter_count(self) -> int:
        """Requests that wait for their promise."""
        return self._store_turn.waiter_count + self._journal.waiter_count

    @property
    def parked_count(self) -> int:
        """Long polls held now."""
        return len(self._parked)

    # --- verbs that need more than one part -------------------------------------------------------

    def connection_lost(self, connection_id: int) -> None:
        self._parked.drop_connection(connection_id)
        self._clients.connection_lost(connection_id)

    def groups_of_topic(self, topic: str) -> Sequence[str]:
        committed = self._offsets.groups_of_topic(topic)
        return sorted(self._clients.groups_subscribed_to(topic).union(committed))

    def _topics_changed(self, names: Sequence[str]) -> None:
        self._express.topics_changed(names)
        self._on_topics_changed(names)

    # --- chores ---------------------------------------------------------------------------------

    def _expire_polls(self) -> None:
        self._parked.expire(self._clock.monotonic_ms())

    def _expire_commits(self) -> None:
        timeout_ms = self._store_settings.current.sync_flush_timeout_ms
        self._store_turn.expire(timeout_ms)
        self._journal.expire(self._clock.monotonic_ms(), timeout_ms)
        self._set_commit_alarm()

    def _set_commit_alarm(self) -> None:
        """For who waits longest now. When it rings he may have been let go long since: then it is
        set for the next. So it costs a timer per timeout, not one per turn."""
        since_ms = [
            oldest_ms
            for oldest_ms in (self._store_turn.oldest_ms, self._journal.oldest_ms)
            if oldest_ms is not None
        ]
        timeout_ms = self._store_settings.current.sync_flush_timeout_ms
        self._commit_alarm.set(min(since_ms) + timeout_ms if since_ms else None)

    def _expire_clients(self) -> None:
        self._clients.expire()

    def _sample(self) -> None:
        self.counters.sample(self._clock.now_ms(), self._clock.monotonic_ms())


def _ignore(names: Sequence[str]) -> None:
    """Nobody wants to know of changed topics."""
    del names


def _told() -> Latch[None]:
    """There is nobody to wait for."""
    latch: Latch[None] = Latch()
    latch.set(None)
    return latch


def _disk_space(root: Path) -> DiskSpace | None:
    try:
        usage = disk_usage(root)
    except OSError:
        return None  # the directory does not exist: a store in memory
    return DiskSpace(total=usage.used + usage.free, free=usage.free)


__all__ = ["Broker"]
