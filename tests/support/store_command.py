"""`pyromq store …` run in this process, on a small store of ours: several files of each sort."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyromq.app.main import main
from pyromq.clock import SystemClock
from pyromq.domain.topic import TopicConfig
from pyromq.store.engine import Engine, StoreSettings
from pyromq.store.metadata import Metadata
from pyromq.store.native import open_store
from tests.support.engines import put, read, settings, split_records

VECTORS = Path(__file__).parents[1] / "vectors" / "store"
APACHE_SIZES = {
    "mappedFileSizeCommitLog": 64 << 10,
    "mappedFileSizeConsumeQueue": 300 * 20,
    "maxHashSlotNum": 100,
    "maxIndexNum": 400,
}
SIZES = {
    "mappedFileSizeCommitLog": 64 << 10,
    "mappedFileSizeConsumeQueue": 100 * 20,
    "maxHashSlotNum": 50,
    "maxIndexNum": 40,
}
COUNT = 400
QUEUES = (("plain", 0), ("plain", 1), ("other", 0))


def options(sizes: dict[str, int]) -> list[str]:
    return [word for key, value in sizes.items() for word in ("--set", f"{key}={value}")]


def own(root: Path) -> StoreSettings:
    return settings(root, delay_levels_ms=())


def body_of(number: int) -> bytes:
    return b"message %d " % number + bytes([number % 256]) * (2 * number)


def make_store(directory: Path) -> Path:
    """A store of ours with metadata, stopped cleanly: several files of each sort."""
    metadata = Metadata.open_broker(directory, sync_flush=True, clock=SystemClock())
    for topic in ("plain", "other"):
        metadata.put_topic(TopicConfig(topic_name=topic))
    metadata.write()
    metadata._journal.close()
    engine = open_store(own(directory))
    for number in range(COUNT):
        topic, queue_id = QUEUES[number % 3]
        tags, key = f"T{number % 2}", f"k{number}"
        put(engine, topic, queue_id, body_of(number), now_ms=1000 + number, TAGS=tags, KEYS=key)
        engine.write()
    engine.close()
    return directory


def command(
    capfd: pytest.CaptureFixture[str], verb: str, root: Path, *words: str, sizes: object = None
) -> tuple[int, dict[str, object], str]:
    """Exit code, the JSON that was said, and all of stderr."""
    chosen = SIZES if sizes is None else sizes
    assert isinstance(chosen, dict)
    code = main(["store", verb, str(root), "--json", *options(chosen), *words])
    out, err = capfd.readouterr()
    said = json.loads(out) if verb != "export" and out else {"lines": out.splitlines()}
    return code, said, err


def findings(said: dict[str, object]) -> list[dict[str, object]]:
    found = said["findings"]
    assert isinstance(found, list)
    return found


def places(said: dict[str, object], root: Path) -> list[tuple[object, str, object]]:
    """(kind, file under the root, byte) of each finding that is not a note."""
    return [
        (one["kind"], str(Path(str(one["file"])).relative_to(root)), one["byte"])
        for one in findings(said)
        if one["severity"] != "note"
    ]


def tree(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything a look must not change."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        about = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (about.st_mode, about.st_mtime_ns, about.st_size, content)
    return found


def served(root: Path) -> dict[tuple[str, int], list[bytes]]:
    """Every record of every queue, as pulls give them."""
    engine = open_store(own(root))
    found = {queue: records(engine, *queue) for queue in QUEUES}
    engine.close()
    return found


def records(engine: Engine, topic: str, queue_id: int) -> list[bytes]:
    found: list[bytes] = []
    while (answer := read(engine, len(found), topic, queue_id)).message_count:
        found += split_records(answer.body)
    return found


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x40]))


def log_file(root: Path, number: int) -> Path:
    return root / "commitlog" / f"{number * (64 << 10):020}"


def records_of_log(root: Path) -> list[tuple[int, int]]:
    """(log offset, size) of each record, by the sizes they say."""
    found = []
    for path in sorted((root / "commitlog").iterdir()):
        data, base, at = path.read_bytes(), int(path.name), 0
        while int.from_bytes(data[at : at + 4], "big") and data[at + 4 : at + 5] != b"\xcb":
            size = int.from_bytes(data[at : at + 4], "big")
            found.append((base + at, size))
            at += size
    return found
