"""The broker's configuration as operators read and change it (codes 25 and 26).

Source: updateBrokerConfig and getBrokerConfig of processor.AdminBrokerProcessor of
org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pyromq.broker.topics import Topics
from pyromq.config import BrokerConfig, Settings
from pyromq.config.remote import RemoteConfiguration
from pyromq.domain.version import DataVersion

_log = logging.getLogger(__name__)


class Configuration:
    """Changes settings and tells who must know."""

    def __init__(
        self, remote: RemoteConfiguration, settings: Settings[BrokerConfig], topics: Topics
    ) -> None:
        self._remote = remote
        self._settings = settings
        self._topics = topics

    def texts(self) -> tuple[DataVersion, Mapping[str, str]]:
        remote = self._remote
        version = DataVersion(counter=remote.change_count, timestamp=remote.changed_at_ms)
        return version, remote.texts()

    async def update(self, values: Mapping[str, str]) -> None:
        """Name servers hear of another permission before this returns: routes carry it."""
        before = self._settings.current
        await self._remote.update(values)
        if values:
            _log.info("configuration changed: %s", dict(values))
        now = self._settings.current
        is_opened = now.auto_create_topic_enable and not before.auto_create_topic_enable
        if is_opened:
            self._topics.create_missing_system_topics()  # TBW102, the image of new topics
        if is_opened or now.broker_permission != before.broker_permission:
            await self._topics.announce_all()


__all__ = ["Configuration"]
