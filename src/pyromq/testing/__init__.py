"""A real broker inside a test: name server, broker and store, in this process, for one block.

    async with embedded_broker() as broker:
        ...  # any RocketMQ client with broker.namesrv_addr

    with broker_in_thread() as broker:
        ...  # the same for code that has no event loop

With pytest the fixtures `pyromq_broker` and `pyromq_topic` are there as soon as pyromq is
installed (`pyromq.testing.pytest_plugin`). docs/howto/testing-your-application.md shows all of it.

Importing this costs nothing: the server is imported when the first broker is asked for.
"""

from __future__ import annotations

from pyromq.testing.embedded import EmbeddedBroker, embedded_broker
from pyromq.testing.threaded import ThreadedBroker, broker_in_thread

__all__ = ["EmbeddedBroker", "ThreadedBroker", "broker_in_thread", "embedded_broker"]
