"""Small stores that earlier versions wrote, kept for ever under tests/vectors/stores/VERSION/.

    python -m tests.support.old_stores 0.1

records two with the present version, one stopped cleanly and one killed: NAME.tar.xz and what is in
it, NAME.json. A store is recorded once for each version and never again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from pyromq.codes import RequestCode
from pyromq.store.projection import OFFSETS
from pyromq.store.projection import TOPICS as TOPICS_FILE
from pyromq.wire.record import Record
from tests.support import delayed
from tests.support.processes import ask, retries
from tests.support.pyromq_server import PyromqServer
from tests.support.store_content import QUEUES, Content, ask_all, pull_all

FOLDER = Path(__file__).parents[1] / "vectors" / "stores"
PROPERTIES = {
    "messageDelayLevel": "1s 2h",
    "mappedFileSizeCommitLog": str(64 * 1024),
    "mappedFileSizeConsumeQueue": str(50 * 20),
    "maxHashSlotNum": "100",
    "maxIndexNum": "400",
}
WAITS_LONG = 2
TOPICS = {"orders": 6, "read-only": 4}
GROUP = "billing"

Contents = dict[str, Any]


def server(root: Path, **properties: str) -> PyromqServer:
    """Ours over such a store; `properties` go before those it was recorded with."""
    settings = {**PROPERTIES, **properties}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    doors = ("--namesrv-port", 0, "--broker-port", 0)
    return PyromqServer("standalone", "--data-dir", root, *doors, *words)


def digest(records: list[Record]) -> str:
    """Over everything a client sees of these messages."""
    seen = [
        (
            record.topic,
            record.queue_id,
            record.queue_offset,
            record.log_offset,
            record.flag,
            record.sys_flag,
            record.born_timestamp_ms,
            record.born_host.hex(),
            record.store_timestamp_ms,
            record.store_host.hex(),
            record.reconsume_times,
            record.properties.hex(),
            record.body.hex(),
        )
        for record in records
    ]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def contents(address: str) -> Contents:
    """What clients see of such a store."""
    found: Contents = {"queues": {}, "topics": {}, "offsets": {}}
    for topic in TOPICS:
        [answer] = ask_all(address, [(RequestCode.GET_TOPIC_CONFIG, {"topic": topic}, b"")])
        config = json.loads(answer.body)
        found["topics"][topic] = [config["perm"], config["readQueueNums"]]
        for queue in range(QUEUES):
            records = pull_all(address, topic, queue)
            found["queues"][f"{topic}/{queue}"] = [len(records), digest(records)]
            fields = {"consumerGroup": GROUP, "topic": topic, "queueId": str(queue)}
            committed = ask(address, RequestCode.QUERY_CONSUMER_OFFSET, fields)
            found["offsets"][f"{topic}/{queue}"] = committed.fields.get("offset")
    [answer] = ask_all(address, [(RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG, {"group": GROUP}, b"")])
    found["retry_max"] = json.loads(answer.body)["retryMaxTimes"]
    waiting = delayed.waiting(address, WAITS_LONG)
    found["waiting"] = digest([waiting[number] for number in sorted(waiting)])
    found["delayed"] = sorted(waiting)
    found["keys"] = {
        key: len(
            ask_all(
                address,
                [
                    (
                        RequestCode.QUERY_MESSAGE,
                        {
                            "topic": "orders",
                            "key": key,
                            "maxNum": "32",
                            "beginTimestamp": "0",
                            "endTimestamp": str(2**62),
                        },
                        b"",
                    )
                ],
            )[0].body
        )
        for key in ("key-0", "key-100", "key-199")
    }
    return found


def record(folder: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "store"
        content = Content()
        with server(root) as running:
            address = running.broker
            for topic in TOPICS:
                content.put_topic(address, topic)
            delayed.create_topic(address)
            content.send(address, "orders", 200)
            content.send(address, "read-only", 10)
            content.put_topic(address, "read-only", TOPICS["read-only"])
            content.put_group(address, GROUP, 5)
            content.commit(address, GROUP, "orders", 17)
            delayed.send(address, range(20), (WAITS_LONG,))
            for _ in retries(20):  # until the files for Apache are there; the journal goes on
                if all((root / file).is_file() for file in (OFFSETS, TOPICS_FILE)):
                    break
            content.commit(address, GROUP, "orders", 21)
            seen = contents(address)
            if name == "killed":
                running.kill()
            else:
                running.stop()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n")
        with tarfile.open(folder / f"{name}.tar.xz", "w:xz", preset=9) as archive:
            archive.add(root, ".", filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    for each in ("stopped", "killed"):
        record(FOLDER / sys.argv[1], each)
