"""Waiting without a Task: a verb that must wait (for a commit, for a message) awaits a `Latch`.

A Task per request costs more than most requests. So a door runs a verb by `step`: the coroutine
runs until it waits or ends; when its latch is set it goes on at once, within the call that set it.
The same verb may also be awaited by an ordinary asyncio Task (tools, tests): to a Task a Latch
looks like a future of its loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar, cast

from pyromq.errors import PyromqError

T = TypeVar("T")


class Latch(Generic[T]):
    """A value that comes once. At most one waiter; set or failed exactly once."""

    __slots__ = ("_asyncio_future_blocking", "_error", "_is_set", "_resume", "_value")

    def __init__(self) -> None:
        self._asyncio_future_blocking = False
        self._is_set = False
        self._value: T | None = None
        self._error: PyromqError | None = None
        self._resume: Callable[[], None] | None = None

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self, value: T) -> None:
        """Gives the value and lets the waiter go on, now."""
        assert not self._is_set, "a latch is set once"
        self._value = value
        self._is_set = True
        if self._resume is not None:
            self._resume()

    def fail(self, error: PyromqError) -> None:
        """Lets the waiter go on with an error, now."""
        assert not self._is_set, "a latch is set once"
        self._error = error
        self._is_set = True
        if self._resume is not None:
            self._resume()

    def when_set(self, resume: Callable[[], None]) -> None:
        """Registers the one waiter; calls it at once if the value is there."""
        assert self._resume is None, "a latch has one waiter"
        if self._is_set:
            resume()
        else:
            self._resume = resume

    def result(self) -> T:
        assert self._is_set, "read before it was set"
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set together with _is_set

    def __await__(self) -> Generator[Any, None, T]:
        if not self._is_set:
            self._asyncio_future_blocking = True
            yield self
        # What `result` does: each request comes by here.
        assert self._is_set, "read before it was set"
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set together with _is_set

    # What asyncio.Task asks of a future-like object (asyncio.isfuture and Task.__step).

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        loop = asyncio.get_running_loop()

        def resume() -> None:
            loop.call_soon(callback, self, context=context)

        self.when_set(resume)

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        del callback
        self._resume = None
        return 1

    def cancel(self, msg: object = None) -> bool:
        """A latch belongs to who sets it; a cancelled Task stops waiting through its own means."""
        del msg
        return False


def step(
    coroutine: Coroutine[Any, None, T],
    finish: Callable[[T], None],
    refuse: Callable[[Exception], None],
) -> None:
    """Runs a verb until it waits or ends; `finish` gets its result, `refuse` what it raised.

    The coroutine may await Latches only.
    """
    try:
        latch = coroutine.send(None)
    except StopIteration as end:
        finish(end.value)
    except Exception as error:  # noqa: BLE001 — handed on whole, the door decides what it means
        refuse(error)
    else:
        assert isinstance(latch, Latch), f"a verb may wait for a Latch only, not for {latch!r}"
        latch.when_set(lambda: step(coroutine, finish, refuse))


async def together(coroutines: Sequence[Coroutine[Any, None, T]]) -> list[T | PyromqError]:
    """Runs verbs side by side until each has ended; what each returned or refused, in order.

    What a verb raises otherwise is raised, once all have ended.
    """
    outcomes: list[T | Exception | None] = [None] * len(coroutines)
    all_ended: Latch[None] = Latch()
    running_count = len(coroutines)

    def end(index: int, outcome: T | Exception) -> None:
        nonlocal running_count
        outcomes[index] = outcome
        running_count -= 1
        if not running_count:
            all_ended.set(None)

    for index, coroutine in enumerate(coroutines):
        step(coroutine, partial(end, index), partial(end, index))
    if coroutines:
        await all_ended
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, PyromqError):
            raise outcome
    return cast("list[T | PyromqError]", outcomes)


__all__ = ["Latch", "step", "together"]
