"""A broker over the memory engine, a manual clock and an explicit turn.

Nothing happens by itself: a verb runs until it waits; a turn ends, and time passes, only
when the test says so.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC
from typing import Any, Generic, TypeVar

from pyromq.api import (
    Caller,
    ClientAnswer,
    DirectMessage,
    Heartbeat,
    PullRequest,
    PullResult,
    PushedReply,
    PushedReset,
    RunningInfoRequest,
    SendRequest,
    SendResult,
)
from pyromq.broker import Broker
from pyromq.broker.admin import DiskSpaceOf
from pyromq.config import BrokerConfig, Settings, StoreConfig
from pyromq.domain.group import ConsumerData
from pyromq.domain.route import MessageQueue
from pyromq.domain.subscription import parse_subscription
from pyromq.domain.topic import TopicConfig
from pyromq.domain.unique_key import UniqueKeys
from pyromq.errors import ConsumerNotOnline
from pyromq.store.engine import StoreSettings
from pyromq.store.memory import MemoryEngine
from pyromq.store.metadata import Metadata
from pyromq.turn import Turn
from pyromq.units import QueueOffset
from pyromq.waiting import Latch, step
from tests.support.clock import ManualClock
from tests.support.records import records_of

T = TypeVar("T")

STORE_HOST = bytes([127, 0, 0, 1]) + (10911).to_bytes(4)
TURNS_MAX = 100
"""A turn that asks for another one this often will never end."""


class Asked(Generic[T]):
    """A verb that was called: waiting, answered, or refused."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._result: list[T] = []
        self.error: Exception | None = None
        step(coroutine, self._result.append, self._refuse)

    def _refuse(self, error: Exception) -> None:
        self.error = error

    @property
    def is_waiting(self) -> bool:
        return not self._result and self.error is None

    @property
    def result(self) -> T:
        if self.error is not None:
            raise self.error
        assert self._result, "still waiting"
        return self._result[0]


@dataclasses.dataclass(frozen=True)
class Question:
    """What the broker asks a client: to be answered, or failed, by the test through the latch."""

    connection_id: int
    what: RunningInfoRequest | DirectMessage | PushedReply
    latch: Latch[ClientAnswer]
    timeout_ms: int


@dataclasses.dataclass(frozen=True)
class StatusQuestion:
    """The broker asks a consumer for its offsets."""

    connection_id: int
    group: str
    topic: str
    latch: Latch[dict[MessageQueue, int]]
    timeout_ms: int


class RecordedPeers:
    """Notes what the broker tells and asks its clients."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        """(connection, group) of each code 40."""
        self.resets: list[tuple[int, PushedReset]] = []
        """(connection, what it was told) of each code 220."""
        self.status_asked: list[StatusQuestion] = []
        self.asked: list[Question] = []
        """Not taken from here when they are answered."""
        self.unreachable: set[int] = set()
        """Connections whose clients cannot be asked any more."""
        self.owns_all = True
        """False once a real door is added too: then the connections are that one's."""

    def is_connected(self, connection_id: int) -> bool:
        del connection_id
        return self.owns_all

    def notify_consumer_ids_changed(self, connection_id: int, group: str) -> None:
        self.told.append((connection_id, group))

    def push_reset(self, connection_id: int, reset: PushedReset) -> None:
        self.resets.append((connection_id, reset))

    async def ask_consumer_status(
        self, connection_id: int, group: str, topic: str, *, timeout_ms: int
    ) -> dict[MessageQueue, int]:
        if connection_id in self.unreachable:
            raise ConsumerNotOnline("the client is not connected")
        question = StatusQuestion(connection_id, group, topic, Latch(), timeout_ms)
        self.status_asked.append(question)
        return await question.latch

    async def ask_running_info(
        self, connection_id: int, request: RunningInfoRequest, *, timeout_ms: int
    ) -> ClientAnswer:
        return await self._ask(connection_id, request, timeout_ms)

    async def consume_directly(
        self, connection_id: int, message: DirectMessage, *, timeout_ms: int
    ) -> ClientAnswer:
        return await self._ask(connection_id, message, timeout_ms)

    async def push_reply(
        self, connection_id: int, reply: PushedReply, *, timeout_ms: int
    ) -> ClientAnswer:
        return await self._ask(connection_id, reply, timeout_ms)

    def _ask(
        self,
        connection_id: int,
        what: RunningInfoRequest | DirectMessage | PushedReply,
        timeout_ms: int,
    ) -> Latch[ClientAnswer]:
        if connection_id in self.unreachable:
            raise ConsumerNotOnline("the client is not connected")
        question = Question(connection_id, what, Latch(), timeout_ms)
        self.asked.append(question)
        return question.latch

    def take(self) -> list[tuple[int, str]]:
        told, self.told = self.told, []
        return told


