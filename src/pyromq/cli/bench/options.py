"""The command line of `pyromq bench`. Letters are those of Apache's benchmark scripts where they
have one (example.benchmark.{Producer,BatchProducer,Consumer} of RocketMQ 5.5.0), and `-k true`, as
they want it, is understood like `-k`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from pyromq.errors import ConfigInvalid

TOPIC: Final = "BenchmarkTest"
"""Apache's topic for this: brokers have it from their first start on, with 1,024 queues."""
NAMESRV: Final = "127.0.0.1:9876"
WORKERS: Final = 64
BODY_SIZE: Final = 128
BATCH_SIZE: Final = 16
INTERVAL_MS: Final = 1_000
KINDS: Final = ("producer", "batch", "ordered", "consumer")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigInvalid(f"{message}; see {self.prog} --help")


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """The kind of load and its options. Raises ConfigInvalid; `--help` ends here."""
    parser = _Parser(
        prog="pyromq bench",
        description="Load for any RocketMQ, measured as a client sees it.",
        allow_abbrev=False,
    )
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    producer = kinds.add_parser(
        "producer", help="sends messages, each answered", allow_abbrev=False
    )
    batch = kinds.add_parser("batch", help="sends batches, each answered", allow_abbrev=False)
    ordered = kinds.add_parser(
        "ordered",
        help="sends messages of some keys, those of one key one after another to one queue",
        allow_abbrev=False,
    )
    consumer = kinds.add_parser(
        "consumer", help="consumes as a member of a group", allow_abbrev=False
    )
    for sub in (producer, batch, ordered):
        _sending(sub)
        _common(sub, environ)
    batch.add_argument(
        "-b", "--batch-size", metavar="N", type=_positive, default=BATCH_SIZE,
        help=f"messages of a batch ({BATCH_SIZE})",
    )  # fmt: skip
    ordered.add_argument(
        "--order-keys", metavar="N", type=_positive, default=None,
        help="keys (as many as --workers): so many requests are under way at most",
    )  # fmt: skip
    _consuming(consumer)
    _common(consumer, environ)
    found = parser.parse_args(arguments)
    if found.kind == "consumer" and found.pull and (found.ordered or found.fail_rate):
        raise ConfigInvalid("--pull reads in order and gives nothing back: no --ordered, no -r")
    if found.kind == "ordered":
        found.order_keys = found.order_keys or found.workers
        found.workers = min(found.workers, found.order_keys)
    if found.kind != "batch":
        found.batch_size = 1
    return found


def _common(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    add = parser.add_argument
    namesrv = environ.get("NAMESRV_ADDR") or NAMESRV
    add("-n", "--namesrv", metavar="ADDR", default=namesrv, help=f"name servers ({namesrv})")
    add("-t", "--topic", metavar="T", default=TOPIC, help=f"topic ({TOPIC})")
    add("-w", "--workers", metavar="N", type=_positive, default=WORKERS,
        help=f"requests or listeners at once ({WORKERS}); Apache's threadCount")  # fmt: skip
    add("-q", "--count", metavar="N", type=_positive, default=None, help="ends after N messages")
    add("--duration", metavar="SECONDS", type=_seconds, default=None, help="ends after that time")
    add("-ri", "--interval", metavar="MS", type=_positive, default=INTERVAL_MS,
        help=f"time between two rows ({INTERVAL_MS})")  # fmt: skip
    add("--json", action="store_true", help="the result as JSON on stdout; rows go to stderr")
    add("--report", metavar="FILE", help="a page with charts, which needs no network")


def _sending(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-g", "--group", metavar="G", default="benchmark_producer", help="producer group")
    add("-s", "--size", metavar="BYTES", type=_positive, default=BODY_SIZE,
        help=f"length of each body ({BODY_SIZE})")  # fmt: skip
    add("-k", "--keys", metavar="true", type=_boolean, nargs="?", const=True, default=False,
        help="each message has a key")  # fmt: skip
    add("-l", "--tags", metavar="N", type=_natural, default=0, help="messages have one of N tags")
    add("-p", "--properties", metavar="BYTES", type=_natural, default=0,
        help="properties of about that size")  # fmt: skip
    add("-d", "--delay", metavar="true", type=_boolean, nargs="?", const=True, default=False,
        help="messages are delayed by --delay-level")  # fmt: skip
    add("-e", "--delay-level", metavar="N", type=_positive, default=1, help="1 to 18 (1)")
    add("-c", "--compress", metavar="true", type=_boolean, nargs="?", const=True, default=False,
        help="compress bodies of 4 KiB and more")  # fmt: skip
    add("--rate", metavar="N", type=_positive, default=None,
        help="messages per second; latency then counts from when a message was due")  # fmt: skip


def _consuming(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-g", "--group", metavar="G", default="benchmark_consumer", help="consumer group")
    add("-f", "--filter-type", metavar="TYPE", choices=("TAG", "SQL92"), default="TAG",
        help="what --expression is: TAG or SQL92 (TAG)")  # fmt: skip
    add("-e", "--expression", metavar="TEXT", default="*", help="which messages (all)")
    add("-r", "--fail-rate", metavar="PART", type=_part, default=0.0,
        help="part of the messages that is given back, 0 to 1 (0)")  # fmt: skip
    add("--from", dest="begin", choices=("first", "last"), default="last",
        help="where a new group begins (last)")  # fmt: skip
    add("--ordered", action="store_true",
        help="one message of a queue at a time")  # fmt: skip
    add("--pull", action="store_true",
        help="reads all queues itself, whoever else is in the group")  # fmt: skip


def _positive(text: str) -> int:
    value = _natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted: 1 or more")
    return value


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted: a whole number")
    return int(text)


def _number(text: str, accepted: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not low <= value <= high:  # also nan
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted: {accepted}")
    return value


def _seconds(text: str) -> float:
    return _number(text, "seconds, such as 30 or 0.5", 0.001, 1e9)


def _part(text: str) -> float:
    return _number(text, "0 to 1, such as 0.01", 0.0, 1.0)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is not accepted: true or false")
    return text.lower() == "true"


__all__ = ["BATCH_SIZE", "BODY_SIZE", "KINDS", "NAMESRV", "TOPIC", "WORKERS", "parse"]
