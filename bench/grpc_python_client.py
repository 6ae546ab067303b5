"""What `bench.python_client` runs for the official Python client, which speaks gRPC to a proxy.

Run by an interpreter that has rocketmq-python-client, not by ours: it needs that package alone.

    python bench/grpc_python_client.py ENDPOINTS TOPIC COUNT ROUNDS IN_FLIGHT SIZE

Prints one JSON object per round: messages per second and CPU microseconds of the process each.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from typing import Any


def run_round(producer: Any, make: Any, count: int, in_flight: int) -> dict[str, float]:
    """As many sends under way as our client has, by its `send_async`."""
    room = threading.Semaphore(in_flight)
    failures: list[BaseException] = []

    def ended(future: Any) -> None:
        error = future.exception()
        if error is not None:
            failures.append(error)
        room.release()

    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        room.acquire()
        producer.send_async(make()).add_done_callback(ended)
    for _ in range(in_flight):
        room.acquire()
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    assert not failures, failures[0]
    return {"per_second": count / seconds, "cpu_us": used / count * 1e6}


def main(arguments: list[str]) -> None:
    # An interpreter of its own has it; ours does not.
    rocketmq: Any = importlib.import_module("rocketmq")
    endpoints, topic = arguments[:2]
    count, rounds, in_flight, size = map(int, arguments[2:])
    configuration = rocketmq.ClientConfiguration(endpoints, rocketmq.Credentials())
    producer = rocketmq.Producer(configuration, (topic,))
    producer.startup()

    def make() -> Any:
        message = rocketmq.Message()
        message.topic = topic
        message.body = bytes(size)
        message.tag = "TagA"
        message.keys = "key"
        return message

    run_round(producer, make, min(count, 2_000), in_flight)
    for _ in range(rounds):
        print(json.dumps(run_round(producer, make, count, in_flight)), flush=True)
    producer.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
