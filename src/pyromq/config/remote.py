"""What an operator may change from afar (codes 25 and 318), and how such a change is made.

Apache takes every key that is not on a short black list; CVE-2023-33246 and CVE-2023-37582 were
keys that named a command and a path. Here a key must be on a list of its own. None on it is a path,
a class, a command, an address or a port; none makes an acknowledged message less safe; and all are
read at each use, so that a change counts at once.

A change is checked as a whole, then kept where the next start finds it, then swapped in. What
cannot be kept does not count.

Source: remoting.Configuration, AdminBrokerProcessor and DefaultRequestProcessor of Apache 5.5.0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from pyromq.config.prop import convert, properties_of
from pyromq.config.settings import Settings
from pyromq.config.sources import text_of
from pyromq.errors import ConfigInvalid, InvalidParameter, NoPermission
from pyromq.waiting import Latch

_BROKER: Final = """
    autoCreateSubscriptionGroup autoCreateTopicEnable brokerPermission channelExpiredTimeout
    cleanFileForciblyEnable cleanResourceInterval clearRetryTopicWhenDeleteTopic
    deleteCommitLogFilesInterval deleteConsumeQueueFilesInterval deleteFileBatchMax deleteWhen
    diskMaxUsedSpaceRatio diskSpaceCleanForciblyRatio diskSpaceWarningLevelRatio
    enableMixedMessageType enableSingleTopicRegister fileReservedTime forceRegister
    litePullMessageEnable longPollingEnable maxMsgsNumBatch maxTransferBytesOnMessageInMemory
    maxTransferCountOnMessageInMemory notifyConsumerIdsChangedEnable regionId
    registerBrokerTimeoutMills registerNameServerPeriod shortPollingTimeMills
    startAcceptSendRequestTimeStamp storeReplyMessageEnable syncFlushTimeout traceOn
    useServerSideResetOffset validateSystemTopicWhenUpdateTopic
"""
_NAMESRV: Final = """
    deleteTopicWithBrokerRegistration enableAllTopicList enableTopicList notifyMinBrokerIdChanged
    orderMessageEnable returnOrderTopicConfigToBroker scanNotActiveBrokerInterval
    supportActingMaster
"""
BROKER_KEYS: Final = frozenset(_BROKER.split())
NAMESRV_KEYS: Final = frozenset(_NAMESRV.split())
"""What may be changed of a broker, and of a name server."""

_SHOWN_LENGTH_MAX: Final = 128
_ORIGIN: Final = "remote change"


class Keeper(Protocol):
    """Where changes are kept for the next start."""

    @property
    def name(self) -> str:
        """The settings file, as its user knows it."""
        ...

    def keep(self, values: Mapping[str, str]) -> Latch[None]:
        """Set when the next start will find these values; fails with ServiceUnavailable."""
        ...


class RemoteConfiguration:
    """The configuration of one server, as operators read and change it. Belongs to the loop."""

    def __init__(
        self,
        cells: Sequence[Settings[Any]],
        allowed: frozenset[str],
        keeper: Keeper,
        now_ms: Callable[[], int],
        *,
        fixed: Sequence[object] = (),
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """`cells` hold what may change. `fixed` are configurations that are only shown, `facts`
        properties of Apache's that tools read and that follow from what this server is."""
        self._cells = cells
        self._allowed = allowed
        self._keeper = keeper
        self._now_ms = now_ms
        self._fixed = fixed
        self._facts = facts or {}
        self.change_count = 0
        """Changes since the start."""
        self.changed_at_ms = now_ms()
        """Wall-clock time of the last one, or of the start."""

    def texts(self) -> dict[str, str]:
        """Every property with the value that counts now, as a property file would say it."""
        texts = dict(self._facts)
        for part in (*self._fixed, *(cell.current for cell in self._cells)):
            for name, declared in properties_of(type(part)).items():
                texts[name] = text_of(declared, part)
        return texts

    async def update(self, values: Mapping[str, str]) -> None:
        """Changes all of these properties, or none.

        Raises NoPermission for a key that is not on the list, InvalidParameter for a value that the
        property does not take, ServiceUnavailable if the change cannot be kept.
        """
        if not values:
            return
        for key in values:
            self._check_allowed(key)
        self._changed(values)  # refuses bad values before anything is kept
        await self._keeper.keep(values)
        # Others may have changed meanwhile: from what counts now.
        for cell, configuration in self._changed(values):
            cell.replace(configuration, _ORIGIN)
        self.change_count += 1
        self.changed_at_ms = self._now_ms()

    def _check_allowed(self, key: str) -> None:
        if key not in self._allowed:
            raise NoPermission(
                f"{key[:_SHOWN_LENGTH_MAX]} cannot be changed from afar: "
                f"set it in {self._keeper.name} and restart"
            )

    def _changed(self, values: Mapping[str, str]) -> list[tuple[Settings[Any], Any]]:
        """The cells that change, each with its new configuration, checked."""
        changed = []
        for cell in self._cells:
            declared = properties_of(type(cell.current))
            try:
                new = {
                    declared[key].attribute: convert(declared[key], value, _ORIGIN)
                    for key, value in values.items()
                    if key in declared
                }
                configuration = dataclasses.replace(cell.current, **new)
                configuration.validate(lambda _name: _ORIGIN)
            except ConfigInvalid as error:
                raise InvalidParameter(str(error)) from error
            if configuration != cell.current:
                changed.append((cell, configuration))
        return changed


class _Nowhere:
    name: Final = "a property file given with -c"

    def keep(self, values: Mapping[str, str]) -> Latch[None]:
        del values
        latch: Latch[None] = Latch()
        latch.set(None)
        return latch


def unkept(
    cells: Sequence[Settings[Any]], allowed: frozenset[str], now_ms: Callable[[], int]
) -> RemoteConfiguration:
    """The configuration of a server that is not started again."""
    return RemoteConfiguration(cells, allowed, _Nowhere(), now_ms)


__all__ = ["BROKER_KEYS", "NAMESRV_KEYS", "Keeper", "RemoteConfiguration", "unkept"]
