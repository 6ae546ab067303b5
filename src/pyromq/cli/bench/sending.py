"""What one ticket does: the requests of producer, batch and ordered runs."""

from __future__ import annotations

import argparse

from pyromq.cli.bench.load import Request
from pyromq.cli.bench.messages import MessageSource
from pyromq.cli.bench.pace import Ticket
from pyromq.client import Producer, SendResult
from pyromq.errors import PyromqError

COMPRESS_FROM_BYTES = 4096
"""With `-c`, as Apache's benchmark."""
_NEVER = 2**31 - 1


class NotSafe(PyromqError):
    """The broker took the message and says that it is not as safe as it is configured to be:
    FLUSH_DISK_TIMEOUT, FLUSH_SLAVE_TIMEOUT or SLAVE_NOT_AVAILABLE."""

    def __init__(self, result: SendResult) -> None:
        super().__init__(f"stored in {result.queue}, but answered {result.status.name}")
        self.code = int(result.status.value)


def producer_of(options: argparse.Namespace) -> Producer:
    """The producer that sends what `options` ask for."""
    return Producer(
        options.namesrv,
        options.group,
        compress_from_bytes=COMPRESS_FROM_BYTES if options.compress else _NEVER,
        in_flight_max=max(options.workers, 1),
    )


def source_of(options: argparse.Namespace, run: str) -> MessageSource:
    """The messages that `options` ask for; `run` names this run."""
    return MessageSource(
        options.topic,
        size=options.size,
        has_keys=options.keys,
        tag_count=options.tags,
        property_size=options.properties,
        delay_level=options.delay_level if options.delay else 0,
        run=run,
    )


def request_of(options: argparse.Namespace, producer: Producer, source: MessageSource) -> Request:
    """How one ticket is sent."""
    size = source.body_size
    if options.kind == "batch":

        async def send_batch(_worker: int, ticket: Ticket) -> int:
            messages = [source.plain(ticket.first + place) for place in range(ticket.message_count)]
            _check(await producer.send_batch(messages))
            return size * ticket.message_count

        return send_batch
    if options.kind == "ordered":
        return _ordered(options, producer, source)

    async def send(_worker: int, ticket: Ticket) -> int:
        _check(await producer.send(source.plain(ticket.first)))
        return size

    return send


def _ordered(options: argparse.Namespace, producer: Producer, source: MessageSource) -> Request:
    """Each worker has keys of its own and takes them in turn: so no message of a key is sent
    before the one before it is answered. A number that failed is sent again: no gaps."""
    keys = [
        list(range(first, options.order_keys, options.workers)) for first in range(options.workers)
    ]
    turns = [0] * options.workers
    sequences = [0] * options.order_keys

    async def send(worker: int, ticket: Ticket) -> int:
        own = keys[worker]
        key = own[turns[worker] % len(own)]
        turns[worker] += 1
        _check(await producer.send(source.ordered(ticket.first, key, sequences[key])))
        sequences[key] += 1
        return source.body_size

    return send


def _check(result: SendResult) -> None:
    if not result.is_ok:
        raise NotSafe(result)


__all__ = ["NotSafe", "producer_of", "request_of", "source_of"]
