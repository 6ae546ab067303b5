"""What the foreign programs tell about messages sent and received, and what must be true of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.support.foreign import ForeignFailed, JavaSession, Row
from tests.support.processes import ask, retries

QUERY_CONSUMER_OFFSET = 14


@dataclass(frozen=True)
class Sent:
    """A topic into which messages 0 … count−1 were sent, tags in turn, key `<topic>-<number>`."""

    topic: str
    mode: str
    count: int
    tags: tuple[str, ...]
    result: Row

    @property
    def key_prefix(self) -> str:
        return f"{self.topic}-"

    def with_tags(self, *wanted: str) -> dict[str, int]:
        counts = Counter(self.tags[number % len(self.tags)] for number in range(self.count))
        return {tag: counts[tag] for tag in wanted}


def send_words(topic: str, mode: str, count: int, tags: tuple[str, ...]) -> list[object]:
    """The subcommand of either program that sends such messages."""
    words: list[object] = ["send", "--topic", topic, "--mode", mode, "--count", count]
    return [*words, "--tags", ",".join(tags), "--keys", f"{topic}-"]


def assert_all_sent(sent: Sent) -> None:
    """Each message was accepted, has an id of its own, and the queues have no holes."""
    result = sent.result
    assert result["sent"] == sent.count
    assert result["errors"] == []
    if sent.mode == "oneway":
        assert result["statuses"] == {"ONEWAY": sent.count}
        return
    assert result["statuses"] == {"SEND_OK": sent.count}
    assert result["distinct_offset_ids"] == sent.count
    for queue in result["queues"].values():
        assert queue["first"] == 0
        assert queue["last"] == queue["count"] - 1
    assert sum(queue["count"] for queue in result["queues"].values()) == sent.count


def assert_all_received(received: Row, sent: Sent, tags: tuple[str, ...] = ()) -> None:
    """Exactly the messages sent (of these tags), each once, none changed."""
    wanted = sent.with_tags(*(tags or sent.tags))
    assert received["tags"] == wanted
    assert received["distinct"] == sum(wanted.values())
    assert received["received"] == received["distinct"], "a message came twice"
    assert received["wrong"] == 0, "a body, key or property differs from what was sent"
    assert received["redelivered"] == 0


def await_messages(java: JavaSession, topic: str, count: int, timeout_seconds: float = 30) -> Row:
    """Waits until the broker has this many messages of a topic: how one-way sends are checked."""
    row: Row = {}
    for _ in retries(timeout_seconds):
        row = java.one("offsets", "--topic", topic)
        if row["messages"] == count:
            return row
    raise ForeignFailed(f"{topic} should have {count} messages; has {row}")


def await_consumed(java: JavaSession, broker: str, topic: str, group: str, *, but: int = 0) -> None:
    """Waits until a group has committed all but so many: clients do not wait for an answer."""
    left = -1
    for _ in retries(10):
        left = behind(java, broker, topic, group)
        if left == but:
            return
    raise ForeignFailed(f"{group} is still {left} messages behind in {topic}")


def behind(java: JavaSession, broker: str, topic: str, group: str) -> int:
    """How many messages of a topic a group has not committed yet, by the broker's offsets."""
    left = 0
    for queue in java.one("offsets", "--topic", topic)["queues"]:
        fields = {"consumerGroup": group, "topic": topic, "queueId": str(queue["queue"])}
        answer = ask(broker, QUERY_CONSUMER_OFFSET, {**fields, "setZeroIfNotFound": "false"})
        committed = int(answer.fields["offset"]) if answer.code == 0 else queue["min"]
        left += queue["max"] - committed
    return left
