"""What is measured: the works by name, and those that are nothing but loads as a table."""

from __future__ import annotations

from dataclasses import dataclass

from bench.loads import SCENARIOS, Load

ASYNC, SYNC = "ASYNC_FLUSH", "SYNC_FLUSH"
BOTH = ("json", "binary")

WORKS = {
    "ready": "from the command to serving",
    "memory": "private memory, idle and after a load",
    "pipelined": "sends, 4 × 128; also with our express lane off",
    "plain": "the same without KEYS and TAGS",
    "many": "sends, 64 × 1",
    "single": "sends, 1 × 1 on one core, and the bare echo",
    "batches": "sends in batches of 32",
    "bodies": "bodies of 4 and 64 KiB",
    "connections": "sends, 1,000 × 1",
    "pulls": "pulls of 32 from page cache",
    "topics": "sends to 1, 100 and 10,000 topics in turn",
    "flow": "messages by the clock, consumed at once: end-to-end latency",
    "cold": "pulls from disk beside sends",
    "brokers": "our --brokers 1 and 2",
    "java": "Apache's own example.benchmark programs against both",
    "restart": "serving again after kill -9",
}


@dataclass(frozen=True)
class Row:
    """A load with some headers: a line of the table for each of them."""

    load: Load
    headers: tuple[str, ...] = BOTH


@dataclass(frozen=True)
class LoadWork:
    """Rows that are measured in one life of the servers, in one flush mode."""

    name: str
    flush: str
    rows: tuple[Row, ...]
    has_regular: bool = False
    """Also our server with its express lane off."""


def _send(text: str, *arguments: str, body: int = 128) -> Load:
    return Load(text, ("send", *arguments), body=body)


_PIPELINED = Row(SCENARIOS["pipelined"])
_MANY = Row(SCENARIOS["many"])
_SINGLE = SCENARIOS["single"]
_BATCHES = SCENARIOS["batches"]

LOAD_WORKS = (
    LoadWork("pipelined", ASYNC, (_PIPELINED,), has_regular=True),
    LoadWork("pipelined", SYNC, (_PIPELINED,)),
    LoadWork(
        "plain",
        ASYNC,
        (Row(_send("sends, 4 × 128, neither KEYS nor TAGS", *_PIPELINED.load.arguments[1:],
                   "--no-keys")),),
    ),
    LoadWork("many", ASYNC, (_MANY,)),
    LoadWork("many", SYNC, (_MANY,)),
    LoadWork("single", ASYNC, (Row(_SINGLE),)),
    LoadWork("single", SYNC, (Row(_SINGLE, ("json",)),)),
    LoadWork("batches", ASYNC, (Row(_BATCHES),)),
    LoadWork("batches", SYNC, (Row(_BATCHES, ("json",)),)),
    LoadWork(
        "bodies",
        ASYNC,
        (
            Row(_send("sends of 4 KiB, 4 × 32", "--connections=4", "--depth=32", body=4096),
                ("json",)),
            Row(_send("sends of 64 KiB, 4 × 8", "--connections=4", "--depth=8", body=65_536),
                ("json",)),
        ),
    ),
    LoadWork(
        "connections",
        ASYNC,
        (Row(_send("sends, 1,000 connections × 1", "--connections=1000"), ("json",)),),
    ),
    LoadWork("pulls", ASYNC, (Row(SCENARIOS["pulls"]),)),
)  # fmt: skip
