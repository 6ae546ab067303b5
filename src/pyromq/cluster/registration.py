"""Registration: a broker tells each of its name servers that it lives and which topics it has.

At the start, every 30 s, at once when topics change, and a farewell at the end; each name server
by itself, so that one that is gone does not delay what the others hear. A name server that came
back is found within seconds: its connection was lost, and attempts follow each other more slowly
only up to `RETRY_MS_MAX`. Its answer tells which topics are ordered across brokers.

Follows BrokerController.registerBrokerAll, registerSingleTopicAll, registerIncrementBrokerData,
handleRegisterBrokerResult and out.BrokerOuterAPI of org.apache.rocketmq.broker 5.5.0.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from pyromq.cluster.announcement import Announcement, Identity, Topics
from pyromq.codes import RequestCode, ResponseCode
from pyromq.config import BrokerConfig, Settings
from pyromq.errors import PyromqError, RequestFailed
from pyromq.waiting import Latch
from pyromq.wire.remoting.bodies.registration import decode_data_version, encode_data_version
from pyromq.wire.remoting.bodies.routes import decode_kv_table
from pyromq.wire.remoting.frame import Command
from pyromq.wire.remoting.headers import decode_header, encode_ext
from pyromq.wire.remoting.headers.namesrv import QueryDataVersionResponse, RegisterTopicHeader

RETRY_MS_MIN: Final = 500
RETRY_MS_MAX: Final = 10_000
"""Between attempts at a name server that does not answer; doubled from the smallest on."""
CHANGED_TOPICS_MAX: Final = 1_000
"""More changed topics than this are sent as the whole table."""
ANNOUNCE_TIMEOUT_MS: Final = 1_000
"""Who created a topic does not wait longer for name servers to hear of it."""
FAREWELL_TIMEOUT_MS: Final = 1_000
"""A stop does not wait longer for name servers; they notice the closed connection anyway."""

_log = logging.getLogger(__name__)

TakeOrderTopics = Callable[[Collection[str]], None]
"""Told, by each answer that has a table of them, which topics are ordered across brokers."""


class Requests(Protocol):
    """What is asked of a remoting client."""

    async def invoke(
        self,
        address: str,
        code: int,
        ext: dict[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout_ms: int = ...,
    ) -> Command: ...


class Registration:
    """Keeps one broker registered at all its name servers. Belongs to the loop thread."""

    def __init__(
        self,
        identity: Identity,
        config: Settings[BrokerConfig],
        topics: Topics,
        client: Requests,
        take_order_topics: TakeOrderTopics | None = None,
    ) -> None:
        """`topics` gives the broker's whole table; `client` stays the caller's to close."""
        self._announcement = Announcement(identity, config, topics)
        self._links = {
            address: _Link(address, self._announcement, client, take_order_topics or _ignore)
            for address in config.current.namesrv_addresses
        }

    def start(self) -> None:
        """Begins to register; each name server gets a task of its own."""
        for link in self._links.values():
            link.start()

    async def first_round(self, timeout_ms: int) -> int:
        """Waits until every name server has answered or failed once, but not longer than this.

        Returns how many have the broker now.
        """
        if self._links:
            waits = [asyncio.ensure_future(link.has_tried.wait()) for link in self._links.values()]
            _, late = await asyncio.wait(waits, timeout=timeout_ms / 1000)
            for wait in late:
                wait.cancel()
        return self.registered_count

    @property
    def registered_count(self) -> int:
        """Name servers that have taken the newest registration they were sent."""
        return sum(link.is_registered for link in self._links.values())

    def topics_changed(self, names: Sequence[str]) -> None:
        """Topics came, changed or went: tell the name servers in the next turn of the loop."""
        for link in self._links.values():
            link.topics_changed(names)

    def announced(self) -> Latch[None]:
        """Set when the name servers that have the broker have heard of every change so far.

        One that cannot be reached is not waited for, none longer than `ANNOUNCE_TIMEOUT_MS`.
        """
        latch: Latch[None] = Latch()
        waiting = [link for link in self._links.values() if link.is_registered]
        if not waiting:
            latch.set(None)
            return latch
        left = len(waiting)

        def finish() -> None:
            timeout.cancel()
            if not latch.is_set:
                latch.set(None)

        def told() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                finish()

        timeout = asyncio.get_running_loop().call_later(ANNOUNCE_TIMEOUT_MS / 1000, finish)
        for link in waiting:
            link.when_told(told)
        return latch

    def connection_lost(self, address: str) -> None:
        """The client lost a connection: a name server forgets brokers whose connection ended."""
        link = self._links.get(address)
        if link is not None:
            link.connection_lost()

    async def stop(self) -> None:
        """Says farewell to every name server that may know the broker."""
        await asyncio.gather(*(link.stop() for link in self._links.values()))


def _ignore(names: Collection[str]) -> None:
    """Nobody wants to know which topics are ordered."""
    del names


class _Link:
    """The registration at one name server."""

    def __init__(
        self,
        address: str,
        announcement: Announcement,
        client: Requests,
        take_order_topics: TakeOrderTopics,
    ) -> None:
        self.has_tried = asyncio.Event()
        self.is_registered = False
        self._address = address
        self._announcement = announcement
        self._client = client
        self._take_order_topics = take_order_topics
        self._may_be_known = False
        self._has_failed = False
        self._is_whole_due = True
        self._changed: set[str] = set()
        self._waiting: list[Callable[[], None]] = []
        self._is_asking = False
        self._retry_ms = RETRY_MS_MIN
        self._next_whole_s = 0.0
        """Loop time."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        assert self._task is None, "started twice"
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name=f"register at {self._address}"
        )
        self._task.add_done_callback(self._ended)

    def topics_changed(self, names: Sequence[str]) -> None:
        if not self._is_whole_due:
            self._changed.update(names)
            self._is_whole_due = len(self._changed) > CHANGED_TOPICS_MAX
        self._wake.set()

    def when_told(self, told: Callable[[], None]) -> None:
        """Calls back once everything changed so far was sent and answered, or could not be."""
        if self._is_asking or self._changed or self._is_whole_due:
            self._waiting.append(told)
        else:
            told()

    def connection_lost(self) -> None:
        if self.is_registered:
            _log.warning("name server %s: connection lost", self._address)
            self.is_registered = False
            self._has_failed = True
            self._is_whole_due = True
            self._wake.set()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._release()
        if self._may_be_known:
            self._may_be_known = False
            try:
                await self._client.invoke(
                    self._address,
                    RequestCode.UNREGISTER_BROKER,
                    self._announcement.unregister_ext(),
                    timeout_ms=FAREWELL_TIMEOUT_MS,
                )
            except PyromqError as error:
                _log.info("name server %s: no farewell: %s", self._address, error)
        self.is_registered = False

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            self._is_asking = True
            try:
                await self._attempt()
            except PyromqError as error:
                self._note_failure(error)
            else:
                self._note_success()
            self._is_asking = False
            self.has_tried.set()
            if not self.is_registered or not self._changed:
                self._release()
            await self._pause()

    async def _attempt(self) -> None:
        changed, self._changed = self._changed, set()
        is_whole, self._is_whole_due = self._is_whole_due, False
        if is_whole or not self.is_registered or not self._announcement.has_all(changed):
            # Also for topics that went: only the whole table tells what is not in it.
            await self._register_whole()
        elif self._announcement.config.current.enable_single_topic_register:
            for name in sorted(changed):
                await self._register_topic(name)
        elif changed:
            await self._register(self._announcement.changes_body(sorted(changed)))

    async def _register_whole(self) -> None:
        config = self._announcement.config.current
        if config.force_register or not self.is_registered or await self._is_version_unknown():
            await self._register(await self._announcement.whole_body())
        loop = asyncio.get_running_loop()
        self._next_whole_s = loop.time() + config.registration_period_ms / 1000

    async def _register(self, body: bytes) -> None:
        self._may_be_known = True
        ext = self._announcement.register_ext(body)
        answer = await self._ask(RequestCode.REGISTER_BROKER, ext, body)
        if answer.body:
            self._take(answer.body)

    def _take(self, order_topic_config: bytes) -> None:
        """A name server that says nonsense here has the broker all the same."""
        try:
            self._take_order_topics(decode_kv_table(order_topic_config).keys())
        except PyromqError as error:
            _log.warning("name server %s: its order topics are not taken: %s", self._address, error)

    async def _register_topic(self, name: str) -> None:
        if self._announcement.has_all([name]):
            ext = encode_ext(RegisterTopicHeader(topic=name))
            body = self._announcement.route_body(name)
            await self._ask(RequestCode.REGISTER_TOPIC_IN_NAMESRV, ext, body)

    async def _is_version_unknown(self) -> bool:
        """Whether the name server has another state of the topics, or none."""
        version = self._announcement.version
        answer = await self._ask(
            RequestCode.QUERY_DATA_VERSION,
            self._announcement.query_ext(),
            encode_data_version(version),
        )
        if decode_header(QueryDataVersionResponse, answer.ext).changed:
            return True
        return bool(answer.body) and decode_data_version(answer.body) != version

    async def _ask(self, code: RequestCode, ext: dict[str, str], body: bytes) -> Command:
        timeout_ms = self._announcement.config.current.register_broker_timeout_ms
        answer = await self._client.invoke(self._address, code, ext, body, timeout_ms=timeout_ms)
        if answer.code != ResponseCode.SUCCESS:
            raise RequestFailed(f"{code.name} was answered {answer.code}: {answer.remark}")
        return answer

    async def _pause(self) -> None:
        """Until something changes, the next registration is due, or a retry."""
        if not self.is_registered:
            # What changes meanwhile is in the whole table.
            await asyncio.sleep(self._retry_ms / 1000)
            self._retry_ms = min(2 * self._retry_ms, RETRY_MS_MAX)
            return
        wait_s = max(0.0, self._next_whole_s - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            self._is_whole_due = True

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told()

    def _note_success(self) -> None:
        if not self.is_registered:
            _log.info("registered at name server %s", self._address)
        self.is_registered = True
        self._has_failed = False
        self._retry_ms = RETRY_MS_MIN

    def _note_failure(self, error: PyromqError) -> None:
        if self.is_registered or not self._has_failed:
            _log.warning("not registered at name server %s: %s", self._address, error)
        self.is_registered = False
        self._has_failed = True
        self._is_whole_due = True

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.is_registered = False
            self.has_tried.set()
            self._release()
            _log.critical(
                "registration at name server %s ended", self._address, exc_info=task.exception()
            )


__all__ = [
    "ANNOUNCE_TIMEOUT_MS",
    "CHANGED_TOPICS_MAX",
    "FAREWELL_TIMEOUT_MS",
    "RETRY_MS_MAX",
    "RETRY_MS_MIN",
    "Identity",
    "Registration",
    "Requests",
    "TakeOrderTopics",
]
