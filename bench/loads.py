"""The loads a server is put under, and one run of the native generator (bench/load) with one.

A run whose answers were not all right gives no numbers: speed of wrong answers is worth nothing.
Sends refused as busy are the one exception, see `was_only_busy`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

LOAD = Path(__file__).parent / "load"
RMQLOAD = LOAD / "target" / "release" / "rmqload"

NEW_DATA_MAX = 2_900_000_000
WARM_UP_DATA_MAX = 150_000_000
# Beside the body: record, consume queue entry and two index entries with the properties we send.
STORED_EXTRA = 320
BUILD_SECONDS_MAX = 600.0
RUN_SECONDS_MAX = 300.0
SYSTEM_BUSY = "2"

# What rmqload prints: one JSON object.
Numbers = dict[str, Any]


class MeasureFailed(Exception):
    """A run did not give numbers that may be believed."""


@dataclass(frozen=True)
class Load:
    """One way of loading a server; `arguments` go to rmqload."""

    name: str
    arguments: tuple[str, ...]
    is_on_one_core: bool = False

    @property
    def stores(self) -> bool:
        return self.arguments[0] == "send"


SCENARIOS = {
    "pipelined": Load(
        "sends, 4 connections × 128 in flight", ("send", "--connections=4", "--depth=128")
    ),
    "single": Load("sends, 1 × 1, client and server on one core", ("send",), is_on_one_core=True),
    "many": Load("sends, 64 connections × 1", ("send", "--connections=64")),
    "batches": Load(
        "sends in batches of 32, 4 × 16 in flight",
        ("send", "--connections=4", "--depth=16", "--batch=32"),
    ),
    "pulls": Load(
        "pulls of 32, 4 × 8 in flight, in page cache", ("pull", "--connections=4", "--depth=8")
    ),
}


class Target(Protocol):
    """What the generator needs to know of a server."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def broker_pid(self) -> int: ...


def build_generator() -> None:
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    subprocess.run(command, cwd=LOAD, timeout=BUILD_SECONDS_MAX, check=True)


def rmqload(target: Target, arguments: Sequence[str]) -> Numbers:
    """One run of the generator. Its answers must all have been right or "busy"."""
    mode, *options = arguments
    command = [str(RMQLOAD), mode, f"--addr={target.address}", *options]
    command.append(f"--server-pid={target.broker_pid}")
    run = f"{target.name}: {' '.join(arguments)}"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired as expired:
        raise MeasureFailed(f"{run} did not end in {RUN_SECONDS_MAX:g} s") from expired
    if done.returncode == 0 or (done.returncode == 1 and was_only_busy(json.loads(done.stdout))):
        numbers: Numbers = json.loads(done.stdout)
        if numbers["messages"] == 0:
            raise MeasureFailed(f"{run}: no message got through: {numbers['errors']}")
        return numbers
    said = (done.stdout + done.stderr).strip()[-1500:]
    raise MeasureFailed(f"{run} failed: {said}")


def was_only_busy(numbers: Numbers) -> bool:
    """Some sends were refused with code 2, and nothing else went wrong.

    A cold Apache does so with hundreds of requests in flight; these do not count as messages.
    """
    return (
        numbers["mode"] == "send"
        and set(numbers["errors"]) == {SYSTEM_BUSY}
        and numbers["wrong"] == numbers["unasked"] == 0
        and numbers["stopped_by"] != "stall"
        and numbers.get("stored") == numbers.get("confirmed")
    )


def refusals(numbers: Numbers) -> int:
    return sum(int(error["count"]) for error in numbers["errors"].values())
