"""`tail`: the messages of a topic as they come, filtered here.

Every queue is pulled with long polls by a task of its own. Nothing is committed and no group is
joined, so consumers do not notice. Tags, keys and SQL are compared in this process: the broker
needs no setting for it, and hash collisions of tags do not show. Queues that appear later are
joined; a broker that cannot be reached is asked again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

from pyromq.cli.calls import Answer, Call, CallRefused, Moment
from pyromq.cli.commands.messages import body_text, queues_of, wanted_tags
from pyromq.cli.output import printable
from pyromq.client.admin.messages import StoredMessage
from pyromq.client.admin.servers import FirstErrorTasks
from pyromq.client.remoting import AnswerOverdue, PeerUnreachable
from pyromq.domain.filter_sql import FilterExpression, compile_filter
from pyromq.domain.route import MessageQueue
from pyromq.errors import SubscriptionParseFailed

POLL_MS = 15_000
AGAIN_SECONDS = 1.0
NEW_QUEUES_SECONDS = 30.0
BATCH = 64


@dataclass(frozen=True)
class Wanted:
    """Which messages are shown: those that pass every filter given."""

    tags: frozenset[str] | None
    key: str | None
    sql: FilterExpression | None

    def takes(self, message: StoredMessage) -> bool:
        return (
            (self.tags is None or message.tags in self.tags)
            and (self.key is None or self.key in message.keys.split(" "))
            and (self.sql is None or self.sql.matches(message.properties))
        )


class Tail:
    """One run. `done` is set when enough messages were shown."""

    def __init__(self, call: Call, wanted: Wanted) -> None:
        self._call = call
        self._wanted = wanted
        self._left = call.number("max", 0) or None
        self._joined: set[MessageQueue] = set()
        self.done = asyncio.Event()

    async def run(self) -> None:
        topic = self._call.text("topic")
        async with FirstErrorTasks() as tasks:
            await self._join(tasks, topic, is_start=True)
            more = tasks.create_task(self._look_for_queues(tasks, topic), name="tail new queues")
            await self.done.wait()
            more.cancel()

    async def _join(self, tasks: asyncio.TaskGroup, topic: str, *, is_start: bool) -> None:
        for name, address, queue in await queues_of(self._call.admin, topic):
            if queue not in self._joined:
                offset = await self._begin(address, queue) if is_start else 0
                self._joined.add(queue)
                tasks.create_task(
                    self._follow(address, queue, offset), name=f"tail {name} {queue.queue_id}"
                )

    async def _begin(self, address: str, queue: MessageQueue) -> int:
        call = self._call
        if call.optional("since") is not None:
            time_ms = call.time_ms("since", 0)
            return await call.admin.groups.offset_at(address, queue, time_ms)
        low, high = await call.admin.messages.range(address, queue)
        begin = call.optional("from")
        return high if begin is None else max(int(begin), low)

    async def _look_for_queues(self, tasks: asyncio.TaskGroup, topic: str) -> None:
        while True:
            await asyncio.sleep(NEW_QUEUES_SECONDS)
            try:
                await self._join(tasks, topic, is_start=False)
            except (AnswerOverdue, PeerUnreachable) as error:
                sys.stderr.write(f"tail: {error}\n")

    async def _follow(self, address: str, queue: MessageQueue, offset: int) -> None:
        done = asyncio.create_task(self.done.wait(), name="tail done")
        try:
            while not self.done.is_set():
                pull = asyncio.create_task(
                    self._call.admin.messages.pull(
                        address, queue, offset, count_max=BATCH, wait_ms=POLL_MS
                    )
                )
                await asyncio.wait({pull, done}, return_when=asyncio.FIRST_COMPLETED)
                if not pull.done():
                    pull.cancel()
                    return
                try:
                    pulled = pull.result()
                except (AnswerOverdue, PeerUnreachable) as error:
                    sys.stderr.write(f"tail: {error}; asked again\n")
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                for message in pulled.messages:
                    self._show(queue.broker_name, message)
                offset = pulled.next_offset
        finally:
            done.cancel()

    def _show(self, broker: str, message: StoredMessage) -> None:
        if self.done.is_set() or not self._wanted.takes(message):
            return
        with_body = not self._call.is_set("no-body")
        write_message(broker, message, as_json=self._call.wants_json, with_body=with_body)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.done.set()


def write_message(broker: str, message: StoredMessage, *, as_json: bool, with_body: bool) -> None:
    """One line on stdout."""
    body = body_text(message) if with_body else None
    if as_json:
        line = json.dumps(
            {
                "topic": message.topic,
                "broker": broker,
                "queueId": message.queue_id,
                "queueOffset": message.queue_offset,
                "messageId": message.message_id,
                "storeTime": message.store_timestamp_ms,
                "bornTime": message.born_timestamp_ms,
                "tags": message.tags,
                "keys": message.keys,
                "properties": message.properties,
                **({} if body is None else {"body": body}),
            },
            ensure_ascii=False,
        )
    else:
        place = f"{broker}/{message.queue_id}@{message.queue_offset}"
        words = [str(Moment(message.store_timestamp_ms)), place, message.message_id]
        words += [f"tags={message.tags or '-'}", f"keys={message.keys or '-'}"]
        line = printable(" ".join(words if body is None else [*words, body]))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def tail(call: Call) -> Answer:
    begin = call.optional("from")
    if begin is not None and not (begin.isascii() and begin.isdigit() and len(begin) < 19):
        raise CallRefused(f"--from {begin[:40]!r} is no offset")
    sql = call.optional("sql")
    try:
        expression = None if sql is None else compile_filter(sql)
    except SubscriptionParseFailed as error:
        raise CallRefused(f"--sql: {error}") from error
    wanted = Wanted(wanted_tags(call.optional("tag")), call.optional("key"), expression)
    await Tail(call, wanted).run()
    return None


__all__ = ["Tail", "Wanted", "tail", "write_message"]
