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

WARM_UP_DATA_MAX = 300_000_000
# Beside the body: record, consume queue entry and two index entries with the properties we send.
STORED_EXTRA = 320
BUILD_SECONDS_MAX = 600.0
RUN_SECONDS_MAX = 180.0
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
    body: int = 128
    batch: int = 1

    @property
    def stores(self) -> bool:
        return self.arguments[0] == "send"

    @property
    def stored_size(self) -> int:
        """Bytes that one message takes in the store."""
        return self.body + STORED_EXTRA


SCENARIOS = {
    "pipelined": Load(
        "sends, 4 connections × 128 in flight", ("send", "--connections=4", "--depth=128")
    ),
    "single": Load("sends, 1 × 1, client and server on one core", ("send",), is_on_one_core=True),
    "many": Load("sends, 64 connections × 1", ("send", "--connections=64")),
    "batches": Load(
        "sends in batches of 32, 4 × 16 in flight",
        ("send", "--connections=4", "--depth=16", "--batch=32"),
        batch=32,
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


class Run:
    """One run of the generator, begun; others may run beside it."""

    def __init__(self, target: Target, arguments: Sequence[str]) -> None:
        mode, *options = arguments
        self._name = f"{target.name}: {mode}"
        command = [str(RMQLOAD), mode, f"--addr={target.address}", *options]
        command.append(f"--server-pid={target.broker_pid}")
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def numbers(self) -> Numbers:
        """When it has ended. Its answers must all have been right or "busy"."""
        try:
            printed, errors = self._process.communicate(timeout=RUN_SECONDS_MAX)
        except subprocess.TimeoutExpired as expired:
            self.kill()
            raise MeasureFailed(f"{self._name} did not end in {RUN_SECONDS_MAX:g} s") from expired
        code = self._process.returncode
        if not printed.startswith("{"):
            raise MeasureFailed(f"{self._name} failed: {what_went_wrong(printed, errors)}")
        if code == 0 or (code == 1 and was_only_busy(json.loads(printed))):
            numbers: Numbers = json.loads(printed)
            if numbers["messages"] == 0:
                raise MeasureFailed(f"{self._name}: no message got through: {numbers['errors']}")
            return numbers
        raise MeasureFailed(f"{self._name} failed: {what_went_wrong(printed, errors)}")

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()


WRONG_IN_ANSWERS = ("stopped_by", "errors", "first_wrong", "unasked", "unequal_queues", "confirmed",
                    "stored", "received")  # fmt: skip


def what_went_wrong(printed: str, errors: str) -> str:
    """What tells it of a run's output."""
    try:
        numbers: Numbers = json.loads(printed)
    except ValueError:
        return (printed + errors).strip()[-500:]
    told = {name: numbers[name] for name in WRONG_IN_ANSWERS if numbers.get(name)}
    return (", ".join(f"{name} {value}" for name, value in told.items()) + errors)[:500]


def rmqload(target: Target, arguments: Sequence[str]) -> Numbers:
    """One run of the generator. Its answers must all have been right or "busy"."""
    return Run(target, arguments).numbers()


def was_only_busy(numbers: Numbers) -> bool:
    """Some sends were refused with code 2, and nothing else went wrong.

    A cold Apache does so with hundreds of requests in flight; these do not count as messages.
    """
    return (
        numbers["mode"] in ("send", "flow")
        and set(numbers["errors"]) == {SYSTEM_BUSY}
        and numbers["wrong"] == numbers["unasked"] == 0
        and numbers["stopped_by"] != "stall"
        and numbers.get("stored", numbers.get("received")) == numbers.get("confirmed")
    )


def refusals(numbers: Numbers) -> int:
    return sum(int(error["count"]) for error in numbers["errors"].values())


def bare_echo(core: int) -> Numbers:
    """What loopback itself takes for a request of this size, both ends on one core."""
    command = [str(RMQLOAD), "echo", f"--cpu={core}", "--seconds=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    numbers: Numbers = json.loads(done.stdout)
    return numbers
