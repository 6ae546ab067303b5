"""The broker's table: every request code a broker answers on its remoting doors."""

from __future__ import annotations

from pyromq.api import BrokerApi
from pyromq.frontends.remoting.admin import AdminRows
from pyromq.frontends.remoting.clients import ClientRows
from pyromq.frontends.remoting.locks import LockRows
from pyromq.frontends.remoting.messages import MessageRows
from pyromq.frontends.remoting.offsets import OffsetRows
from pyromq.frontends.remoting.progress import ProgressRows
from pyromq.frontends.remoting.relays import RelayRows
from pyromq.frontends.remoting.replies import ReplyRows
from pyromq.frontends.remoting.resets import ResetRows
from pyromq.frontends.remoting.retries import RetryRows
from pyromq.frontends.remoting.table import Table, table_of
from pyromq.frontends.remoting.unsupported import unsupported_rows
from pyromq.frontends.remoting.upkeep import UpkeepRows


def broker_table(broker: BrokerApi) -> Table:
    """The rows, bound to one broker."""
    return table_of(
        [
            *MessageRows(broker).rows(),
            *ReplyRows(broker).rows(),
            *OffsetRows(broker).rows(),
            *ResetRows(broker).rows(),
            *ProgressRows(broker).rows(),
            *ClientRows(broker).rows(),
            *LockRows(broker).rows(),
            *RetryRows(broker).rows(),
            *RelayRows(broker).rows(),
            *AdminRows(broker).rows(),
            *UpkeepRows(broker).rows(),
            *unsupported_rows(),
        ]
    )


__all__ = ["broker_table"]
