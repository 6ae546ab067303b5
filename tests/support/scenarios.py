"""Scenario texts: commands, `----`, and what they must say.

    send topic=T body=a; send topic=T body=b
    ----
    T/0@0
    T/0@1

    pull topic=T from=0
    ----
    FOUND 0 a, 1 b; next=2

A file is a series of such steps, separated by blank lines; `#` begins a comment. Commands are
separated by line ends or `;`, and each turn ends after the commands of one line. What does not
answer at once is named (`as=p1`), and says what it has to say in the step in which it ends.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pyromq.api import Heartbeat, PullResult, PullStatus, SendResult
from pyromq.domain.attributes import parse_attribute_changes
from pyromq.domain.group import ConsumerData, GroupConfig
from pyromq.domain.subscription import parse_subscription
from pyromq.domain.topic import TopicConfig
from pyromq.errors import RequestRefused
from pyromq.units import QueueOffset
from tests.support.brokers import (
    Asked,
    BrokerInHand,
    batch,
    caller,
    properties,
    pull_request,
    send_request,
)
from tests.support.records import Record, records_of
from tests.support.scenario_delays import DelayVerbs
from tests.support.scenario_replies import ReplyVerbs
from tests.support.scenario_resets import ResetVerbs
from tests.support.scenario_retries import RetryVerbs

Words = dict[str, str]


@dataclass(frozen=True)
class Step:
    """Commands and the transcript they must produce."""

    line: int
    commands: list[str]
    expected: list[str]


def steps_of(text: str) -> Iterator[Step]:
    """The steps of a scenario text."""
    block: list[str] = []
    first = 1
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.startswith("#"):
            continue
        if line.strip():
            if not block:
                first = number
            block.append(line.rstrip())
        elif block:
            assert block.count("----") == 1, f"line {first}: a step has one line ----"
            border = block.index("----")
            yield Step(first, block[:border], block[border + 1 :])
            block = []


@dataclass
class Stage(DelayVerbs, ReplyVerbs, RetryVerbs, ResetVerbs):
    """A broker, its clients, and the verbs that have not answered yet."""

    hand: BrokerInHand = field(default_factory=BrokerInHand)
    waiting: dict[str, tuple[Asked[Any], Callable[[Any], str]]] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)

    def play(self, commands: Iterable[str]) -> list[str]:
        """Runs commands; returns what they say, and what others say because of them."""
        said: list[str] = []
        for line in commands:
            for command in line.split(";"):
                verb, *rest = shlex.split(command)
                words = {name: text for name, _, text in (one.partition("=") for one in rest)}
                said += self._perform(verb, words)
            self.hand.end_turn()
            said += self._ended()
        return said

    def _perform(self, verb: str, words: Words) -> list[str]:
        perform = getattr(self, "do_" + verb.replace("-", "_"))
        try:
            said: str | Asked[Any] | None = perform(words)
        except RequestRefused as error:
            return [_refusal(error)]
        return [] if said is None else [str(said)]

    def _ask(self, words: Words, coroutine: Any, say: Callable[[Any], str]) -> None:
        name = words.get("as", f"#{len(self.waiting)}")
        assert name not in self.waiting, f"{name} has not answered yet"
        self.waiting[name] = (self.hand.ask(coroutine), say)

    def _ended(self) -> list[str]:
        said = []
        for name, (asked, say) in list(self.waiting.items()):
            if asked.is_waiting:
                if name.startswith("#"):
                    said.append("waits")
                    self.waiting[f"later {name}"] = self.waiting.pop(name)
                continue
            del self.waiting[name]
            prefix = "" if name.startswith("#") else f"{name}: "
            if isinstance(asked.error, RequestRefused):
                said.append(prefix + _refusal(asked.error))
            else:
                said.append(prefix + say(asked.result))
        return said

    def _connection(self, words: Words) -> int:
        client = words.get("by", "c1")
        return self.connections.setdefault(client, len(self.connections) + 1)

    # --- the broker itself ----------------------------------------------------------------------

    def do_broker(self, words: Words) -> None:
        """A new broker with these settings."""
        kinds = {"true": True, "false": False}
        settings: dict[str, Any] = {
            name: kinds[value] if value in kinds else int(value) if value.isdigit() else value
            for name, value in words.items()
        }
        self.hand = BrokerInHand(**settings)

    def do_advance(self, words: Words) -> None:
        """`advance 15s` or `advance 500ms`."""
        [text] = words
        unit = 1 if text.endswith("ms") else 1000
        self.hand.advance(int(text.rstrip("ms")) * unit)

    def do_flush(self, words: Words) -> None:
        del words
        self.hand.flush()

    def do_stop(self, words: Words) -> str:
        self._ask(words, self.hand.broker.stop(), lambda _none: "stopped")
        return "stopping"

    def do_lose(self, words: Words) -> None:
        """A connection is lost."""
        self.hand.broker.connection_lost(self._connection(words))

    def do_told(self, words: Words) -> str:
        """Whom the broker has told of changed groups since the last question."""
        del words
        names = {number: name for name, number in self.connections.items()}
        told = sorted(f"{names[number]} of {group}" for number, group in self.hand.peers.take())
        return ", ".join(told) or "nobody"

    # --- messages -------------------------------------------------------------------------------

    def do_send(self, words: Words) -> None:
        request = send_request(
            words.get("topic", "T"),
            words.get("body", "hello").encode(),
            queue_id=int(words.get("queue", "0")),
            properties=_properties(words),
            is_oneway="oneway" in words,
            reconsume_times=int(words.get("reconsumed", "0")),
        )
        say = _said_of_send(words.get("topic", "T"))
        self._ask(words, self.hand.broker.send(caller(self._connection(words)), request), say)

    def do_send_batch(self, words: Words) -> None:
        bodies = words["bodies"].split(",")
        body = batch(*((one.encode(), _properties(words)) for one in bodies))
        request = send_request(
            words.get("topic", "T"), body, queue_id=int(words.get("queue", "0")), properties=""
        )
        say = _said_of_send(words.get("topic", "T"))
        self._ask(words, self.hand.broker.send_batch(caller(), request), say)

    def do_pull(self, words: Words) -> None:
        commit = words.get("commit")
        wait = words.get("wait")
        request = pull_request(
            words.get("topic", "T"),
            consumer_group=words.get("group", "CG"),
            queue_id=int(words.get("queue", "0")),
            queue_offset=QueueOffset(int(words.get("from", "0"))),
            message_count_max=int(words.get("max", "32")),
            commit_offset=None if commit is None else QueueOffset(int(commit)),
            may_suspend=wait is not None,
            suspend_timeout_ms=int((wait or "0").rstrip("s")) * 1000,
            subscription=None if "subscribed" in words else words.get("filter", "*"),
            subscription_version=int(words.get("version", "0")),
        )
        self._ask(
            words, self.hand.broker.pull(caller(self._connection(words)), request), _said_of_pull
        )

    # --- offsets --------------------------------------------------------------------------------

    def do_commit(self, words: Words) -> None:
        self._ask(
            words,
            self.hand.broker.commit_offset(
                caller(self._connection(words)),
                words.get("group", "CG"),
                words.get("topic", "T"),
                int(words.get("queue", "0")),
                QueueOffset(int(words["offset"])),
            ),
            lambda is_taken: "ok" if is_taken else "ignored",
        )

    def do_offset(self, words: Words) -> str:
        zero = {"true": True, "false": False, None: None}[words.get("zero")]
        return str(
            self.hand.broker.consumer_offset(
                words.get("group", "CG"),
                words.get("topic", "T"),
                int(words.get("queue", "0")),
                is_zero_if_not_found=zero,
            )
        )

    def do_stats(self, words: Words) -> str:
        queues = self.hand.broker.topic_stats(words.get("topic", "T")).queues
        return " ".join(f"{one.queue_id}:{one.min_offset}-{one.max_offset}" for one in queues)

    # --- clients --------------------------------------------------------------------------------

    def do_heartbeat(self, words: Words) -> None:
        topics = dict(
            pair.split(":", 1) for pair in words.get("topics", "").split(",") if ":" in pair
        )
        consumer = ConsumerData(
            group_name=words.get("group", "CG"),
            message_model=words.get("model", "CLUSTERING"),
            subscription_data_set=[
                parse_subscription(topic, text, version=int(words.get("version", "1")))
                for topic, text in topics.items()
            ],
        )
        producers = words.get("producers", "")
        beat = Heartbeat(
            client_id=words.get("by", "c1"),
            producer_groups=producers.split(",") if producers else (),
            consumers=[consumer] if "group" in words or topics else (),
            fingerprint=int(words.get("fingerprint", "0")),
            is_without_subscriptions="compact" in words,
        )
        self._ask(
            words,
            self.hand.broker.heartbeat(caller(self._connection(words)), beat),
            lambda answer: "ok" if not beat.fingerprint else _said_of_beat(answer),
        )

    def do_unregister(self, words: Words) -> None:
        self.hand.broker.unregister_client(
            caller(self._connection(words)),
            words.get("by", "c1"),
            words.get("producer"),
            words.get("group"),
        )

    def do_consumers(self, words: Words) -> str:
        return " ".join(sorted(self.hand.broker.consumer_ids(words.get("group", "CG"))))

    # --- topics and groups ----------------------------------------------------------------------

    def do_topic(self, words: Words) -> None:
        """Creates or changes a topic."""
        queues = int(words.get("queues", "4"))
        config = TopicConfig(
            topic_name=words["name"],
            read_queue_nums=int(words.get("read", queues)),
            write_queue_nums=int(words.get("write", queues)),
            perm=int(words.get("perm", "6")),
            attributes=parse_attribute_changes(words.get("attributes")),
        )
        self._ask(words, self.hand.broker.put_topic(config), lambda _none: "ok")

    def do_drop_topic(self, words: Words) -> None:
        self._ask(words, self.hand.broker.delete_topic(words["name"]), lambda _none: "ok")

    def do_show_topic(self, words: Words) -> str:
        return str(self.hand.broker.topic(words["name"]))

    def do_group(self, words: Words) -> None:
        """Creates or changes a group."""
        config = GroupConfig(
            group_name=words["name"],
            consume_enable=words.get("consume", "true") == "true",
            retry_max_times=int(words.get("retries", "16")),
        )
        self._ask(words, self.hand.broker.put_group(config), lambda _none: "ok")

    def do_groups_of(self, words: Words) -> str:
        return " ".join(self.hand.broker.groups_of_topic(words["topic"])) or "none"

    def do_changed(self, words: Words) -> str:
        """Topics the name servers must be told of since the last question."""
        del words
        changed, self.hand.changed_topics[:] = list(self.hand.changed_topics), []
        return " ".join(changed) or "none"


def _properties(words: Words) -> str:
    named = {"UNIQ_KEY": words.get("id", "ID"), "TAGS": words.get("tag", "")}
    named |= {name: value for name, value in words.items() if name.isupper()}
    return properties(**{name: value for name, value in named.items() if value})


def _said_of_send(topic: str) -> Callable[[SendResult], str]:
    return lambda result: (
        f"{topic}/{result.queue_id}@{result.queue_offset}"
        + (" 10 sync not ended" if result.is_sync_late else "")
    )


def _said_of_pull(result: PullResult) -> str:
    code = "" if result.status is PullStatus.FOUND else f"{int(result.status)} "
    given = ", ".join(f"{one.queue_offset} {one.body.decode()}" for one in _records(result))
    return f"{code}{result.remark} {given + '; ' if given else ''}next={result.next_begin_offset}"


def _records(result: PullResult) -> list[Record]:
    return records_of(result.body)


def _said_of_beat(answer: Any) -> str:
    return "send all" if answer.has_subscription_changed else "ok"


def _refusal(error: RequestRefused) -> str:
    return f"{int(error.code)} {error.remark.splitlines()[0].rstrip()}"


__all__ = ["Stage", "Step", "steps_of"]