def told() -> Latch[None]:
    """Name servers that have heard of everything."""
    latch: Latch[None] = Latch()
    latch.set(None)
    return latch


class BrokerInHand:
    """A broker and everything around it that a test moves by hand."""

    def __init__(
        self,
        *,
        sync_flush: bool = False,
        store: dict[str, Any] | None = None,
        disk_space_of: DiskSpaceOf | None = None,
        **broker: Any,
    ) -> None:
        """`broker` and `store` are attributes of BrokerConfig and StoreConfig."""
        self.clock = ManualClock()
        self._is_sync = sync_flush
        self._disk_space_of = disk_space_of
        self.store_settings = Settings(StoreConfig(**(store or {})))
        self.settings = Settings(BrokerConfig(**broker))
        self.engine = MemoryEngine(
            StoreSettings(
                root="",
                store_host=STORE_HOST,
                sync_flush=sync_flush,
                segment_size=self.store_settings.current.mapped_file_size_commit_log_bytes,
                message_size_max=self.store_settings.current.max_message_size_bytes,
                delay_levels_ms=self.store_settings.current.delay_levels_ms,
            )
        )
        self.metadata = Metadata.in_memory(clock=self.clock, sync_flush=sync_flush)
        self.peers = RecordedPeers()
        self.changed_topics: list[str] = []
        self.randoms: list[int] = []
        """Next random numbers; 0 when there are none."""
        self._ends: list[Callable[[], None]] = []
        self._faults: list[Exception] = []
        """What a stage of a turn raised: there it is only logged, here it fails the test."""
        self.announced: Callable[[], Latch[None]] = told
        """When name servers have heard of a topic: at once, unless a test says otherwise."""
        self.broker = self._new_broker()

    def restart(self) -> None:
        """A new process over the same store and metadata: what was only in memory is gone."""
        self.broker = self._new_broker()

    def _new_broker(self) -> Broker:
        turn = Turn(self._ends.append)
        broker = Broker(
            engine=self.engine,
            metadata=self.metadata,
            settings=self.settings,
            store_settings=self.store_settings,
            clock=self.clock,
            turn=turn,
            store_host=STORE_HOST,
            on_topics_changed=self.changed_topics.extend,
            until_announced=lambda: self.announced(),  # noqa: PLW0108 — a test may replace it
            random_below=self._random_below,
            unique_keys=UniqueKeys(STORE_HOST[:4], 4711, 0xCAFE, UTC),
            disk_space_of=self._disk_space_of,
        )
        broker.add_peers(self.peers)
        turn.set_stages([self._noted(stage) for stage in broker.stages()])
        broker.open()
        self.end_turn()
        self.engine.flush()
        self.metadata.flush()
        broker.end_turn()
        self.end_turn()
        self.changed_topics.clear()
        return broker

    def _noted(self, stage: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                stage()
            except Exception as error:  # noqa: BLE001 — raised again by who ends the turn
                self._faults.append(error)

        return run

    def _random_below(self, bound: int) -> int:
        number = self.randoms.pop(0) if self.randoms else 0
        assert 0 <= number < bound
        return number

    # --- moving ---------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Ends the turn, and those that its end asks for."""
        for _ in range(TURNS_MAX):
            if not self._ends:
                return
            self._ends.pop(0)()
            if self._faults:
                raise self._faults.pop(0)
        raise AssertionError("the turn never ends")

    def flush(self) -> None:
        """What the flush threads do; commits what waits for a sync."""
        self.engine.flush()
        self.metadata.flush()
        self.broker.end_turn()
        self.end_turn()

    def advance(self, duration_ms: int) -> None:
        """Lets time pass, and the background loops do what is due."""
        self.clock.advance(duration_ms)
        self.broker.cleanup.run_due()
        self.end_turn()

    def configure(self, **changed: Any) -> None:
        self.settings.replace(dataclasses.replace(self.settings.current, **changed))

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, coroutine: Coroutine[Any, Any, T]) -> Asked[T]:
        """Calls a verb; it runs until it waits."""
        return Asked(coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Calls a verb, ends the turn, syncs if that is needed; it must have an answer then."""
        asked = self.ask(coroutine)
        self.end_turn()
        if asked.is_waiting and self._is_sync:
            self.flush()
        return asked.result

    def create_topic(self, name: str, queue_nums: int = 4, **settings: Any) -> None:
        self.run(
            self.broker.put_topic(
                TopicConfig(
                    topic_name=name,
                    read_queue_nums=queue_nums,
                    write_queue_nums=queue_nums,
                    **settings,
                )
            )
        )

    def send(
        self,
        topic: str = "TopicTest",
        body: bytes = b"hello",
        *,
        to: Caller | None = None,
        **by: Any,
    ) -> SendResult:
        """Sends one message to queue 0, unless told otherwise, and ends the turn."""
        return self.run(self.broker.send(to or caller(), send_request(topic, body, **by)))

    def pull(
        self, topic: str = "TopicTest", *, by: Caller | None = None, **what: Any
    ) -> PullResult:
        """Pulls from queue 0 with a filter text of its own, and must have an answer at once."""
        return self.run(self.broker.pull(by or caller(), pull_request(topic, **what)))

    def start_pull(
        self, topic: str = "TopicTest", *, by: Caller | None = None, **what: Any
    ) -> Asked[PullResult]:
        """Pulls, ready to wait."""
        what = {"may_suspend": True, "suspend_timeout_ms": 15_000, **what}
        return self.ask(self.broker.pull(by or caller(), pull_request(topic, **what)))


def caller(connection_id: int = 1, version: int = 513) -> Caller:
    port = 40_000 + connection_id
    return Caller(
        connection_id=connection_id,
        address=f"10.0.0.1:{port}",
        host=bytes([10, 0, 0, 1]) + port.to_bytes(4),
        language="JAVA",
        version=version,
    )


def properties(**pairs: str) -> str:
    return "".join(f"{name}\x01{value}\x02" for name, value in pairs.items())


def send_request(topic: str = "TopicTest", body: bytes = b"hello", **changed: Any) -> SendRequest:
    fields: dict[str, Any] = {
        "topic": topic,
        "producer_group": "PG",
        "queue_id": 0,
        "body": body,
        "properties": properties(UNIQ_KEY="ID1", TAGS="TagA"),
        "born_timestamp_ms": 1_700_000_000_000,
        "default_topic": "TBW102",
        **changed,
    }
    return SendRequest(**fields)


def pull_request(topic: str = "TopicTest", **changed: Any) -> PullRequest:
    fields: dict[str, Any] = {
        "consumer_group": "CG",
        "topic": topic,
        "queue_id": 0,
        "queue_offset": QueueOffset(0),
        "message_count_max": 32,
        "subscription": "*",
        **changed,
    }
    return PullRequest(**fields)


def heartbeat(
    client_id: str,
    group: str = "CG",
    topics: dict[str, str] | None = None,
    *,
    version: int = 1,
    producers: Sequence[str] = (),
    fingerprint: int = 0,
    is_without_subscriptions: bool = False,
    **data: Any,
) -> Heartbeat:
    """A consumer that wants `topics` (topic → filter text)."""
    wanted = {"TopicTest": "*"} if topics is None else topics
    return Heartbeat(
        client_id=client_id,
        producer_groups=producers,
        consumers=[
            ConsumerData(
                group_name=group,
                subscription_data_set=[
                    parse_subscription(topic, text, version=version)
                    for topic, text in wanted.items()
                ],
                **data,
            )
        ],
        fingerprint=fingerprint,
        is_without_subscriptions=is_without_subscriptions,
    )


def batch(*items: tuple[bytes, str]) -> bytes:
    """A batch body of (body, properties text) (MessageDecoder.encodeMessages)."""
    return b"".join(batch_item(body, text) for body, text in items)


def batch_item(body: bytes, text: str) -> bytes:
    encoded = text.encode()
    rest = struct.pack(">iiii", 0, 0, 0, len(body)) + body
    rest += struct.pack(">h", len(encoded)) + encoded
    return struct.pack(">i", len(rest) + 4) + rest


def stored_properties(record: bytes) -> dict[str, str]:
    """Properties of a stored record."""
    [one] = records_of(record)
    return one.properties


__all__ = [
    "STORE_HOST",
    "Asked",
    "BrokerInHand",
    "Question",
    "RecordedPeers",
    "StatusQuestion",
    "batch",
    "batch_item",
    "caller",
    "heartbeat",
    "properties",
    "pull_request",
    "send_request",
    "stored_properties",
]
