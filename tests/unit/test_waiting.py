"""Latches and stepped verbs: waiting without a Task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pyromq.errors import PyromqError, ServiceUnavailable
from pyromq.turn import Turn
from pyromq.waiting import Latch, step, together


def never(what: object) -> None:
    pytest.fail(f"not expected: {what!r}")


def test_a_verb_that_does_not_wait_finishes_within_the_step() -> None:
    async def verb() -> int:
        return 7

    finished: list[int] = []
    step(verb(), finished.append, never)
    assert finished == [7]


def test_a_waiting_verb_goes_on_within_the_call_that_sets_its_latch() -> None:
    first: Latch[int] = Latch()
    second: Latch[int] = Latch()

    async def verb() -> int:
        return await first + await second

    finished: list[int] = []
    step(verb(), finished.append, never)
    first.set(1)
    assert finished == []
    second.set(2)
    assert finished == [3]


def test_a_latch_that_is_already_set_does_not_make_the_verb_wait() -> None:
    latch: Latch[str] = Latch()
    latch.set("there")

    async def verb() -> str:
        return await latch

    finished: list[str] = []
    step(verb(), finished.append, never)
    assert finished == ["there"]


def test_a_failed_latch_raises_in_the_verb_and_refuses_the_request() -> None:
    latch: Latch[None] = Latch()

    async def verb() -> None:
        await latch

    refused: list[Exception] = []
    step(verb(), never, refused.append)
    latch.fail(ServiceUnavailable("disk full"))
    assert [str(error) for error in refused] == ["disk full"]


def test_a_verb_may_catch_the_failure_and_answer_something_else() -> None:
    latch: Latch[None] = Latch()

    async def verb() -> str:
        try:
            await latch
        except PyromqError:
            return "instead"
        return "never"

    finished: list[str] = []
    step(verb(), finished.append, never)
    latch.fail(ServiceUnavailable("x"))
    assert finished == ["instead"]


def test_a_latch_is_set_once() -> None:
    latch: Latch[None] = Latch()
    latch.set(None)
    with pytest.raises(AssertionError):
        latch.set(None)


async def test_an_ordinary_task_may_await_the_same_verb() -> None:
    latch: Latch[int] = Latch()

    async def verb() -> int:
        return await latch

    task = asyncio.ensure_future(verb())
    await asyncio.sleep(0)
    latch.set(5)
    assert await asyncio.wait_for(task, 1) == 5


async def test_a_task_that_awaits_a_failed_latch_sees_the_error() -> None:
    latch: Latch[int] = Latch()

    async def verb() -> int:
        return await latch

    task = asyncio.ensure_future(verb())
    await asyncio.sleep(0)
    latch.fail(ServiceUnavailable("gone"))
    with pytest.raises(ServiceUnavailable, match="gone"):
        await asyncio.wait_for(task, 1)


def test_a_turn_ends_once_however_often_its_end_is_requested() -> None:
    soon: list[Callable[[], None]] = []
    turn = Turn(soon.append)
    seen: list[str] = []
    turn.set_stages([lambda: seen.append("write"), lambda: seen.append("answer")])
    turn.request_end()
    turn.request_end()
    assert len(soon) == 1
    soon.pop()()
    assert seen == ["write", "answer"]


def test_what_a_stage_causes_ends_in_a_turn_of_its_own() -> None:
    soon: list[Callable[[], None]] = []
    turn = Turn(soon.append)
    count = 0

    def stage() -> None:
        nonlocal count
        count += 1
        if count == 1:
            turn.request_end()

    turn.set_stages([stage])
    turn.end()
    assert (count, len(soon)) == (1, 1)


# --- side by side ---------------------------------------------------------------------------------


def test_verbs_run_together_until_the_last_has_ended() -> None:
    latches: list[Latch[int]] = [Latch(), Latch()]

    async def verb(latch: Latch[int]) -> int:
        return await latch

    async def refused() -> int:
        raise ServiceUnavailable("no")

    finished: list[list[int | PyromqError]] = []
    step(together([verb(latches[0]), refused(), verb(latches[1])]), finished.append, never)
    latches[1].set(2)
    assert finished == []
    latches[0].set(1)
    [[first, second, third]] = finished
    assert (first, third) == (1, 2)
    assert isinstance(second, ServiceUnavailable)


def test_verbs_that_need_not_wait_end_together_at_once() -> None:
    async def verb() -> int:
        return 1

    nothing: list[Coroutine[Any, None, int]] = []
    finished: list[list[int | PyromqError]] = []
    step(together([verb(), verb()]), finished.append, never)
    step(together(nothing), finished.append, never)
    assert finished == [[1, 1], []]


def test_a_fault_in_one_of_them_is_raised_when_all_have_ended() -> None:
    latch: Latch[int] = Latch()

    async def waiting() -> int:
        return await latch

    async def faulty() -> int:
        raise ValueError("a fault of ours")

    raised: list[Exception] = []
    step(together([faulty(), waiting()]), never, raised.append)
    assert raised == []
    latch.set(1)
    assert [str(error) for error in raised] == ["a fault of ours"]
