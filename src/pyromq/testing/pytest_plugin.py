"""Fixtures for users' tests: `pyromq_broker` and `pyromq_topic`.

pytest loads this in every project that has pyromq installed, used or not. So it imports nothing but
pytest, and starts nothing before a test asks for it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyromq.testing.threaded import ThreadedBroker

_numbers = itertools.count(1)
_TOPIC_LENGTH = 100
"""Characters of a test's topic: room for what RocketMQ puts around one (`%RETRY%…`)."""


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Leaves the server's modules as they are.

    pytest rewrites the assertions of every package that has a plugin, here of a whole server: its
    first import would take twice as long and it would run slower. There is no switch for it, so
    the mark is taken back; where a pytest keeps its marks elsewhere, it is only slower.
    """
    hook = getattr(early_config.pluginmanager, "rewrite_hook", None)
    marks = getattr(hook, "_must_rewrite", None)
    if isinstance(marks, set):
        marks.discard("pyromq")


@pytest.fixture(scope="session")
def pyromq_broker() -> Iterator[ThreadedBroker]:
    """One broker for the whole session, in a thread of its own: for tests with and without asyncio.

    `pyromq_broker.namesrv_addr` is what clients are given.
    """
    from pyromq.testing.threaded import broker_in_thread

    with broker_in_thread() as broker:
        yield broker


@pytest.fixture
def pyromq_topic(pyromq_broker: ThreadedBroker, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a topic that only this test knows, created with 8 queues and deleted after it."""
    number = next(_numbers)
    legal = re.sub(r"[^a-zA-Z0-9_-]", "_", request.node.name)
    topic = f"{legal[:_TOPIC_LENGTH]}-{number}"
    pyromq_broker.create_topic(topic)
    yield topic
    pyromq_broker.delete_topic(topic)
