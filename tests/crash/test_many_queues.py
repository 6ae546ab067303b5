"""More queues than a process may have files open: they are written, and clients are let in."""

from __future__ import annotations

import resource
from pathlib import Path

from tests.support.hostile import Raw, request
from tests.support.processes import ask, retries
from tests.support.pyromq_server import PyromqServer

TOPICS, QUEUES = 200, 8
OPEN_FILES_MAX = 1_000
WAVES = 2
WAIT_SECONDS = 30.0


def send(topic: str, queue: int) -> bytes:
    fields = {
        "a": "PG", "b": topic, "c": "TBW102", "d": str(QUEUES), "e": str(queue), "f": "0", "g": "1",
        "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
    }  # fmt: skip
    return request(310, fields, b"body")


def test_more_queues_than_open_files_are_written_and_clients_are_let_in(tmp_path: Path) -> None:
    server = PyromqServer(
        "standalone", "--data-dir", tmp_path, "--namesrv-port", 0, "--broker-port", 0,
        "--set", "flushDiskType=ASYNC_FLUSH", "--set", "flushIntervalConsumeQueue=50",
    )  # fmt: skip
    try:
        server.start()
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (OPEN_FILES_MAX, OPEN_FILES_MAX))
        with Raw(server.broker) as raw:
            for wave in range(WAVES):
                for topic in range(TOPICS):
                    raw.send(b"".join(send(f"T{topic:03}", queue) for queue in range(QUEUES)))
                    for _ in range(QUEUES):
                        answer = raw.answer()
                        assert answer is not None
                        assert answer.code == 0, (wave, topic, answer)
        queues = tmp_path / "consumequeue"
        for _ in retries(WAIT_SECONDS):
            written = sum(1 for _ in queues.glob("T*/*/*"))
            if written == TOPICS * QUEUES:
                break
        assert written == TOPICS * QUEUES, server.process.tail()
        assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < OPEN_FILES_MAX
        answer = ask(server.broker, 30, {"topic": "T199", "queueId": "7"})
        assert answer.fields["offset"] == str(WAVES)
    finally:
        server.kill()  # a clean stop syncs every queue, one after the other
