"""What the express lane itself costs: chunks of frames in, answers out into local sockets.

`python -m bench.micro_lane` prints the least time of many rounds per message, which other load on
the machine disturbs least; with the lane and by the verbs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyromq.wire.batch import BatchItem, encode_batch
from pyromq.wire.remoting.command import SerializeType
from pyromq.wire.remoting.frame import Command, encode
from tests.support.lane_house import LaneHouse

ROUNDS = 60
PROPERTIES = (
    "KEYS\x01key-123456\x02UNIQ_KEY\x017F0000010A2F18B4AAC2000000000001\x02"
    "WAIT\x01true\x02TAGS\x01TagA\x02"
)
BODY = bytes(128)
MEMORY = Path("/dev/shm")


def ext(queue_id: int) -> dict[str, str]:
    return {
        "a": "LoadGroup", "b": "LoadTest", "c": "TBW102", "d": "4", "e": str(queue_id), "f": "0",
        "g": "1795222505090", "h": "0", "i": PROPERTIES, "j": "0", "k": "false", "m": "false",
        "n": "broker-a",
    }  # fmt: skip


def sends(form: SerializeType, count: int) -> bytes:
    return b"".join(
        encode(Command(310, at, ext=ext(at % 4), body=BODY, serialize_type=form))
        for at in range(count)
    )


def batches(form: SerializeType, count: int) -> bytes:
    body = encode_batch([BatchItem(0, BODY, PROPERTIES.encode()) for _ in range(32)])
    return b"".join(
        encode(Command(320, at, ext={**ext(at % 4), "m": "true"}, body=body, serialize_type=form))
        for at in range(count)
    )


def pulls(form: SerializeType, count: int) -> bytes:
    fields = {
        "consumerGroup": "LoadGroup", "topic": "LoadTest", "queueOffset": "0", "maxMsgNums": "32",
        "sysFlag": "4", "commitOffset": "0", "suspendTimeoutMillis": "0", "subscription": "*",
        "subVersion": "0", "maxMsgBytes": "262144", "expressionType": "TAG",
    }  # fmt: skip
    return b"".join(
        encode(Command(11, at, ext={**fields, "queueId": str(at % 4)}, serialize_type=form))
        for at in range(count)
    )


def least_us(house: LaneHouse, chunk: bytes, messages: int) -> float:
    """µs per message."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for client in range(len(house.connections)):
            house.receive(client, chunk)
        house.end_turn()
        best = min(best, time.perf_counter() - start)
        for output in house.outputs:
            output.drop()
    return best / messages * 1e6


LOADS: Sequence[tuple[str, Callable[[SerializeType, int], bytes], int, int, int]] = (
    ("sends, 128 at a time", sends, 128, 1, 1),
    ("sends, one at a time", sends, 1, 1, 1),
    ("sends, one of each of 64", sends, 1, 1, 64),
    ("batches of 32, 16 at a time", batches, 16, 32, 1),
    ("pulls of 32, 8 at a time", pulls, 8, 32, 1),
)


def main() -> None:
    for name, make, count, size, clients in LOADS:
        for form in (SerializeType.ROCKETMQ, SerializeType.JSON):
            row = []
            for has_lane in (True, False):
                with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
                    house = LaneHouse(
                        Path(root),
                        has_lane=has_lane,
                        clients=clients,
                        has_small_files=False,
                        has_sockets=True,
                    )
                    house.create_topic("LoadTest")
                    house.receive(0, sends(SerializeType.JSON, 500))
                    house.end_turn()
                    house.receive(0, make(form, 4))
                    house.end_turn()
                    row.append(least_us(house, make(form, count), count * size * clients))
                    house.close()
            print(f"{name:30} {form.name:9} lane {row[0]:6.2f} µs   verbs {row[1]:6.2f} µs")


if __name__ == "__main__":
    main()
