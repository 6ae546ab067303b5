"""What keeps a broker going, put together: the verbs of `api/upkeep.py`."""

from __future__ import annotations

from pyromq.broker.cold_reads import ColdReadLimits
from pyromq.broker.configuration import Configuration
from pyromq.broker.consume_mode import ConsumeMode
from pyromq.broker.groups import Groups
from pyromq.broker.topics import Topics
from pyromq.broker.unused_topics import UnusedTopics
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.config.remote import RemoteConfiguration
from pyromq.store.engine import Engine
from pyromq.units import LogOffset


class Upkeep:
    """The parts; each verb is one of theirs."""

    def __init__(
        self,
        engine: Engine,
        topics: Topics,
        groups: Groups,
        settings: Settings[BrokerConfig],
        store_settings: Settings[StoreConfig],
        configuration: RemoteConfiguration,
    ) -> None:
        self._engine = engine
        own = Configuration(configuration, settings, topics)
        limits = ColdReadLimits()
        self.configuration = own.texts
        self.update_configuration = own.update
        self.clean_unused_topics = UnusedTopics(engine, topics, store_settings).clean
        self.set_consume_mode = ConsumeMode(topics, groups).set
        self.put_cold_read_limit = limits.put
        self.delete_cold_read_limit = limits.delete
        self.cold_read_limits = limits.all

    def log_end(self) -> LogOffset:
        return self._engine.positions().written


__all__ = ["Upkeep"]
